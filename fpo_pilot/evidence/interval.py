"""An estimate with its confidence limits, and how it says that it is worth nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from fpo_pilot.errors import FpoPilotError

Floats = np.ndarray[Any, np.dtype[np.float64]]
NO_SPREAD = 1e-9
"""Values that differ by less than this part of their size are one value, computed in another order."""


class EvidenceError(FpoPilotError, ValueError):
    """A statistic was asked for what it cannot say; the message says where, found, expected and fix."""


class Interval(BaseModel):
    """An estimate over ``n`` episodes or blocks with its confidence limits. NaN means that there is no estimate."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mean: float
    low: float
    high: float
    n: int
    degenerate: bool = False
    """The limits say nothing of chance: one value, no spread at all, no value, or values that are not finite."""
    note: str = ""

    @property
    def valid(self) -> bool:
        """Whether the estimate and both limits are numbers."""
        return math.isfinite(self.mean) and math.isfinite(self.low) and math.isfinite(self.high)


def as_values(values: Sequence[float] | Floats, name: str = "values") -> Floats:
    """Return ``values`` as float64 ``[n]``.

    Raises:
        EvidenceError: they are not one list of numbers.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise EvidenceError(
            f"{name}: found an array of shape {array.shape}, expected one list of numbers. Pass one value per episode."
        )
    return array


def is_one_value(values: Floats) -> bool:
    """Tell whether ``values`` ``[n]``, of which there is one at least, are one value but for rounding."""
    return bool(np.ptp(values) <= NO_SPREAD * max(1.0, float(np.abs(values).max())))


def no_interval(n: int, note: str) -> Interval:
    """Return the interval that is none: every number is NaN, and ``note`` says why."""
    return Interval(mean=math.nan, low=math.nan, high=math.nan, n=n, degenerate=True, note=note)


def same(first: float | None, second: float | None) -> bool:
    """Tell whether two numbers, computed from the same data, are one; None is a number that does not exist."""
    if first is None or second is None:
        return first is second
    return math.isclose(first, second, rel_tol=1e-9, abs_tol=1e-12)
