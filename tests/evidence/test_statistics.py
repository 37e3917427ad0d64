from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fpo_pilot.evidence.interval import EvidenceError
from fpo_pilot.evidence.statistics import (
    bootstrap_interval,
    clean_episodes_for_one_look,
    clopper_pearson,
    clopper_pearson_upper,
    expanded_quantile,
    paired_difference,
    rule_of_three,
    student_interval,
)

REPLICATIONS = 600


def test_the_bootstrap_is_scipys_bca_at_the_level_that_few_values_need() -> None:
    data = np.random.default_rng(1).gamma(2.0, 3.0, size=25)
    ours = bootstrap_interval(data, resamples=40_000)
    # √(25/24)·t(0.975; 24) = 1.0206·2.0639 = 2.1064 in the place of 1.96: the level 1 − 2·Φ(−2.1064) = 0.96484
    theirs = stats.bootstrap((data,), np.mean, n_resamples=40_000, method="BCa", confidence_level=0.96484)
    assert ours.mean == pytest.approx(data.mean())
    width = theirs.confidence_interval.high - theirs.confidence_interval.low
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.02 * width)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.02 * width)


def test_a_bootstrap_reaches_as_far_as_the_values_of_its_strata_need() -> None:
    # 10 seeds of 5 tasks: √(10/9)·t(0.975; 45) = 1.05409·2.01410. Strata of 2 and 4 values:
    # c² = (1/2 + 1/4) / (1/4 + 3/16) = 12/7, t(0.975; 4) = 2.77645.
    assert expanded_quantile([10] * 5) == pytest.approx(2.12305, abs=1e-5)
    assert expanded_quantile([2, 4]) == pytest.approx(3.63522, abs=1e-5)
    assert expanded_quantile([1_000_000]) == pytest.approx(1.95997, abs=1e-5)


@pytest.mark.parametrize("counts", [(3, 3, 3), (2, 5)])
def test_the_widening_makes_up_for_what_the_bootstrap_lacks_of_the_variance(counts: tuple[int, ...]) -> None:
    # Over many data sets of unit variance the bootstrap's variance of a mean of means is on average Σ(n−1)/n²/T², and
    # what is asked for Σ1/n/T²: c² is their ratio. One data set's is worked out, not drawn: Σ s²/n with s² over n.
    generator = np.random.default_rng(4)
    drawn = np.mean([sum(generator.normal(size=n).var() / n for n in counts) for _ in range(20_000)])
    needed = sum(1.0 / n for n in counts)
    degrees = sum(n - 1 for n in counts)
    assert expanded_quantile(counts) / stats.t.ppf(0.975, degrees) == pytest.approx(math.sqrt(needed / drawn), rel=0.01)


# Returns of episodes: costs are negative, and their number of terms varies.
RETURNS = {
    "normal, 8": (lambda g: g.normal(-50.0, 10.0, 8), -50.0),
    "normal, 20": (lambda g: g.normal(-50.0, 10.0, 20), -50.0),
    "exponential cost, 32": (lambda g: -g.exponential(20.0, 32), -20.0),
    "length varies, 32": (lambda g: -g.poisson(g.integers(5, 61, 32)) * 0.5, -16.25),
    "a rare trip, 40": (lambda g: -10.0 * g.binomial(1, 0.3, 40) - g.random(40), -3.5),
}


@pytest.mark.parametrize("kind", RETURNS)
def test_the_bootstrap_covers_the_mean_of_returns(kind: str) -> None:
    draw, truth = RETURNS[kind]
    generator = np.random.default_rng(7)
    found = [bootstrap_interval(draw(generator), resamples=999) for _ in range(REPLICATIONS)]
    coverage = np.mean([interval.low <= truth <= interval.high for interval in found])
    assert (
        0.91 <= coverage <= 0.98
    )  # nominal 0.95, 0.942 for 8 values over 2,000 data sets; three standard errors are 0.03


def test_the_same_seed_gives_the_same_digits() -> None:
    data = np.random.default_rng(0).normal(size=30)
    assert bootstrap_interval(data, seed=3) == bootstrap_interval(data, seed=3)
    assert bootstrap_interval(data, seed=3).low != bootstrap_interval(data, seed=4).low


@pytest.mark.parametrize(
    ("values", "n", "note"), [([-67.85] * 5, 5, "all 5 values are equal"), ([-67.85], 1, "one value")]
)
def test_values_without_spread_say_nothing_of_chance(values: list[float], n: int, note: str) -> None:
    interval = bootstrap_interval(values)
    assert (interval.mean, interval.low, interval.high) == (pytest.approx(-67.85),) * 3
    assert (interval.n, interval.degenerate, interval.note) == (n, True, note)


def test_rounding_is_no_spread() -> None:
    assert bootstrap_interval([0.1 + 0.2, 0.3, 0.3]).degenerate


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [1.0, math.inf, 2.0]])
def test_missing_values_give_no_estimate(values: list[float]) -> None:
    interval = bootstrap_interval(values)
    assert math.isnan(interval.mean)
    assert math.isnan(interval.low)
    assert interval.degenerate
    assert not interval.valid
    assert interval.note


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=12))
def test_the_interval_is_within_the_values_and_around_the_middle(values: list[float]) -> None:
    interval = bootstrap_interval(values, resamples=499)
    slack = 1e-9 * (1.0 + max(abs(value) for value in values))
    assert min(values) - slack <= interval.low <= interval.high <= max(values) + slack


def test_the_interquartile_mean_leaves_the_outer_quarters_out() -> None:
    assert bootstrap_interval([1000.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, -500.0], statistic="iqm").mean == pytest.approx(
        (2.0 + 3.0 + 4.0 + 5.0) / 4
    )
    # Five values: ranks 1.25 to 3.75, so the second and fourth count 0.75 each: (0.75·2 + 3 + 0.75·10) / 2.5.
    assert bootstrap_interval([1.0, 2.0, 3.0, 10.0, 99.0], statistic="iqm").mean == pytest.approx(4.8)


def test_a_difference_is_taken_within_pairs() -> None:
    hard, easy = 100.0, 1.0
    interval = paired_difference([hard + 1.0, easy + 2.0, easy + 3.0], [hard, easy, easy])
    assert interval.mean == pytest.approx(2.0)
    # The spread of the seeds themselves is gone: 1, 2, 3 have s = 1, and t(0.975, 2) = 4.302653, so 2 ± 4.302653/√3.
    assert (interval.low, interval.high) == (pytest.approx(2.0 - 2.484138), pytest.approx(2.0 + 2.484138))
    with pytest.raises(EvidenceError, match="found 1 and 2 values, expected pairs"):
        paired_difference([1.0], [1.0, 2.0])


def test_each_limit_of_a_difference_is_the_wider_of_the_bootstrap_and_student() -> None:
    skewed = np.random.default_rng(4).exponential(1.0, 40) ** 2
    found, bootstrap = paired_difference(skewed, np.zeros(40)), bootstrap_interval(skewed)
    _, low, high = student_interval(skewed)
    assert bootstrap.low > low  # a long right tail: Student's is lower at both ends
    assert bootstrap.high > high
    assert (found.low, found.high) == (low, bootstrap.high)


def test_clopper_pearson_is_the_interval_that_scipy_computes() -> None:
    for events, n in ((0, 59), (1, 20), (7, 20), (20, 20)):
        theirs = stats.binomtest(events, n).proportion_ci(0.95, method="exact")
        assert clopper_pearson(events, n) == (pytest.approx(theirs.low), pytest.approx(theirs.high))


def test_no_event_in_59_is_fewer_than_5_percent() -> None:
    assert clopper_pearson_upper(0, 59) == pytest.approx(1.0 - 0.05 ** (1 / 59))  # 0.0495
    assert clopper_pearson_upper(0, 58) > 0.05
    assert clopper_pearson_upper(0, 0) == 1.0
    assert clopper_pearson(0, 0) == (0.0, 1.0)


def test_clopper_pearson_covers_at_least_as_often_as_it_says() -> None:
    for rate in (0.01, 0.05, 0.3):
        counts = np.random.default_rng(2).binomial(40, rate, 2_000)
        table = {k: clopper_pearson_upper(k, 40) for k in range(41)}
        assert np.mean([table[k] >= rate for k in counts]) >= 0.94


def test_the_rule_of_three_is_a_little_above_the_exact_limit() -> None:
    assert rule_of_three(100) == pytest.approx(0.029957, abs=1e-6)
    for n in (10, 59, 1000):
        assert clopper_pearson_upper(0, n) < rule_of_three(n) < 1.2 * clopper_pearson_upper(0, n)
    assert rule_of_three(1) == rule_of_three(0) == 1.0


def test_clean_episodes_for_one_look_are_59_299_and_2995() -> None:
    assert [clean_episodes_for_one_look(rate) for rate in (0.05, 0.01, 0.001)] == [59, 299, 2995]


def test_impossible_questions_are_refused_with_a_fix() -> None:
    with pytest.raises(EvidenceError, match="5 events in 3 trials"):
        clopper_pearson(5, 3)
    with pytest.raises(EvidenceError, match=r"Write 5 % as 0\.05"):
        bootstrap_interval([1.0, 2.0], confidence=95.0)
    with pytest.raises(EvidenceError, match=r"shape \(2, 2\)"):
        bootstrap_interval(np.zeros((2, 2)))
