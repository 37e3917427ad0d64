"""Who proposes: open-loop sequences made beforehand, a search for the worst of them, and a policy turned against its plant.

Letters: H steps of the horizon, B episodes of the batch, N adversaries, A actions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from fpo_pilot.learn.policy import Policy
from fpo_pilot.plants.plant import Plant
from fpo_pilot.plants.reward import limit_margins
from fpo_pilot.plants.simulation import Simulation

HOLD = 10
"""Steps for which a slow adversary keeps its mind."""
_SWITCH = 0.2
"""Chance of a bang-bang adversary to change sides in a step, for each action."""
CANDIDATES = 8
"""Proposals of the policy of which the worst by prediction is taken."""


class Proposer(Protocol):
    """What proposes actions to B plants."""

    def propose(self, simulation: Simulation, observation: Tensor, step: int) -> Tensor:
        """Return ``[B, A]`` in engineering units."""
        ...


@dataclass(frozen=True, eq=False)
class Sequence:
    """Proposals made beforehand, ``[H, B, A]``."""

    actions: Tensor

    def propose(self, simulation: Simulation, observation: Tensor, step: int) -> Tensor:
        """Return those of this step."""
        return self.actions[step]


def sequence_names(plant: Plant) -> tuple[str, ...]:
    """List the adversaries of :func:`sequences`, in their order."""
    each = [f"{side} {name}" for name in plant.action_names for side in ("max", "min")]
    return ("random", "slow", "bang-bang", "max", "min", *(each if len(plant.action_names) > 1 else ()))


def sequences(plant: Plant, episodes: int, seed: int) -> Sequence:
    """Make all open-loop adversaries at once, ``episodes`` rows each, ``[H, N·episodes, A]``.

    Random: uniform in the action limits. Slow: the same, held for ten steps. Bang-bang: at a limit, changing sides at random. Max and
    min: all actions at a limit. ``max NAME`` and ``min NAME``: one action at a limit, the others slow.
    """
    generator = torch.Generator().manual_seed(seed)
    size, horizon = len(plant.action_names), plant.horizon
    shape = (horizon, episodes, size)
    fast = torch.rand(shape, generator=generator, dtype=torch.float64)
    slow = held(torch.rand((-(-horizon // HOLD), episodes, size), generator=generator, dtype=torch.float64), horizon)
    switched = torch.rand(shape, generator=generator, dtype=torch.float64) < _SWITCH
    first = torch.rand((1, episodes, size), generator=generator, dtype=torch.float64) < 0.5
    bang = ((switched.cumsum(dim=0) % 2 == 1) ^ first).to(torch.float64)
    shares = [fast, slow, bang, torch.ones(shape, dtype=torch.float64), torch.zeros(shape, dtype=torch.float64)]
    for column in range(size if size > 1 else 0):
        for side in (1.0, 0.0):
            one = slow.clone()
            one[..., column] = side
            shares.append(one)
    return Sequence(in_limits(plant, torch.cat(shares, dim=1)))


def held(knots: Tensor, horizon: int) -> Tensor:
    """Hold each of the knots ``[K, B, A]`` for ten steps, ``[H, B, A]``."""
    return knots.repeat_interleave(HOLD, dim=0)[:horizon]


def in_limits(plant: Plant, shares: Tensor) -> Tensor:
    """Map shares in [0, 1] to the action limits, ``[..., A]``."""
    low, high = shares.new_tensor(plant.action_low), shares.new_tensor(plant.action_high)
    return low + shares * (high - low)


@dataclass(eq=False)
class TurnedPolicy:
    """A trained policy as it is, mirrored (−a for a), or as the worst of some of its samples by predicted margin.

    Args:
        policy: what was trained.
        plant: its plant, for the prediction.
        way: which of the three.
        seed: of the noise.
    """

    policy: Policy
    plant: Plant
    way: str
    seed: int

    def __post_init__(self) -> None:
        """Seed the noise."""
        self._generator = torch.Generator().manual_seed(self.seed)

    @torch.no_grad()
    def propose(self, simulation: Simulation, observation: Tensor, step: int) -> Tensor:
        """Return ``[B, A]``."""
        size = len(self.plant.action_names)
        count = CANDIDATES if self.way == "policy worst of 8" else 1
        noise = torch.randn(observation.shape[0] * count, size, generator=self._generator)
        chosen = self.policy.sample(observation.repeat_interleave(count, dim=0), noise, float(count > 1))
        chosen = chosen.to(simulation.dtype).clamp(-1.0, 1.0)
        if self.way == "policy mirrored":
            chosen = -chosen
        actions = self.plant.to_engineering(chosen)
        return actions if count == 1 else self._worst(simulation.state, actions, count)

    def _worst(self, state: Tensor, actions: Tensor, count: int) -> Tensor:
        """Take of each ``count`` rows the action after which the nominal plant is nearest to a hard limit."""
        rows = state.repeat_interleave(count, dim=0)
        after, _ = self.plant.step(rows, actions)
        margin = hard_margin(self.plant, after, actions).reshape(-1, count)
        row = torch.arange(len(margin))
        return actions.reshape(len(margin), count, -1)[row, margin.argmin(dim=1)]


POLICY_WAYS = ("policy", "policy mirrored", "policy worst of 8")


def hard_margin(plant: Plant, state: Tensor, action: Tensor) -> Tensor:
    """Return ``[B]`` the least distance to a hard limit as a fraction of its signal's range, of the nominal plant."""
    columns = (*state.unbind(-1), *plant.outputs(state, action).unbind(-1), *action.unbind(-1))
    values = dict(zip((*plant.state_names, *plant.output_names, *plant.action_names), columns, strict=True))
    hard = tuple(limit for limit in plant.limits if limit.kind == "hard" and limit.signal in values)
    return least_fraction(plant, limit_margins(hard, values), state.new_full((len(state),), torch.inf))


def least_fraction(plant: Plant, margins: dict[str, Tensor], none: Tensor) -> Tensor:
    """Return ``[B]`` the least of the hard margins as fractions of the ranges; ``none`` where there is no hard limit."""
    least = none
    for limit in plant.limits:
        if limit.kind == "hard" and limit.id in margins:
            low, high = plant.spec.signals[limit.signal].range
            least = torch.minimum(least, margins[limit.id].to(least.dtype) / (high - low))
    return least
