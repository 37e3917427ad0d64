"""Can the backup be held for ever? The terminal set is simulated from its corners, its faces and its inside."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from fpo_pilot.shields.model.bounds import StateSet
from fpo_pilot.shields.model.dynamics import Model
from fpo_pilot.shields.model.uncertainty import UncertaintyPoints

_SEED = 20_250_802
"""Of the points inside: the same in every process, so that a check can be done again."""


@dataclass(frozen=True)
class TerminalCheck:
    """What :func:`check_terminal_set` found.

    Args:
        passed: every point that was tried stays.
        margin: least distance to a bound after one step, as a fraction of the signal's range; −inf where the model trips.
        state: from which it is least.
        parameters: with which it is least.
        tried: points of the set times points of the uncertainty set.
    """

    passed: bool
    margin: float
    state: tuple[float, ...]
    parameters: tuple[float, ...]
    tried: int


def check_terminal_set(
    model: Model,
    terminal: StateSet,
    limits: StateSet,
    points: UncertaintyPoints,
    *,
    backup: Sequence[float],
    ranges: Sequence[tuple[float, float]],
    samples: int = 256,
) -> TerminalCheck:
    """Simulate one control step of the backup from many states of the terminal set, with every set of parameters.

    A set from which one step never leads out is never left. This is evidence by simulation, not a proof: corners, points on every
    face, and points inside are tried.

    Args:
        model: of the plant.
        terminal: the set.
        limits: what must be kept on the way.
        points: the uncertainty set; errors of readings play no part, as true states are simulated.
        backup: A actions, at their targets.
        ranges: low and high of each state's signal, for the sides on which the set is open.
        samples: points inside, and as many on each face.
    """
    low, high = _box(terminal, ranges)
    states = _spread(low, high, terminal, samples)
    parameters = torch.tensor(sorted(set(points.parameters)), dtype=torch.float64)
    rows = states.repeat_interleave(len(parameters), dim=0)
    given = parameters.repeat(len(states), 1)
    actions = torch.tensor([list(backup)], dtype=torch.float64).expand(len(rows), -1)
    reached, tripped = model.trace(rows, actions, given)
    kept = [limits.fractions(limits.distance(state)).amin(dim=-1) for state in reached]
    ends = terminal.fractions(terminal.distance(reached[-1])).amin(dim=-1)
    margin = torch.stack((*kept, ends)).amin(dim=0)
    margin = torch.where(margin.isnan() | tripped, -math.inf, margin)
    worst = int(margin.argmin())
    return TerminalCheck(
        passed=bool(margin[worst] >= 0.0),
        margin=float(margin[worst]),
        state=tuple(rows[worst].tolist()),
        parameters=tuple(given[worst].tolist()),
        tried=len(rows),
    )


def _box(terminal: StateSet, ranges: Sequence[tuple[float, float]]) -> tuple[Tensor, Tensor]:
    low, high = [side[0] for side in ranges], [side[1] for side in ranges]
    for bound in terminal.bounds:
        side = high if bound.sign > 0.0 else low
        side[bound.column] = bound.edge
    return torch.tensor(low, dtype=torch.float64), torch.tensor(high, dtype=torch.float64)


def _spread(low: Tensor, high: Tensor, terminal: StateSet, samples: int) -> Tensor:
    """Return corners, points inside, and the same points moved onto each face, ``[Q, S]``."""
    width = len(low)
    generator = torch.Generator().manual_seed(_SEED)
    inside = low + torch.rand(samples, width, generator=generator, dtype=torch.float64) * (high - low)
    spread = [inside]
    if width <= 10:  # beyond that there are too many corners; the faces are tried all the same
        spread.append(torch.tensor([*product(*zip(low.tolist(), high.tolist(), strict=True))], dtype=torch.float64))
    for bound in terminal.bounds:
        face = inside.clone()
        face[:, bound.column] = bound.edge
        spread.append(face)
    return torch.cat(spread)
