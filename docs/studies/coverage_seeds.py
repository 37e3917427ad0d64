"""Cases of ``coverage.py``: intervals over training seeds on several tasks, as ``fpo-pilot compare`` gives them.

Scores are normal with the spread 1, and the mean of a task is its number; T tasks, n seeds each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fpo_pilot.evidence import probability_of_improvement_interval, stratified_bootstrap
from fpo_pilot.evidence.comparison import StatisticName

Floats = np.ndarray[Any, np.dtype[np.float64]]
Covered = Callable[[np.random.Generator], bool]
Case = tuple[str, str, int, float, Covered]
"""Interval, data, n, nominal coverage, and whether one replication is covered."""
IQM, MEAN, IMPROVEMENT = "IQM, stratified bootstrap", "mean, stratified bootstrap", "probability of improvement"
RESAMPLES = 999
SHIFT = 0.5
BETTER = 0.5 * (1.0 + math.erf(SHIFT / 2.0))
"""P(N(0.5, 2) > 0), the same in every task."""


def ten_seeds() -> Iterator[Case]:
    """Yield the intervals where there are enough seeds."""
    yield IQM, "4 tasks, 10 seeds", 40, 0.95, _iqm(4, 10)
    yield IMPROVEMENT, "4 tasks, 10 seeds", 40, 0.95, _improvement(4, 10)


def few_seeds() -> Iterator[Case]:
    """Yield the intervals where seeds are few, down to those for which no bootstrap suffices."""
    for tasks, seeds in ((10, 3), (5, 5), (10, 2), (1, 3)):
        data = f"{tasks} task{'s' if tasks > 1 else ''}, {seeds} seeds"
        yield IQM, data, tasks * seeds, 0.95, _iqm(tasks, seeds)
        yield IMPROVEMENT, data, tasks * seeds, 0.95, _improvement(tasks, seeds)
    spreads = {"": np.ones(10), ", skewed": np.ones(10), ", one spreads five times as far": np.append(np.ones(9), 5.0)}
    for word, spread in spreads.items():
        yield MEAN, f"10 tasks, 3 seeds{word}", 30, 0.95, _mean(spread, 3, skewed="skewed" in word)


def _scores(generator: np.random.Generator, tasks: int, seeds: int, shift: float) -> dict[str, Floats]:
    return {f"t{k}": k + shift + generator.standard_normal(seeds) for k in range(tasks)}


def _iqm(tasks: int, seeds: int) -> Covered:
    drawn = np.arange(tasks)[:, None] + np.random.default_rng(98).standard_normal((tasks, 1_000_000))
    quarter = drawn.size // 4
    truth = float(np.sort(drawn.ravel())[quarter:-quarter].mean())  # of a million scores of each task
    return lambda generator: _holds(truth, "iqm", _scores(generator, tasks, seeds, 0.0), generator)


def _mean(spread: Floats, seeds: int, *, skewed: bool) -> Covered:
    def once(generator: np.random.Generator) -> bool:
        shape = (seeds, len(spread))
        drawn = 1.0 - generator.exponential(1.0, shape) if skewed else generator.standard_normal(shape)
        scores = {f"t{k}": one * spread[k] for k, one in enumerate(drawn.T)}
        return _holds(0.0, "mean", scores, generator)

    return once


def _holds(truth: float, statistic: StatisticName, scores: dict[str, Floats], generator: np.random.Generator) -> bool:
    seed = int(generator.integers(2**31))
    found = stratified_bootstrap(scores, statistic, resamples=RESAMPLES, seed=seed)
    return found.low <= truth <= found.high


def _improvement(tasks: int, seeds: int) -> Covered:
    def once(generator: np.random.Generator) -> bool:
        x, y = _scores(generator, tasks, seeds, SHIFT), _scores(generator, tasks, seeds, 0.0)
        seed = int(generator.integers(2**31))
        found = probability_of_improvement_interval(x, y, resamples=RESAMPLES, seed=seed)
        return found.low <= BETTER <= found.high

    return once
