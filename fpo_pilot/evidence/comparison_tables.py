"""Comparison of algorithms as tidy tables: one row a run in, one row an estimate with its limits out.

Runs come in long format: ``task``, ``algorithm``, ``seed``, ``score``, and for learning curves ``steps`` and
``seconds`` as well. Each table says how many ``runs`` and ``tasks`` it stands on, at which ``confidence``, and in
``note`` why limits are absent. See :mod:`fpo_pilot.evidence.comparison` for the statistics and their source.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import permutations
from typing import Literal

import numpy as np
import pandas as pd

from fpo_pilot.evidence.comparison import (
    RESAMPLES,
    StatisticName,
    as_tasks,
    check_bootstrap,
    counts_of,
    draw_seeds,
    limits,
    normalise,
    performance_profile,
    pooled_iqm,
    probability_of_improvement_interval,
    stratified_bootstrap,
    why_no_interval,
)
from fpo_pilot.evidence.interval import EvidenceError, Floats, Interval

AfterEnd = Literal["cut", "hold"]
POINTS = 25
RUN = ("task", "algorithm", "seed")


def normalise_table(runs: pd.DataFrame, low: Mapping[str, float], high: Mapping[str, float]) -> pd.DataFrame:
    """Return ``runs`` (or learning curves) with ``score`` normalised per task: 0 is ``low``, 1 is ``high``.

    Args:
        runs: columns ``task`` and ``score`` at least.
        low: score of the reference of each task.
        high: best known score of each task.
    """
    _check_columns(runs, ("task", "score"))
    scores = {str(task): group.to_numpy(np.float64) for task, group in runs.groupby("task", sort=True)["score"]}
    units = normalise(scores, low, high)
    result = runs.copy()
    result["score"] = result["score"].astype(np.float64)
    for task, values in units.items():
        result.loc[runs["task"].astype(str) == task, "score"] = values
    return result


def interval_table(
    runs: pd.DataFrame,
    statistic: StatisticName = "iqm",
    *,
    resamples: int = RESAMPLES,
    confidence: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Estimate a statistic of each algorithm over tasks and seeds.

    Returns:
        Columns ``algorithm``, ``score``, ``low``, ``high``, ``runs``, ``tasks``, ``confidence``, ``note``.
    """
    rows = []
    for algorithm, tasks in score_tables(runs).items():
        found = stratified_bootstrap(tasks, statistic, resamples=resamples, confidence=confidence, seed=seed)
        rows.append({"algorithm": algorithm, **_interval_columns(found, "score", len(tasks), confidence)})
    return pd.DataFrame(rows)


def improvement_table(
    runs: pd.DataFrame, *, resamples: int = RESAMPLES, confidence: float = 0.95, seed: int = 0
) -> pd.DataFrame:
    """Estimate the probability that a run of ``x`` beats one of ``y``, for every ordered pair of algorithms.

    Returns:
        Columns ``x``, ``y``, ``probability``, ``low``, ``high``, ``runs``, ``tasks``, ``confidence``, ``note``.
    """
    scores = score_tables(runs)
    rows = []
    for x, y in permutations(scores, 2):
        found = probability_of_improvement_interval(
            scores[x], scores[y], resamples=resamples, confidence=confidence, seed=seed
        )
        rows.append({"x": x, "y": y, **_interval_columns(found, "probability", len(scores[x]), confidence)})
    names = ("x", "y", "probability", "low", "high", "runs", "tasks", "confidence", "note")
    return pd.DataFrame(rows, columns=list(names))


def profile_table(
    runs: pd.DataFrame,
    thresholds: Sequence[float] | Floats | None = None,
    *,
    resamples: int = RESAMPLES,
    confidence: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Return the share of runs above each threshold, for each algorithm.

    Args:
        runs: one row a run.
        thresholds: ``[K]``, rising; by default 101 from just below the lowest score of all to the highest, so that
            every profile falls from 1 to 0.
        resamples: bootstrap samples.
        confidence: of the pointwise band.
        seed: of the resampling.

    Returns:
        Columns ``algorithm``, ``threshold``, ``share``, ``low``, ``high``, ``runs``, ``tasks``, ``confidence``,
        ``note``.
    """
    scores = score_tables(runs)
    if thresholds is None:
        worst, best = float(runs["score"].min()), float(runs["score"].max())
        margin = 0.01 * max(best - worst, 1e-6 * max(1.0, abs(best)))
        thresholds = np.linspace(worst - margin, best + margin, 101)
    frames = []
    for algorithm, tasks in scores.items():
        found = performance_profile(tasks, thresholds, resamples=resamples, confidence=confidence, seed=seed)
        columns = {"threshold": found.thresholds, "share": found.share, "low": found.low, "high": found.high}
        facts = {"runs": found.n, "tasks": len(tasks), "confidence": confidence, "note": found.note}
        frames.append(pd.DataFrame({"algorithm": algorithm, **columns, **facts}))
    return pd.concat(frames, ignore_index=True)


def sample_efficiency(
    curves: pd.DataFrame,
    *,
    grid: Sequence[float] | Floats | None = None,
    points: int = POINTS,
    after_end: AfterEnd = "cut",
    resamples: int = RESAMPLES,
    confidence: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Estimate each algorithm's interquartile mean at common step counts.

    The score of a run at a step count is that of its last evaluation until then: nothing of the future is used, as a
    line between two evaluations would. Before the first evaluation of all its runs an algorithm has no score. One set
    of bootstrap samples serves a whole curve, so its band does not jitter.

    Args:
        curves: long format: ``task``, ``algorithm``, ``seed``, ``steps``, ``score``; curves may differ in length and
            in the places of their evaluations.
        grid: step counts ``[G]``; by default ``points`` evenly over the range of each algorithm, all of them for all.
        points: of each algorithm's own range, where ``grid`` is left out.
        after_end: ``cut`` ends an algorithm where its first run ends: to go on with those that are left would drop
            the runs that were given up. ``hold`` keeps the last score of a run that ended, for runs that stopped
            because they were finished.
        resamples: bootstrap samples.
        confidence: of the pointwise band.
        seed: of the resampling.

    Returns:
        Columns ``algorithm``, ``steps``, ``score``, ``low``, ``high``, ``runs``, ``tasks``, ``confidence``, ``note``.
    """
    _check_unique(curves, (*RUN, "steps"))
    return _efficiency(curves, "steps", grid, points, after_end, resamples, confidence, seed)


def wall_clock_efficiency(
    curves: pd.DataFrame,
    *,
    grid: Sequence[float] | Floats | None = None,
    points: int = POINTS,
    after_end: AfterEnd = "cut",
    resamples: int = RESAMPLES,
    confidence: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Estimate each algorithm's interquartile mean after common times of training: :func:`sample_efficiency` in seconds.

    Args:
        curves: long format with a column ``seconds``; only runs on equal machines compare.
        grid: seconds ``[G]``.
        points: of each algorithm's own range, where ``grid`` is left out.
        after_end: see :func:`sample_efficiency`.
        resamples: bootstrap samples.
        confidence: of the pointwise band.
        seed: of the resampling.

    Returns:
        As :func:`sample_efficiency`, with ``seconds`` in place of ``steps``.
    """
    return _efficiency(curves, "seconds", grid, points, after_end, resamples, confidence, seed)


def score_tables(runs: pd.DataFrame) -> dict[str, dict[str, Floats]]:
    """Return algorithm → task → scores of its seeds, from one row a run.

    Raises:
        EvidenceError: a column is missing, a run has two rows or no finite score, or an algorithm was not run on all
            tasks.
    """
    _check_columns(runs, (*RUN, "score"))
    _check_unique(runs, RUN)
    _check_complete(runs)
    found = {}
    for algorithm, group in runs.groupby("algorithm", sort=False):
        parts = group.sort_values("seed").groupby("task", sort=True)["score"]
        scores = {str(task): part.to_numpy(np.float64) for task, part in parts}
        found[str(algorithm)] = as_tasks(scores, f"scores of {algorithm}")
    return found


def _interval_columns(found: Interval, name: str, tasks: int, confidence: float) -> dict[str, object]:
    facts = {"runs": found.n, "tasks": tasks, "confidence": confidence, "note": found.note}
    return {name: found.mean, "low": found.low, "high": found.high, **facts}


_Curve = tuple[Floats, Floats]
"""Where a run was evaluated ``[E]``, rising, and its scores there ``[E]``."""


def _efficiency(
    curves: pd.DataFrame,
    axis: str,
    grid: Sequence[float] | Floats | None,
    points: int,
    after_end: AfterEnd,
    resamples: int,
    confidence: float,
    seed: int,
) -> pd.DataFrame:
    check_bootstrap(resamples, confidence)
    _check_columns(curves, (*RUN, axis, "score"))
    _check_complete(curves)
    bad = ~np.isfinite(curves[[axis, "score"]].to_numpy(np.float64)).all(axis=1)
    if bad.any():
        raise EvidenceError(
            f"curves: found {int(bad.sum())} rows with {axis} or score that is not finite, expected numbers. "
            "Leave out evaluations that did not take place; give a failed one the score of the reference."
        )
    runs = {str(name): _curves_of(group, axis) for name, group in curves.groupby("algorithm", sort=False)}
    ranges = {name: _range(tasks, after_end) for name, tasks in runs.items()}
    places = _grid(ranges.values(), points) if grid is None else np.unique(np.asarray(grid, dtype=np.float64))
    frames = []
    for name, tasks in runs.items():
        start, end = ranges[name]
        here = places[(places >= start) & (places <= end)]
        if len(here) == 0:
            raise EvidenceError(
                f"grid: found no point for {name}, expected one from {start:g} to {end:g} {axis}. Leave the grid out."
            )
        facts = {"runs": sum(len(task) for task in tasks.values()), "tasks": len(tasks), "confidence": confidence}
        frames.append(_band(name, axis, tasks, here, resamples, confidence, seed).assign(**facts))
    table = pd.concat(frames, ignore_index=True)
    return table[["algorithm", axis, "score", "low", "high", "runs", "tasks", "confidence", "note"]]


def _curves_of(rows: pd.DataFrame, axis: str) -> dict[str, list[_Curve]]:
    """Task → the curve of each seed."""
    found: dict[str, list[_Curve]] = {}
    for (task, _), run in rows.groupby(["task", "seed"], sort=True):
        ordered = run.sort_values(axis, kind="stable")
        curve = ordered[axis].to_numpy(np.float64), ordered["score"].to_numpy(np.float64)
        found.setdefault(str(task), []).append(curve)
    return found


def _range(tasks: Mapping[str, list[_Curve]], after_end: AfterEnd) -> tuple[float, float]:
    """From where all runs have a score to where the first of them (or, holding, the last) ends.

    Raises:
        EvidenceError: one run ended before another began.
    """
    ends = [places[-1] for curves in tasks.values() for places, _ in curves]
    start = max(float(places[0]) for curves in tasks.values() for places, _ in curves)
    end = float(min(ends) if after_end == "cut" else max(ends))
    if start > end:
        raise EvidenceError(
            f"curves: found a run that ends at {end:g} before another begins at {start:g}, expected a common range. "
            'Evaluate more often, or pass after_end="hold".'
        )
    return start, end


def _grid(ranges: Iterable[tuple[float, float]], points: int) -> Floats:
    """All points of all algorithms: a fast algorithm is not left with few points on the scale of a slow one."""
    return np.unique(np.concatenate([np.linspace(start, end, max(points, 1)) for start, end in ranges]))


def _band(
    name: str,
    axis: str,
    tasks: Mapping[str, list[_Curve]],
    places: Floats,
    resamples: int,
    confidence: float,
    seed: int,
) -> pd.DataFrame:
    """Interquartile mean and limits at each of ``places`` [G]."""
    scores = {task: np.stack([_last_known(curve, places) for curve in curves]) for task, curves in tasks.items()}
    reason = why_no_interval(scores)
    mean, low, high = (np.full(len(places), np.nan) for _ in range(3))
    picks = {} if reason else draw_seeds(scores, resamples, np.random.default_rng(seed))
    for g in range(len(places)):
        mean[g] = pooled_iqm([one[None, :, g] for one in scores.values()])[0]
        if not reason:
            drawn = pooled_iqm([one[picks[t], g] for t, one in scores.items()])
            low[g], high[g] = limits(drawn, counts_of(scores), confidence)
    return pd.DataFrame({"algorithm": name, axis: places, "score": mean, "low": low, "high": high, "note": reason})


def _last_known(curve: _Curve, places: Floats) -> Floats:
    """The score of the last evaluation at or before each of ``places``."""
    where, scores = curve
    return scores[np.searchsorted(where, places, side="right") - 1]


def _check_columns(frame: pd.DataFrame, needed: Sequence[str]) -> None:
    missing = [name for name in needed if name not in frame.columns]
    if missing or frame.empty:
        found = f"no column {', '.join(missing)}" if missing else "no row"
        raise EvidenceError(
            f"table of runs: found {found}, expected rows with {', '.join(needed)}. Pass the table in long format."
        )


def _check_unique(frame: pd.DataFrame, key: Sequence[str]) -> None:
    _check_columns(frame, key)
    twice = frame[frame.duplicated(list(key))]
    if not twice.empty:
        one = ", ".join(f"{name} {twice.iloc[0][name]}" for name in key)
        raise EvidenceError(
            f"table of runs: found more than one row for {one} ({len(twice)} such rows), expected each once. "
            "Keep one setting of each run, such as the deployed one."
        )


def _check_complete(frame: pd.DataFrame) -> None:
    pairs = set(zip(frame["algorithm"], frame["task"], strict=True))
    missing = [
        f"{algorithm} on {task}"
        for algorithm in frame["algorithm"].unique()
        for task in frame["task"].unique()
        if (algorithm, task) not in pairs
    ]
    if missing:
        raise EvidenceError(
            f"table of runs: found no run of {', '.join(missing)}, expected every algorithm on every task. "
            "Run it, or leave the task out for all: else algorithms are judged by different tasks."
        )
