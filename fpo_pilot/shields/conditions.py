"""Conditions of interlocks on tensors: bound expressions over the measured signals and the read-back."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fpo_pilot.errors import ShieldError
from fpo_pilot.specs.expression import Expression, evaluate, robustness


def _as_tensor(value: Any) -> Tensor:
    return value if isinstance(value, Tensor) else torch.tensor(float(value), dtype=torch.float64)


def _least(left: Any, right: Any) -> Any:
    if isinstance(left, Tensor) and isinstance(right, Tensor):
        return torch.minimum(left, right)
    tensor, bound = (left, right) if isinstance(left, Tensor) else (_as_tensor(right), left)
    return tensor.clamp(max=bound)


def _greatest(left: Any, right: Any) -> Any:
    if isinstance(left, Tensor) and isinstance(right, Tensor):
        return torch.maximum(left, right)
    tensor, bound = (left, right) if isinstance(left, Tensor) else (_as_tensor(right), left)
    return tensor.clamp(min=bound)


TENSOR_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "abs": abs,
    "min": _least,
    "max": _greatest,
    "sqrt": lambda value: _as_tensor(value).sqrt(),
    "exp": lambda value: _as_tensor(value).exp(),
    "log": lambda value: _as_tensor(value).log(),
}
"""The functions of the expression language on tensors."""


@dataclass(frozen=True)
class Condition:
    """A bound condition and the columns of the signals that it reads.

    Args:
        expression: bound to the units of the plant.
        columns: of ``names`` in the table of signals (measurements, then the read-back).
        names: of the signals, in the order of ``columns``.
        span: of the first named signal; margins are given as fractions of it.
    """

    expression: Expression
    names: tuple[str, ...]
    columns: tuple[int, ...]
    span: float

    @classmethod
    def build(cls, expression: Expression, signals: Sequence[str], spans: Sequence[float]) -> Condition:
        """Find the columns of an expression in ``signals``; ``spans`` are the widths of their ranges."""
        names = expression.ordered_names
        columns = tuple(signals.index(name) for name in names)
        return cls(expression, names, columns, spans[columns[0]] if columns else 1.0)

    def judge(self, now: Sequence[Tensor], before: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Evaluate on columns of signals, each ``[B]``.

        Returns:
            ``[B]`` whether the condition holds, ``[B]`` whether that can be known (every operand is finite), and ``[B]`` by how much
            it holds, as a fraction of the span.
        """
        values = {name: now[column] for name, column in zip(self.names, self.columns, strict=True)}
        previous = {name: before[column] for name, column in zip(self.names, self.columns, strict=True)}
        like = now[0]
        known = torch.ones_like(like, dtype=torch.bool)
        for value in values.values():
            known = known & value.isfinite()
        held = evaluate(self.expression, values, previous, TENSOR_FUNCTIONS)
        margin = robustness(self.expression, values, previous, TENSOR_FUNCTIONS)
        return (
            known & (held if isinstance(held, Tensor) else torch.full_like(known, bool(held))),
            known,
            (margin if isinstance(margin, Tensor) else torch.full_like(like, float(margin))) / self.span,
        )


@dataclass(frozen=True)
class Ballot:
    """Conditions that vote, n of m; a single condition is 1 of 1.

    A condition that cannot be judged abstains: of 2 of 3 with one reading lost, 2 of the other 2 trip. Until the known ones
    decide, nobody knows; where ``lost_trips``, it counts as a vote to trip instead, and 1 of the other 2 is enough.

    Args:
        conditions: one for each redundant sensor.
        least: votes that trip.
        lost_trips: whether a condition that cannot be judged is a vote to trip.

    Raises:
        ShieldError: more votes are asked for than there are conditions, or none.
    """

    conditions: tuple[Condition, ...]
    least: int = 1
    lost_trips: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.least <= len(self.conditions):
            raise ShieldError(
                f"vote: found {self.least} of {len(self.conditions)} conditions, expected at least one and at most all. "
                "Correct `least`, or add conditions."
            )

    def judge(self, now: Sequence[Tensor], before: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Count the votes; as :meth:`Condition.judge`, with the margin of the condition that decides, the ``least``-th highest."""
        judged = [condition.judge(now, before) for condition in self.conditions]
        holding, known, excess = (torch.stack(part) for part in zip(*judged, strict=True))
        if self.lost_trips and len(self.conditions) > 1:
            holding = holding | ~known
            excess, known = torch.where(known, excess, 0.0), torch.ones_like(known)
        votes, open_votes = holding.sum(dim=0), (~known).sum(dim=0)
        decided = (votes >= self.least) | (votes + open_votes < self.least)
        lowest = torch.where(known, excess, math.inf)  # of one that is not known the worst is assumed
        return votes >= self.least, decided, lowest.sort(dim=0, descending=True).values[self.least - 1]

    def all_known(self, now: Sequence[Tensor]) -> Tensor:
        """Return ``[B]`` bool: every signal that is read is finite."""
        columns = sorted({column for condition in self.conditions for column in condition.columns})
        known = torch.ones_like(now[0], dtype=torch.bool)
        for column in columns:
            known = known & now[column].isfinite()
        return known
