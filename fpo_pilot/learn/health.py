"""When a training is to stop: a number that is not one, or a return that fell and stayed down (the "reward cliff")."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from fpo_pilot.specs.training import Common

WATCHED = ("policy_loss", "value_loss", "gradient_norm", "ratio_mean")


def find_trouble(
    rows: Sequence[Mapping[str, float]], spec: Common, *, since: int = 0, watched: Sequence[str] = WATCHED
) -> str | None:
    """Say why to stop after the last of ``rows`` (one an update), or None: one of ``watched`` is no number, or a collapse.

    Collapse: over the last ``collapse_window`` updates that have a return, every one lies below the best window mean
    so far by more than ``collapse_fraction`` of the rise from the first window to the best. Rows up to ``since``, where
    the last roll-back was, tell what the best was, but not that the return is down now.
    """
    last = rows[-1]
    broken = [name for name in watched if not math.isfinite(last[name])]
    if broken:
        return f"{', '.join(broken)} not finite at update {int(last['update'])}"
    returns = [row["return_mean"] for row in rows if math.isfinite(row["return_mean"])]
    window = spec.collapse_window
    fresh = sum(math.isfinite(row["return_mean"]) for row in rows[since:])
    if len(returns) < 3 * window or fresh < 2 * window:
        return None
    means = [sum(returns[end - window : end]) / window for end in range(window, len(returns) + 1)]
    best, first = max(means), means[0]
    floor = best - spec.collapse_fraction * (best - first)
    if best > first and max(returns[-window:]) < floor:
        return f"return fell from {best:.4g} and stayed below {floor:.4g} for {window} updates"
    return None


def adapted(factor: float, change: float, target: float | None) -> float:
    """Return the factor of the learning rate after an update that moved the actions by ``change``, a proxy for the KL.

    At twice the target the rate is divided by 1.5, at half of it multiplied; it stays within 1/30 and 3 of what was set.
    """
    if target is None or not math.isfinite(change):
        return factor
    if change > 2.0 * target:
        return max(factor / 1.5, 1.0 / 30.0)
    if change < 0.5 * target:
        return min(factor * 1.5, 3.0)
    return factor
