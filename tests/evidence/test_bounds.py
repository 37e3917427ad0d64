"""Lower limits by hand, their order, and that they are short of the truth no more often than they say."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fpo_pilot.evidence import EvidenceError, empirical_bernstein_lower, hoeffding_lower, student_lower, tail_mean

TEN = [-1.0, -2.0, -3.0, -4.0, -5.0, -6.0, -7.0, -8.0, -9.0, -10.0]


def test_hoeffding_by_hand() -> None:
    """−5.5 − 10·√(ln 20 / 20); published code multiplies by n here and prints what holds nobody."""
    assert hoeffding_lower(TEN, -10.0, 0.0) == pytest.approx(-5.5 - 10.0 * math.sqrt(math.log(20.0) / 20.0))
    assert hoeffding_lower([-5.0], -10.0, 0.0) == -10.0  # never below what is possible


def test_empirical_bernstein_by_hand() -> None:
    data = [0.5] * 50 + [0.6] * 50
    term = math.log(40.0)
    expected = 0.55 - math.sqrt(2.0 * (0.0025 * 100 / 99) * term / 100) - 7.0 * term / (3.0 * 99)
    assert empirical_bernstein_lower(data, 0.0, 1.0) == pytest.approx(expected)
    assert empirical_bernstein_lower([0.5], 0.0, 1.0) == 0.0


def test_little_spread_favours_bernstein_and_few_values_hoeffding() -> None:
    calm = np.full(1000, 0.5)
    assert empirical_bernstein_lower(calm, 0.0, 1.0) > hoeffding_lower(calm, 0.0, 1.0)
    wild = np.tile([0.0, 1.0], 10)
    assert empirical_bernstein_lower(wild, 0.0, 1.0) < hoeffding_lower(wild, 0.0, 1.0)


def test_student_by_hand() -> None:
    """Of 1 to 5: mean 3, s = 1.5811, t of 0.95 with 4 degrees 2.1318."""
    assert student_lower([1.0, 2.0, 3.0, 4.0, 5.0]) == pytest.approx(
        3.0 - 2.131847 * 1.581139 / math.sqrt(5.0), abs=1e-5
    )
    assert student_lower([1.0]) == -math.inf


def test_the_tail_mean_by_hand() -> None:
    """Of 100 values −100 … −1 the worst tenth has the mean −95.5; the limit moves √(ln 20/200) of the mass to the least value."""
    values = -np.arange(1.0, 101.0)
    found = tail_mean(values, -200.0, 0.0, share=0.1)
    assert found.mean == pytest.approx(-95.5)
    assert found.low == -200.0  # the shift, 0.122, is more than the whole tail
    assert not found.conclusive  # ten values are no tail
    wide = tail_mean(values, -200.0, 0.0, share=0.5)
    shift = math.sqrt(math.log(20.0) / 200.0)
    whole, rest = divmod((0.5 - shift) * 100, 1.0)
    worst = -np.arange(100.0, 100.0 - whole, -1.0).sum() - rest * (100.0 - whole)  # the last value counts in part
    assert wide.low == pytest.approx((shift * -200.0 + worst / 100.0) / 0.5)
    assert wide.conclusive
    assert wide.low < wide.mean == pytest.approx(-75.5)


@pytest.mark.parametrize("limit", [hoeffding_lower, empirical_bernstein_lower, tail_mean])
@pytest.mark.parametrize(
    ("values", "message"), [([], "found none"), ([0.5, 2.0], "declared range"), ([math.nan], "declared range")]
)
def test_what_is_outside_the_declared_range_is_refused(limit, values, message) -> None:
    with pytest.raises(EvidenceError, match=message):
        limit(values, 0.0, 1.0)
    with pytest.raises(EvidenceError, match="low < high"):
        limit([0.5], 1.0, 0.0)


def test_they_hold_as_often_as_they_say_for_skewed_negative_returns() -> None:
    """600 data sets of 40 costs; the truth is below a limit of 95 % in at most 5 % of them, and three standard errors."""
    generator, truth = np.random.default_rng(0), -100.0 * 0.5 / 3.5
    sets = -100.0 * generator.beta(0.5, 3.0, (600, 40))
    for limit in (hoeffding_lower, empirical_bernstein_lower):
        assert np.mean([limit(one, -100.0, 0.0) > truth for one in sets]) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 600)
    normal = generator.standard_normal((600, 40))
    missed = np.mean([student_lower(one) > 0.0 for one in normal])
    assert 0.02 < missed < 0.08


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(-1.0, 1.0), min_size=2, max_size=60), st.floats(0.05, 0.95))
def test_limits_are_below_what_they_are_limits_of(values, share) -> None:
    mean = float(np.mean(values))
    assert hoeffding_lower(values, -1.0, 1.0) <= mean + 1e-12
    assert empirical_bernstein_lower(values, -1.0, 1.0) <= mean + 1e-12
    assert student_lower(values) <= mean + 1e-12
    found = tail_mean(values, -1.0, 1.0, share=share)
    assert -1.0 - 1e-12 <= found.low <= found.mean + 1e-9 <= mean + 1e-9 + 1e-12
