"""What is asked of tables of episodes when an evaluation is recomputed."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fpo_pilot.evidence.evaluation import Estimate
from fpo_pilot.evidence.interval import Floats, same
from fpo_pilot.evidence.statistics import bootstrap_interval
from fpo_pilot.evidence.verdict import only_episode

LOGGED = 1e-5
"""Relative; the step log has rewards in float32, an episode sums them in float64."""


def column(table: pa.Table, name: str) -> Floats:
    """Return a column ``[n]`` as float64."""
    return np.asarray(table[name].to_numpy(), dtype=np.float64)


def texts(table: pa.Table, name: str) -> list[str]:
    """Return a column of words, with nothing as the empty word."""
    return [value or "" for value in pc.cast(table[name], pa.string()).to_pylist()]


def violated(table: pa.Table) -> int:
    """Return in how many episodes a hard limit was passed."""
    return int((column(table, "violations_hard") > 0).sum())


def alike(values: Floats) -> bool:
    """Tell whether values are one value but for rounding."""
    return len(values) == 0 or float(np.ptp(values)) <= LOGGED * max(1.0, float(np.abs(values).max()))


def estimate_of(values: Floats, confidence: float, seed: int, *, certain: bool) -> Estimate:
    """Estimate a mean as an evaluation does.

    Args:
        values: ``[n]``.
        confidence: of the interval.
        seed: of the bootstrap.
        certain: nothing is drawn at random, so that all episodes are one.
    """
    if certain and len(values) and np.isfinite(values).all():
        return Estimate.of(only_episode(float(values.mean()), len(values)))
    return Estimate.of(bootstrap_interval(values, confidence, seed))


def same_estimate(first: Estimate, second: Estimate) -> bool:
    """Tell whether two estimates say the same."""
    limits = ((first.mean, second.mean), (first.low, second.low), (first.high, second.high))
    return first.n == second.n and all(same(*pair) for pair in limits)
