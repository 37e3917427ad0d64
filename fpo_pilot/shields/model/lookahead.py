"""One batched roll-out: a first action for one step, then the backup at the rate limit, for every point of the uncertainty set.

Letters: B rows, K candidates, N points, L bounds, S states, A actions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from itertools import pairwise

import torch
from torch import Tensor

from fpo_pilot.shields.envelope import Envelope
from fpo_pilot.shields.model.bounds import StateSet
from fpo_pilot.shields.model.dynamics import Model


@dataclass(frozen=True, eq=False)
class Outlook:
    """What comes of K first actions of each row.

    Args:
        score: ``[B, K, N]`` least distance to a limit on the way to the terminal set, as a fraction of the range of the signal; −inf
            where the set is not reached, the model trips, or gives what is not a number. Safe is what is not negative.
        distance: ``[B, K, L]`` least distance to each limit on the way, in the unit of its signal; what comes after a limit was passed
            is not counted.
        arrives: ``[B, K]`` bool: every point reaches the terminal set.
        finite: ``[B, K]`` bool: every number on the way was finite.
        low: ``[B, K, H + 1, S]`` least state after each step of the horizon; of the terminal set once the roll-out has ended.
        high: ``[B, K, H + 1, S]`` greatest one.
    """

    score: Tensor
    distance: Tensor
    arrives: Tensor
    finite: Tensor
    low: Tensor
    high: Tensor

    @property
    def safe(self) -> Tensor:
        """``[B, K]`` bool: every point stays in the limits until it is in the terminal set."""
        return (self.score >= 0.0).all(dim=-1)

    @staticmethod
    def joined(parts: list[Outlook]) -> Outlook:
        """Put the outlooks of several groups of rows together."""
        return Outlook(**{f.name: torch.cat([getattr(part, f.name) for part in parts]) for f in fields(Outlook)})


@dataclass(frozen=True)
class Lookahead:
    """Simulates first actions, and what the backup makes of them.

    Args:
        model: of the plant.
        limits: what must be kept at every part of every step.
        terminal: where every roll-out must end. The backup at its targets never leaves it, so what is inside is not simulated on.
        envelope: box and rate; its safe values are the targets of the backup.
        horizon: steps of the backup.
    """

    model: Model
    limits: StateSet
    terminal: StateSet
    envelope: Envelope
    horizon: int

    def plan(self, first: Tensor) -> list[Tensor]:
        """Return the actions ``[R, A]`` of each step, and of the one after: ``first``, then the backup as box and rate let it."""
        _, _, rate, target = self.envelope.bounds(first)
        actions = [first]
        for _ in range(self.horizon + 1):
            last = actions[-1]
            actions.append(torch.clamp(target, last - rate, last + rate))
        return actions

    def outlook(
        self, state: Tensor, parameters: Tensor, first: Tensor, *, each_step: Callable[[], None] | None = None
    ) -> Outlook:
        """Simulate.

        Args:
            state: ``[B, N, S]`` where each row can be now.
            parameters: ``[N, P]``, or ``[B, N, P]``.
            first: ``[B, K, A]`` in the envelope.
            each_step: called before every step; what it raises ends the look ahead.
        """
        batch, points, _ = state.shape
        shape = (batch, first.shape[1], points)

        def each_point(values: Tensor) -> Tensor:  # [B·K, ...] to [R, ...]
            return values[:, None].expand(-1, points, *values.shape[1:]).flatten(0, 1)

        rows = state[:, None].expand(*shape, -1).flatten(0, 2)
        given = (parameters[:, None] if parameters.dim() == 3 else parameters).expand(*shape, -1).flatten(0, 2)
        limits = rows.new_full((len(rows), len(self.limits.bounds)), math.inf)
        tripped = torch.zeros_like(rows[:, 0], dtype=torch.bool)
        arrived, running = tripped, ~tripped
        lows, highs = [], []
        plan = self.plan(first.flatten(0, 1))
        target = self.envelope.bounds(first).safe
        for action, following in pairwise(plan):
            if each_step is not None:
                each_step()
            states, trip = self.model.trace(rows, each_point(action), given)
            rows = states[-1]
            hull = rows.reshape(*shape, -1)
            lows.append(hull.amin(dim=2))
            highs.append(hull.amax(dim=2))
            for reached in states:
                limits = torch.where(running[:, None], torch.minimum(limits, self.limits.distance(reached)), limits)
            tripped = tripped | (trip & running)
            running = running & ~trip & (limits >= 0.0).all(dim=-1)
            inside = (self.terminal.distance(rows) >= 0.0).all(dim=-1)
            arrived = arrived | (running & inside & each_point((following == target).all(dim=-1)))
            running = running & ~arrived
            if running.device.type == "cpu" and not bool(running.any()):
                break  # on a device nothing waits for this answer
        low, high = self.terminal.box(rows, rows.shape[-1])
        missing = self.horizon + 1 - len(lows)
        lows += [low.expand_as(lows[0])] * missing
        highs += [high.expand_as(highs[0])] * missing
        return self._judged(shape, limits, tripped, arrived, (torch.stack(lows, dim=2), torch.stack(highs, dim=2)))

    def _judged(
        self, shape: tuple[int, int, int], limits: Tensor, tripped: Tensor, arrived: Tensor, hull: tuple[Tensor, Tensor]
    ) -> Outlook:
        finite = limits.sum(dim=-1).isfinite()
        least = self.limits.fractions(limits).amin(dim=-1)
        score = torch.where(finite & ~tripped & (arrived | (least < 0.0)), least, -math.inf)
        return Outlook(
            score=score.reshape(shape),
            distance=limits.reshape(*shape, -1).amin(dim=2),
            arrives=arrived.reshape(shape).all(dim=-1),
            finite=finite.reshape(shape).all(dim=-1),
            low=hull[0],
            high=hull[1],
        )
