r"""Comparison of algorithms over tasks and seeds: interquartile means, who beats whom, profiles, all with intervals.

After Agarwal, Schwarzer, Castro, Courville, Bellemare, "Deep reinforcement learning at the edge of the statistical
precipice" (2021, arXiv 2108.13264). The unit of evidence is a training run; T tasks, n_t seeds of task t, N runs in
all, R bootstrap samples. Scores come as an array ``[seeds, tasks]``, or as a mapping from each task to the scores of
its seeds, whose number may then differ. Every task has the same weight, however many seeds it has.

The bootstrap is stratified: it draws seeds with replacement within each task, since the tasks are those that were
chosen and not a sample. The limits are expanded percentiles: the quantiles :math:`\Phi(\mp c\,t_{1-\alpha/2,\,\nu})` of
what was drawn, with :math:`\nu = \sum_t (n_t - 1)` and c from :func:`fpo_pilot.evidence.statistics.expanded_quantile`, since
a bootstrap of n seeds spreads by :math:`\sqrt{(n-1)/n}` too little and knows the spread no better than the seeds do. For the
probability of improvement the strata are the seeds of x and those of y of each task. Where so few samples do not resolve
a level, the least or the greatest of them is the limit.

For the mean of normal scores of equal spread that is nominal coverage; the plain quantiles :math:`\alpha/2` and
:math:`1-\alpha/2` covered 0.87 of 0.95 for three seeds of ten tasks, and 0.93 for ten of five. Measured (docs/results.md,
"Do the intervals hold?"): the interquartile mean is covered as often as it should with five seeds or more, and in 93 % with
three of ten tasks; the probability of improvement with a little room. Too narrow remain two seeds a task (89 %), skewed
scores (92 %), a mean in which one task spreads much further than the others (89 %: the degrees of freedom are then those
of that task), and few seeds of a single task, where the samples end at the least and the greatest seed (76 % for three).
So is a median of the tasks' means: it rests on one or two tasks, whatever their number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Literal, overload

import numpy as np
from scipy import special

from fpo_pilot.evidence.interval import NO_SPREAD, EvidenceError, Floats, Interval, as_values
from fpo_pilot.evidence.statistics import check_rate, expanded_quantile

RESAMPLES = 2_000
_TRIM = 0.25

Scores = Floats | Mapping[str, Sequence[float] | Floats]
"""``[seeds, tasks]``, or task → scores of its seeds."""
Samples = Sequence[Floats]
"""For each task its scores in every bootstrap sample, ``[R, n_t]``."""
Statistic = Callable[[Samples], Floats]
"""From samples to one value for each bootstrap sample, ``[R]``."""
StatisticName = Literal["iqm", "mean", "median"]


@overload
def normalise(scores: Floats, low: float | Floats, high: float | Floats) -> Floats: ...
@overload
def normalise(
    scores: Mapping[str, Sequence[float] | Floats], low: Mapping[str, float], high: Mapping[str, float]
) -> dict[str, Floats]: ...
def normalise(
    scores: Scores, low: float | Floats | Mapping[str, float], high: float | Floats | Mapping[str, float]
) -> Floats | dict[str, Floats]:
    """Return ``(scores − low) / (high − low)`` per task: 0 is the reference, 1 the best known; nothing is clipped.

    Args:
        scores: ``[seeds, tasks]``, or task → scores of its seeds; more is better.
        low: score of the reference (random actions, or inputs held): a number, ``[tasks]``, or a mapping of all tasks.
        high: best known score, in the same form.

    Raises:
        EvidenceError: a task has no reference, or its best known score is not above its reference. A score in which
            less is better has to change its sign first: reversed ends would otherwise turn an error into a success.
    """
    tasks = as_tasks(scores)
    lows, highs = _per_task(low, tasks, "low"), _per_task(high, tasks, "high")
    for task in tasks:
        if not (math.isfinite(lows[task]) and math.isfinite(highs[task]) and lows[task] < highs[task]):
            raise EvidenceError(
                f"normalise: task {task}: found low {lows[task]!r} and high {highs[task]!r}, expected low < high. "
                "Give the score of the reference and the best known one; negate a cost."
            )
    units = {task: (values - lows[task]) / (highs[task] - lows[task]) for task, values in tasks.items()}
    return units if isinstance(scores, Mapping) else np.stack(list(units.values()), axis=1)


def interquartile_mean(scores: Scores) -> float:
    """Return the mean of the middle half of all runs, over all tasks together.

    Of N runs the ``⌊N/4⌋`` lowest and as many of the highest are left out, as in ``scipy.stats.trim_mean(x, 0.25)``;
    fewer than four runs give the plain mean. Where tasks differ in their number of seeds, a run of task t weighs
    ``1/n_t`` and the middle half is that of the weight, with runs at its edges counted in part.

    Args:
        scores: ``[seeds, tasks]``, or task → scores of its seeds; normalised, so that tasks compare.

    Raises:
        EvidenceError: a score is NaN or infinite, or a task has none.
    """
    return float(pooled_iqm([values[None] for values in as_tasks(scores).values()])[0])


def stratified_bootstrap(
    scores: Scores,
    statistic: StatisticName | Statistic = "iqm",
    *,
    resamples: int = RESAMPLES,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Estimate a statistic of runs over tasks with its expanded percentile interval from the stratified bootstrap.

    Args:
        scores: ``[seeds, tasks]``, or task → scores of its seeds.
        statistic: ``iqm``, ``mean`` (of the tasks' means), ``median`` (of the tasks' means), or a function from the
            samples of each task ``[R, n_t]`` to ``[R]``.
        resamples: bootstrap samples R.
        confidence: of the two-sided interval.
        seed: of the resampling, so that an auditor gets the same digits.

    Returns:
        The interval; ``n`` counts runs. Where a task has one seed, the limits are NaN and ``note`` says why: a zero
        width would claim certainty. Where no bootstrap sample differs, it is ``degenerate``.
    """
    tasks = as_tasks(scores)
    check_bootstrap(resamples, confidence)
    function = _STATISTICS[statistic] if isinstance(statistic, str) else statistic
    estimate = float(_apply(function, [values[None] for values in tasks.values()], 1)[0])
    reason = why_no_interval(tasks)
    if reason:
        return as_interval(estimate, None, counts_of(tasks), confidence, reason)
    picks = draw_seeds(tasks, resamples, np.random.default_rng(seed))
    samples = [values[picks[task]] for task, values in tasks.items()]
    return as_interval(estimate, _apply(function, samples, resamples), counts_of(tasks), confidence)


def probability_of_improvement(x: Scores, y: Scores) -> float:
    r"""Return the mean over tasks of :math:`P(X > Y) + P(X = Y)/2` for one run of x and one of y.

    The Mann–Whitney statistic :math:`U / (n_t m_t)` of each task; it needs no common scale of the tasks. Above one
    half, x is the better one more often than not. The tasks must be the same, the numbers of seeds need not.
    """
    wins = _wins(as_tasks(x, "x"), as_tasks(y, "y"))
    return float(np.mean([win.mean() for win in wins]))


def probability_of_improvement_interval(
    x: Scores, y: Scores, *, resamples: int = RESAMPLES, confidence: float = 0.95, seed: int = 0
) -> Interval:
    """Estimate :func:`probability_of_improvement` with its stratified bootstrap interval.

    Seeds of x and y are drawn independently. Where x beats y in every pair, so it does in every bootstrap sample, and
    the interval is a point: it is marked ``degenerate``, since few seeds can do that by chance.
    """
    first, second = as_tasks(x, "x"), as_tasks(y, "y")
    check_bootstrap(resamples, confidence)
    wins = _wins(first, second)
    counts = [*counts_of(first), *counts_of(second)]
    estimate = float(np.mean([win.mean() for win in wins]))
    reason = why_no_interval(first) or why_no_interval(second)
    if reason:
        return as_interval(estimate, None, counts, confidence, reason)
    generator = np.random.default_rng(seed)
    drawn = np.zeros(resamples)
    for win in wins:
        rows, columns = (_shares(count, resamples, generator) for count in win.shape)
        drawn += np.einsum("rn,nm,rm->r", rows, win, columns, optimize=True) / len(wins)
    return as_interval(estimate, drawn, counts, confidence)


@dataclass(frozen=True)
class Profile:
    """Share of runs above each threshold, with its pointwise band; arrays ``[K]``. NaN in the band: ``note`` tells."""

    thresholds: Floats
    share: Floats
    low: Floats
    high: Floats
    n: int
    note: str = ""


def performance_profile(
    scores: Scores,
    thresholds: Sequence[float] | Floats,
    *,
    resamples: int = RESAMPLES,
    confidence: float = 0.95,
    seed: int = 0,
) -> Profile:
    r"""Return the share of runs whose score is above each threshold: the tail of the score's distribution.

    :math:`\hat F(\tau) = \frac1T \sum_t \frac1{n_t} \#\{i: x_{t,i} > \tau\}`. The band is pointwise: it holds at a
    threshold chosen beforehand, not for the whole curve at once.

    Args:
        scores: ``[seeds, tasks]``, or task → scores of its seeds; normalised.
        thresholds: ``[K]``, rising.
        resamples: bootstrap samples R.
        confidence: of the band.
        seed: of the resampling.
    """
    tasks = as_tasks(scores)
    check_bootstrap(resamples, confidence)
    levels = as_values(thresholds, "thresholds")
    if len(levels) == 0 or not np.isfinite(levels).all() or (np.diff(levels) <= 0).any():
        raise EvidenceError(f"thresholds: found {levels!r}, expected rising numbers. Sort them and keep each once.")
    above = [(values[:, None] > levels).astype(np.float64) for values in tasks.values()]  # [n_t, K]
    share = np.mean([one.mean(axis=0) for one in above], axis=0)
    counts, reason = counts_of(tasks), why_no_interval(tasks)
    if reason:
        none = np.full(len(levels), np.nan)
        return Profile(levels, share, none, none, sum(counts), reason)
    generator = np.random.default_rng(seed)
    drawn = np.zeros((resamples, len(levels)))
    for one in above:
        drawn += _shares(len(one), resamples, generator) @ one / len(above)
    low, high = limits(drawn, counts, confidence)
    return Profile(levels, share, low, high, sum(counts))


def pooled_iqm(samples: Samples) -> Floats:
    """Interquartile mean of each bootstrap sample, ``[R]``, from each task's ``[R, n_t]``; see the public function."""
    pooled = np.concatenate(samples, axis=1)  # [R, N]
    counts = [values.shape[1] for values in samples]
    total = pooled.shape[1]
    if len(set(counts)) == 1:
        cut = int(_TRIM * total)
        middle = np.partition(pooled, (cut, total - cut - 1), axis=1)[:, cut : total - cut]
        return np.asarray(middle.mean(axis=1))
    weights = np.concatenate([np.full(count, 1.0 / (count * len(counts))) for count in counts])  # [N], sum 1
    order = np.argsort(pooled, axis=1)
    upper = np.cumsum(weights[order], axis=1)
    inside = np.minimum(upper, 1.0 - _TRIM) - np.maximum(upper - weights[order], _TRIM)
    kept = np.clip(inside, 0.0, None)
    return np.asarray((kept * np.take_along_axis(pooled, order, axis=1)).sum(axis=1) / kept.sum(axis=1))


def as_tasks(scores: Scores, name: str = "scores") -> dict[str, Floats]:
    """Return task → float64 ``[n_t]``; the columns of an array are named by their index.

    Raises:
        EvidenceError: no task, a task without a score, a score that is not finite, or an array of another shape.
    """
    if isinstance(scores, Mapping):
        tasks = {str(task): as_values(values, f"{name}: task {task}") for task, values in scores.items()}
    else:
        array = np.asarray(scores, dtype=np.float64)
        if array.ndim != 2:
            raise EvidenceError(
                f"{name}: found an array of shape {array.shape}, expected [seeds, tasks]. "
                "Where tasks differ in their number of seeds, pass a mapping from task to scores."
            )
        tasks = {str(column): array[:, column] for column in range(array.shape[1])}
    if not tasks:
        raise EvidenceError(f"{name}: found no task, expected at least one. Pass the scores of a task.")
    for task, values in tasks.items():
        wrong = int((~np.isfinite(values)).sum())
        if wrong or len(values) == 0:
            found = f"{wrong} of {len(values)} scores that are not finite" if wrong else "no score"
            raise EvidenceError(
                f"{name}: task {task}: found {found}, expected a number for every run. A run that failed has a score, "
                "such as that of the reference: to leave it out would flatter the algorithm."
            )
    return tasks


def why_no_interval(tasks: Mapping[str, Floats]) -> str:
    """Return why seeds cannot be resampled, or nothing if they can.

    One task with one seed is enough: it would stand still in every bootstrap sample as if it had no chance in it.
    """
    single = [task for task, values in tasks.items() if len(values) == 1]
    if not single:
        return ""
    if len(single) == len(tasks):
        return "one seed: no spread between seeds to be seen"
    return f"one seed of task {', '.join(single)}: no spread between seeds to be seen there"


def draw_seeds(tasks: Mapping[str, Floats], resamples: int, generator: np.random.Generator) -> dict[str, np.ndarray]:
    """Draw seeds with replacement within each task: task → indices ``[R, n_t]``."""
    return {task: generator.integers(0, len(one), size=(resamples, len(one))) for task, one in tasks.items()}


def counts_of(tasks: Mapping[str, Sized]) -> list[int]:
    """Return the number of seeds of each task."""
    return [len(seeds) for seeds in tasks.values()]


def limits(drawn: Floats, counts: Sequence[int], confidence: float) -> tuple[Floats, Floats]:
    """Return the expanded percentile limits of bootstrap samples ``[R, ...]`` along their first axis.

    Args:
        drawn: bootstrap samples of the statistic.
        counts: seeds of each stratum that was drawn from.
        confidence: of the two-sided interval.
    """
    reach = expanded_quantile(counts, confidence)
    low, high = np.quantile(drawn, special.ndtr([-reach, reach]), axis=0)
    return np.asarray(low), np.asarray(high)


def as_interval(
    estimate: float, drawn: Floats | None, counts: Sequence[int], confidence: float, reason: str = ""
) -> Interval:
    """Make the interval of bootstrap samples ``[R]``; without samples its limits are absent for ``reason``."""
    runs = sum(counts)
    if drawn is None:
        return Interval(mean=estimate, low=math.nan, high=math.nan, n=runs, degenerate=True, note=reason)
    low, high = (float(limit) for limit in limits(drawn, counts, confidence))
    flat = high - low <= NO_SPREAD * max(1.0, abs(estimate))
    note = "all bootstrap samples agree: the width says nothing of chance" if flat else ""
    return Interval(mean=estimate, low=low, high=high, n=runs, degenerate=flat, note=note)


def check_bootstrap(resamples: int, confidence: float) -> None:
    """Refuse a confidence outside (0, 1), or too few samples for its quantiles.

    Raises:
        EvidenceError: one of the two.
    """
    check_rate(confidence, "confidence")
    least = math.ceil(2.0 / (1.0 - confidence))
    if resamples < least:
        raise EvidenceError(
            f"resamples: found {resamples!r}, expected {least} or more for an interval at {confidence:g}. "
            f"Take {RESAMPLES}."
        )


def _mean_of_tasks(samples: Samples) -> Floats:
    return np.asarray(np.mean([values.mean(axis=1) for values in samples], axis=0))


def _median_of_tasks(samples: Samples) -> Floats:
    return np.asarray(np.median([values.mean(axis=1) for values in samples], axis=0))


_STATISTICS: dict[StatisticName, Statistic] = {"iqm": pooled_iqm, "mean": _mean_of_tasks, "median": _median_of_tasks}


def _apply(statistic: Statistic, samples: Samples, resamples: int) -> Floats:
    values = np.asarray(statistic(samples), dtype=np.float64)
    if values.shape != (resamples,):
        raise EvidenceError(
            f"statistic: found values of shape {values.shape}, expected ({resamples},). "
            "Reduce the last axis of each task's [R, n_t], and then the tasks."
        )
    return values


def _wins(x: Mapping[str, Floats], y: Mapping[str, Floats]) -> list[Floats]:
    """For each task ``[n_t, m_t]``: 1 where the run of x is above that of y, ½ where they are equal."""
    if x.keys() != y.keys():
        raise EvidenceError(
            f"probability of improvement: found {', '.join(sorted(x.keys() ^ y.keys()))} in one of the two only, "
            "expected the same tasks. Leave out what was not run for both."
        )
    pairs = [(x[task][:, None], y[task][None, :]) for task in x]
    return [np.where(one == other, 0.5, (one > other).astype(np.float64)) for one, other in pairs]


def _shares(count: int, resamples: int, generator: np.random.Generator) -> Floats:
    """Share of each of ``count`` seeds in each bootstrap sample, ``[R, count]``: the same as drawing indices."""
    return generator.multinomial(count, np.full(count, 1.0 / count), size=resamples) / count


def _per_task(value: float | Floats | Mapping[str, float], tasks: Mapping[str, Floats], name: str) -> dict[str, float]:
    if isinstance(value, Mapping):
        missing = [task for task in tasks if task not in value]
        if missing:
            raise EvidenceError(
                f"normalise: {name}: found no value for task {', '.join(missing)}, expected one for each. Add it."
            )
        return {task: float(value[task]) for task in tasks}
    array = np.asarray(value, dtype=np.float64)
    if array.shape not in ((), (len(tasks),)):
        raise EvidenceError(
            f"normalise: {name}: found an array of shape {array.shape}, expected one number or {len(tasks)}, one for "
            "each task. Pass them in the order of the tasks."
        )
    return dict(zip(tasks, np.broadcast_to(array, len(tasks)).tolist(), strict=True))
