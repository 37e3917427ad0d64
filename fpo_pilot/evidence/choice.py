"""The rule by which a deployment is chosen; whoever recomputes the choice takes the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

TIE = 1e-6
"""Means that differ by less than this part of their size are equal: then the smaller noise is taken."""


@dataclass(frozen=True)
class Scored:
    """How one deployment did on the episodes of the choice."""

    mean: float
    """Mean return; NaN if there is none."""
    violated: int
    """Episodes in which a hard limit was passed."""
    noise_scale: float


@dataclass(frozen=True)
class Best:
    """Which one is chosen."""

    index: int
    equal: int
    """How many were as good as it."""


def best_of(tried: Sequence[Scored]) -> Best:
    """Choose the fewest episodes with a hard violation, then the best mean return, then the smallest noise.

    Args:
        tried: at least one.
    """
    fewest = min(one.violated for one in tried)
    clean = [i for i, one in enumerate(tried) if one.violated == fewest]
    best = max(_mean(tried[i]) for i in clean)
    slack = TIE * max(1.0, abs(best)) if math.isfinite(best) else 0.0
    equal = [i for i in clean if _mean(tried[i]) >= best - slack]
    return Best(min(equal, key=lambda i: tried[i].noise_scale), len(equal))


def _mean(one: Scored) -> float:
    return one.mean if math.isfinite(one.mean) else -math.inf
