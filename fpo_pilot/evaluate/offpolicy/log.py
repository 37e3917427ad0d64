"""From a run folder with a step log to what the estimators take, and what a policy would have done there behind its shield."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from fpo_pilot.certification.stacks import plant_stack
from fpo_pilot.evaluate.offpolicy.batch import LogBatch
from fpo_pilot.learn.logged import LoggedEpisodes, read_logged
from fpo_pilot.plants.plant import Plant
from fpo_pilot.shields import ShieldContext, judge
from fpo_pilot.specs.training import WarmStart

Act = Callable[[Tensor, torch.Generator], Tensor]
"""From observations ``[N, O]`` to normalised actions ``[N, A]``, or candidates ``[N, K, A]``."""


def read_batch(
    folder: Path, plant: Plant, arms: tuple[str, ...], keep: Mapping[str, Sequence[str]] | None = None
) -> tuple[LogBatch, LoggedEpisodes]:
    """Read the episodes of ``arms``, but none that was flown with the shield off: that was another controller.

    Args:
        folder: a run folder with a step log.
        plant: of the log.
        arms: who drove.
        keep: names of columns to the values that count, such as stages; no value for all.

    An episode that reached its horizon ends there: its return is what is asked for.

    Raises:
        LogError: as :func:`fpo_pilot.learn.logged.read_logged`.
    """
    settings = WarmStart(arms=arms, least_episodes=1)
    logged = read_logged(folder, plant, settings, horizon_ends=True, shielded=True, arms_at="--arms", keep=keep or {})
    known = torch.isfinite(logged.log_density) | ~logged.kept
    batch = LogBatch(
        obs=logged.obs,
        action=logged.action,
        reward=logged.reward,
        next_obs=logged.next_obs,
        ends=logged.terminated,
        kept=logged.kept,
        step=logged.step.double() / plant.horizon,
        starts=logged.kept[0] & (logged.step[0] == 0),
        log_density=logged.log_density if bool(known.all()) else None,
    )
    return batch, logged


def lacking(logged: LoggedEpisodes) -> str:
    """Say how many rows lack the density that others have; empty where none has it, or all have."""
    lacks = int((~torch.isfinite(logged.log_density) & logged.kept).sum())
    rows = int(logged.kept.sum())
    return "" if lacks in (0, rows) else f"{lacks} of {rows} rows lack log_density"


class BehindShield:
    """What a policy does behind the declared shield at logged states, each judged afresh.

    The read-back is the applied action of the log. Latches, counts of samples and readings under way are those of a new episode: the
    log does not tell what this policy's own would be. The draws are the same at every call.

    Args:
        plant: with its safety spec; without one the limits alone cut.
        act: the policy as deployed.
        draws: M, of the policy's noise.
        seed: of the noise.
        noisy: whether the policy draws at all, which one draw does not tell; if left out, whether there are several.
    """

    def __init__(self, plant: Plant, act: Act, *, draws: int, seed: int, noisy: bool | None = None) -> None:
        self.plant, self.act, self.draws, self.seed = plant, act, draws, seed
        self.noisy = draws > 1 if noisy is None else noisy
        self._at_logged: tuple[LoggedEpisodes, Tensor] | None = None

    @torch.no_grad()
    def __call__(self, obs: Tensor, measured: Tensor, applied: Tensor) -> Tensor:
        """Return M actions ``[N, M, A]``, normalised, at observations ``[N, O]``, readings ``[N, M']`` and read-backs ``[N, A]``.

        ``applied`` is normalised, as the log is.
        """
        return torch.stack([self._drawn(draw, obs, measured, applied) for draw in range(self.draws)], dim=1)

    @torch.no_grad()
    def _drawn(self, draw: int, obs: Tensor, measured: Tensor, applied: Tensor) -> Tensor:
        """Return the action ``[N, A]`` of one draw."""
        plant, previous = self.plant, self.plant.to_engineering(applied.double())
        generator = torch.Generator().manual_seed(self.seed + draw)
        asked = plant.to_engineering(self.act(obs, generator).double())
        if plant.safety is None:
            low, high = (torch.tensor(bound, dtype=torch.float64) for bound in (plant.action_low, plant.action_high))
            first = asked if asked.dim() == 2 else asked[:, 0]
            return plant.to_normalised(torch.minimum(torch.maximum(first, low), high))
        shield = plant_stack(plant, plant.safety)
        shield.reset()  # every row stands alone, its reading as fresh as the log says nothing of what was sent before
        rows, size = measured.shape
        context = ShieldContext(
            measured.double(),
            torch.zeros((rows, size), dtype=torch.uint8),
            torch.zeros((rows, size), dtype=torch.float64),
            previous,
            torch.full_like(previous, torch.nan),
            plant.period,
        )
        return plant.to_normalised(judge(shield, context, asked).verdict.action)

    def ahead(self, logged: LoggedEpisodes) -> Callable[[Tensor], Tensor]:
        """Return the actions at the next states of rows of the log."""
        obs, measured = logged.next_obs.flatten(0, 1), logged.next_measured.flatten(0, 1)
        applied = logged.action.flatten(0, 1)
        return lambda rows: self(obs[rows], measured[rows], applied[rows])

    def at_start(self, logged: LoggedEpisodes, starts: Tensor) -> Tensor:
        """Return the first actions ``[E, M, A]`` of episodes."""
        return self(logged.obs[0, starts], logged.measured[0, starts], logged.previous[0, starts])

    def at_logged(self, logged: LoggedEpisodes) -> Tensor:
        """Return one action ``[T, B, A]`` at every logged state: what the log's own action stands beside.

        It is asked for by the estimators and by the support; the answer to the last log is remembered.
        """
        if self._at_logged is None or self._at_logged[0] is not logged:
            obs, measured, before = (part.flatten(0, 1) for part in (logged.obs, logged.measured, logged.previous))
            actions = self._drawn(0, obs, measured, before).reshape(*logged.kept.shape, -1)
            self._at_logged = logged, actions
        return self._at_logged[1]
