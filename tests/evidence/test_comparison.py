from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats

from fpo_pilot.evidence.comparison import (
    interquartile_mean,
    normalise,
    performance_profile,
    pooled_iqm,
    probability_of_improvement,
    probability_of_improvement_interval,
    stratified_bootstrap,
)
from fpo_pilot.evidence.interval import EvidenceError

REPLICATIONS = 300
SHAPES = st.tuples(st.integers(2, 6), st.integers(1, 4))
NUMBERS = st.floats(-1e6, 1e6)
MATRICES = arrays.arrays(np.float64, SHAPES, elements=NUMBERS)


# Normalisation


def test_the_reference_becomes_zero_and_the_best_known_one() -> None:
    scores = np.array([[-100.0, 5.0], [-25.0, 20.0]])  # two seeds of two tasks
    units = normalise(scores, np.array([-100.0, 0.0]), np.array([0.0, 10.0]))
    assert units.tolist() == [[0.0, 0.5], [0.75, 2.0]]  # (−25 + 100)/100; 20/10 is better than the best known: kept
    named = normalise({"a": [-25.0], "b": [5.0, 20.0]}, {"a": -100.0, "b": 0.0}, {"a": 0.0, "b": 10.0})
    assert {task: values.tolist() for task, values in named.items()} == {"a": [0.75], "b": [0.5, 2.0]}


@pytest.mark.parametrize(
    ("low", "high", "message"),
    [
        (1.0, 1.0, "task 0: found low 1.0 and high 1.0, expected low < high"),
        (2.0, 1.0, "negate a cost"),
        (0.0, math.nan, "expected low < high"),
        (np.zeros(3), 1.0, r"low: found an array of shape \(3,\), expected one number or 2"),
    ],
)
def test_ends_that_give_no_scale_are_refused(low: float, high: float, message: str) -> None:
    with pytest.raises(EvidenceError, match=message):
        normalise(np.ones((2, 2)), low, high)


def test_a_task_without_a_reference_is_named() -> None:
    with pytest.raises(EvidenceError, match="low: found no value for task tank"):
        normalise({"tank": [1.0]}, {}, {"tank": 1.0})


# Interquartile mean


def test_the_interquartile_mean_leaves_a_quarter_out_at_each_end() -> None:
    # Eight runs of two tasks: −500, 1, 2, 3, 4, 5, 6, 1000. Two go at each end: (2 + 3 + 4 + 5) / 4.
    assert interquartile_mean(np.array([[1000.0, 1.0], [2.0, 3.0], [4.0, 5.0], [6.0, -500.0]])) == pytest.approx(3.5)
    assert interquartile_mean(np.array([[1.0], [2.0], [6.0]])) == pytest.approx(3.0)  # ⌊3/4⌋ = 0 are left out


@given(MATRICES)
def test_the_interquartile_mean_is_scipys_trimmed_mean(scores: np.ndarray) -> None:
    assert interquartile_mean(scores) == pytest.approx(stats.trim_mean(scores.ravel(), 0.25), rel=1e-9, abs=1e-6)


@given(MATRICES, st.randoms(use_true_random=False))
def test_the_interquartile_mean_heeds_no_order_and_lies_between_the_quartiles(
    scores: np.ndarray, random: object
) -> None:
    found = interquartile_mean(scores)
    shuffled = scores.ravel().tolist()
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert interquartile_mean(np.array(shuffled).reshape(scores.shape)) == pytest.approx(found, rel=1e-9, abs=1e-6)
    low, high = np.quantile(scores, [0.25, 0.75])
    assert low - 1e-6 <= found <= high + 1e-6


def test_tasks_weigh_the_same_however_many_seeds_they_have() -> None:
    # Task a: 0 with weight ½; task b: 2, 4, 6, 8 with ⅛ each. The middle half is the upper ¼ of a, then 2 and 4:
    # (0·¼ + 2·⅛ + 4·⅛) / ½.
    assert interquartile_mean({"a": [0.0], "b": [2.0, 4.0, 6.0, 8.0]}) == pytest.approx(1.5)


@given(arrays.arrays(np.float64, (4, 2), elements=NUMBERS), st.integers(2, 3))
def test_each_seed_of_a_task_twice_changes_nothing(scores: np.ndarray, times: int) -> None:
    repeated = {"a": np.repeat(scores[:, 0], times), "b": scores[:, 1]}
    assert interquartile_mean(repeated) == pytest.approx(interquartile_mean(scores), rel=1e-9, abs=1e-6)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (np.array([[1.0, math.nan], [2.0, 3.0]]), "task 1: found 1 of 2 scores that are not finite"),
        ({"tank": [math.inf]}, "task tank: found 1 of 1 scores that are not finite"),
        ({"tank": []}, "task tank: found no score"),
        ({}, "found no task"),
        (np.zeros((3, 0)), "found no task"),
        (np.zeros(4), r"shape \(4,\), expected \[seeds, tasks\]"),
    ],
)
def test_missing_scores_are_refused(scores: object, message: str) -> None:
    with pytest.raises(EvidenceError, match=message):
        interquartile_mean(scores)  # type: ignore[arg-type]


# Stratified bootstrap


@pytest.mark.parametrize(("statistic", "seeds", "tasks"), [("mean", 10, 5), ("mean", 3, 10), ("iqm", 10, 5)])
def test_the_interval_covers_as_often_as_derived(statistic: str, seeds: int, tasks: int) -> None:
    # The bootstrap draws from n values, whose spread about their own mean is √((n−1)/n) of the unbiased estimate. A limit
    # at q = √(n/(n−1))·t(0.975; T·(n−1)) of its spreads covers the mean of normal scores with probability
    # 2·F(q·√((n−1)/n)) − 1 = 0.95, F of t with T·(n−1) degrees of freedom; q = 1.96 would cover 0.875 for 3 × 10. Over 300
    # repetitions three standard errors are 3·√(0.95·0.05/300) = 0.038. For the iqm that is an approximation (its
    # bootstrap also jumps from value to value), good to 0.01.
    expected, tolerance = 0.95, 0.038 + (0.01 if statistic == "iqm" else 0.0)
    generator = np.random.default_rng(11)
    covered = 0
    for repetition in range(REPLICATIONS):
        scores = generator.normal(0.4, 0.2, size=(seeds, tasks))
        found = stratified_bootstrap(scores, statistic, resamples=1_000, seed=repetition)  # type: ignore[arg-type]
        covered += found.low <= 0.4 <= found.high
    assert covered / REPLICATIONS == pytest.approx(expected, abs=tolerance)


def test_where_samples_do_not_resolve_the_level_the_extremes_are_the_limits() -> None:
    # Two seeds of one task: √2·t(0.975; 1) = 18 spreads, a level of 10⁻⁷² that 2,000 samples do not resolve.
    found = stratified_bootstrap(np.array([[0.0], [1.0]]), "mean")
    assert (found.low, found.high) == (0.0, 1.0)


def test_the_width_is_that_of_the_mean_of_tasks() -> None:
    # Task a spreads, task b does not: the mean of T = 2 tasks has variance Var(a)/(n·T²), with the variance over n. The
    # limits are √(100/99)·t(0.975; 198) = 1.0050·1.9720 = 1.982 of its roots away.
    spread = np.tile([1.0, -1.0], 50)
    found = stratified_bootstrap(np.stack([spread, np.full(100, 7.0)], axis=1), "mean", resamples=20_000)
    assert found.mean == pytest.approx(3.5)
    assert found.high - found.low == pytest.approx(2 * 1.982 / math.sqrt(100) / 2, rel=0.03)  # 0.198


def test_seeds_are_drawn_within_their_task() -> None:
    # Tasks far apart: were runs mixed between tasks, the mean would spread by hundreds.
    scores = {"a": [1000.0, 1001.0, 1002.0], "b": [0.0, 1.0]}
    found = stratified_bootstrap(scores, "mean")
    assert 500.0 <= found.low < found.high <= 501.5
    assert found.n == 5


def test_named_statistics_and_own_functions_are_estimated() -> None:
    scores = np.array([[0.0, 2.0, 10.0], [1.0, 4.0, 20.0]])
    assert stratified_bootstrap(scores, "mean").mean == pytest.approx((0.5 + 3.0 + 15.0) / 3)
    assert stratified_bootstrap(scores, "median").mean == pytest.approx(3.0)
    best = stratified_bootstrap(scores, lambda samples: np.max([one.max(axis=1) for one in samples], axis=0))
    assert (best.mean, best.low, best.high) == (20.0, 10.0, 20.0)
    with pytest.raises(EvidenceError, match=r"values of shape \(1, 2\), expected \(1,\)"):
        stratified_bootstrap(scores, lambda samples: samples[0])


def test_the_same_seed_gives_the_same_digits() -> None:
    scores = np.random.default_rng(0).normal(size=(5, 4))
    assert stratified_bootstrap(scores, seed=3) == stratified_bootstrap(scores, seed=3)
    assert stratified_bootstrap(scores, seed=3).low != stratified_bootstrap(scores, seed=4).low


def test_one_seed_has_no_interval_rather_than_one_of_no_width() -> None:
    found = stratified_bootstrap(np.array([[1.0, 2.0, 4.0]]), "mean")
    assert found.mean == pytest.approx(7.0 / 3.0)
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert found.degenerate
    assert found.note == "one seed: no spread between seeds to be seen"
    partly = stratified_bootstrap({"a": [1.0, 2.0], "b": [3.0]}, "mean")
    assert math.isnan(partly.low)
    assert partly.note.startswith("one seed of task b")


def test_equal_seeds_are_marked() -> None:
    found = stratified_bootstrap(np.ones((4, 3)))
    assert (found.mean, found.low, found.high, found.degenerate) == (1.0, 1.0, 1.0, True)
    assert "says nothing of chance" in found.note


@settings(max_examples=25, deadline=None)
@given(MATRICES)
def test_the_interval_lies_within_the_scores(scores: np.ndarray) -> None:
    found = stratified_bootstrap(scores, resamples=100)
    assert scores.min() - 1e-6 <= found.low <= found.high <= scores.max() + 1e-6


def test_impossible_bootstraps_are_refused() -> None:
    scores = np.ones((3, 2))
    with pytest.raises(EvidenceError, match=r"Write 5 % as 0\.05"):
        stratified_bootstrap(scores, confidence=95.0)
    with pytest.raises(EvidenceError, match="found 10, expected 40 or more"):
        stratified_bootstrap(scores, resamples=10)


# Probability of improvement


def test_the_probability_of_improvement_counts_pairs_and_halves_ties() -> None:
    # Task a: 3 beats 1 and 2; 1 ties with 1 and loses to 2: (2 + ½) / 4. Task b: all win. Mean of 0.625 and 1.
    x, y = {"a": [3.0, 1.0], "b": [9.0]}, {"a": [1.0, 2.0], "b": [8.0, 7.0, 6.0]}
    assert probability_of_improvement(x, y) == pytest.approx(0.8125)


def test_the_probability_of_improvement_is_the_mann_whitney_statistic() -> None:
    generator = np.random.default_rng(2)
    x, y = generator.normal(0.3, 1.0, 9).round(1), generator.normal(0.0, 1.0, 7).round(1)
    expected = stats.mannwhitneyu(x, y).statistic / (9 * 7)
    assert probability_of_improvement({"a": x}, {"a": y}) == pytest.approx(expected)


@given(MATRICES.flatmap(lambda x: st.tuples(st.just(x), arrays.arrays(np.float64, (3, x.shape[1]), elements=NUMBERS))))
def test_who_does_not_win_loses(pair: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = pair
    assert probability_of_improvement(x, y) + probability_of_improvement(y, x) == pytest.approx(1.0)
    assert probability_of_improvement(x, x) == pytest.approx(0.5)


def test_the_interval_of_the_probability_spreads_as_known() -> None:
    # X and Y from the same continuous distribution: Var(U/nm) = (n + m + 1) / (12nm), and t(0.975; 4·29) = 1.981, so
    # ± 1.981·√(61/10800) = 0.149 for 30 and 30, averaged over two tasks 0.105. Within 15 %: the estimated
    # variance varies from sample to sample.
    generator = np.random.default_rng(5)
    widths = []
    for repetition in range(20):
        x, y = generator.normal(size=(30, 2)), generator.normal(size=(30, 2))
        found = probability_of_improvement_interval(x, y, resamples=1_000, seed=repetition)
        widths.append((found.high - found.low) / 2)
    assert np.mean(widths) == pytest.approx(1.981 * math.sqrt(61 / (12 * 900)) / math.sqrt(2), rel=0.15)


def test_a_clean_sweep_is_marked_and_one_seed_has_no_interval() -> None:
    sweep = probability_of_improvement_interval(np.array([[5.0], [6.0]]), np.array([[1.0], [2.0]]))
    assert (sweep.mean, sweep.low, sweep.high, sweep.degenerate, sweep.n) == (1.0, 1.0, 1.0, True, 4)
    single = probability_of_improvement_interval(np.array([[5.0], [6.0]]), np.array([[1.0]]))
    assert single.mean == 1.0
    assert math.isnan(single.low)
    assert single.note


def test_other_tasks_are_refused() -> None:
    with pytest.raises(EvidenceError, match="found b, c in one of the two only, expected the same tasks"):
        probability_of_improvement({"a": [1.0], "b": [1.0]}, {"a": [1.0], "c": [1.0]})


# Performance profile


def test_a_profile_counts_the_runs_strictly_above() -> None:
    found = performance_profile(np.array([[0.0, 0.5], [0.5, 1.0]]), [-0.1, 0.0, 0.5, 0.75, 1.0])
    assert found.share.tolist() == [1.0, 0.75, 0.25, 0.25, 0.0]
    weighed = performance_profile({"a": [1.0], "b": [0.0, 0.0, 0.0, 1.0]}, [0.5])
    assert weighed.share.tolist() == [0.625]  # (1 + ¼) / 2, not 2 of 5


@settings(max_examples=25, deadline=None)
@given(MATRICES)
def test_a_profile_falls_from_one_to_zero_inside_its_band(scores: np.ndarray) -> None:
    thresholds = np.linspace(scores.min() - 1.0, scores.max() + 1.0, 17)
    found = performance_profile(scores, thresholds, resamples=100)
    assert found.share[0] == pytest.approx(1.0)
    assert found.share[-1] == 0.0
    assert (np.diff(found.share) <= 1e-12).all()
    for band in (found.low, found.high):
        assert (np.diff(band) <= 1e-12).all()
        assert ((band >= 0.0) & (band <= 1.0 + 1e-12)).all()
    assert (found.low <= found.high).all()


def test_the_band_of_a_profile_is_binomial() -> None:
    # One task, half of 100 seeds above: the share of a bootstrap sample is binomial(100, ½)/100, and its limits are at
    # ± √(100/99)·t(0.975; 99) = ± 1.0050·1.9842 = ± 1.9942 of a normal one.
    scores = np.repeat([0.0, 1.0], 50)[:, None]
    found = performance_profile(scores, [0.5], resamples=20_000)
    low, high = stats.binom.ppf(stats.norm.cdf([-1.9942, 1.9942]), 100, 0.5) / 100
    assert (found.low[0], found.high[0]) == (pytest.approx(low, abs=0.011), pytest.approx(high, abs=0.011))


def test_the_profile_of_one_seed_has_no_band() -> None:
    found = performance_profile(np.array([[0.2, 0.4]]), [0.0, 0.3])
    assert found.share.tolist() == [1.0, 0.5]
    assert np.isnan(found.low).all()
    assert found.note == "one seed: no spread between seeds to be seen"


@pytest.mark.parametrize("thresholds", [[], [0.5, 0.5], [1.0, 0.0], [0.0, math.nan]])
def test_thresholds_have_to_rise(thresholds: list[float]) -> None:
    with pytest.raises(EvidenceError, match="expected rising numbers"):
        performance_profile(np.ones((2, 2)), thresholds)


def test_the_batched_mean_is_that_of_each_sample() -> None:
    generator = np.random.default_rng(3)
    samples = [generator.normal(size=(50, 4)), generator.normal(size=(50, 7))]
    one_by_one = [interquartile_mean({"a": samples[0][r], "b": samples[1][r]}) for r in range(50)]
    assert pooled_iqm(samples) == pytest.approx(one_by_one)
