from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from fpo_pilot.evidence.interval import EvidenceError
from fpo_pilot.evidence.sequential import (
    betting_interval,
    blocks_needed,
    log_rate_e_value,
    rate_e_value,
    rate_interval,
)


@pytest.mark.parametrize(("limit", "blocks"), [(0.05, 74), (0.01, 376), (0.001, 3776)])
def test_clean_blocks_needed_at_95_percent(limit: float, blocks: int) -> None:
    assert blocks_needed(limit, 0.05) == blocks
    assert rate_e_value(0, blocks, limit) >= 20.0 > rate_e_value(0, blocks - 1, limit)


def test_the_e_value_is_one_before_the_first_block_and_a_ratio_of_betas_after() -> None:
    assert rate_e_value(0, 0, 0.1) == pytest.approx(1.0)
    # p0 = 1/2: prior Beta(1/2, 2), whose mean is .2. One violation in one block: .2 / .5 = .4
    assert rate_e_value(1, 1, 0.5) == pytest.approx(0.4)
    expected = special.beta(0.5 + 2, 20 + 28) / (special.beta(0.5, 20) * 0.05**2 * 0.95**28)
    assert rate_e_value(2, 30, 0.05) == pytest.approx(expected)


def test_the_e_value_has_mean_one_where_the_rate_is_the_limit() -> None:
    for n in (1, 5, 40):
        k = np.arange(n + 1)
        chance = special.comb(n, k) * 0.2**k * 0.8 ** (n - k)
        assert sum(c * rate_e_value(int(i), n, 0.2) for i, c in zip(k, chance, strict=True)) == pytest.approx(1.0)


def test_looking_after_every_block_certifies_a_rate_at_its_limit_falsely_in_under_5_percent() -> None:
    limit, blocks, replications = 0.05, 400, 1_500
    events = np.random.default_rng(0).random((replications, blocks)) < limit
    table = np.array([[_certifies(k, n, limit) for n in range(1, blocks + 1)] for k in range(21)])
    counts = np.minimum(np.cumsum(events, axis=1), 20)  # more than 20 never certify here
    false = table[counts, np.arange(blocks)].any(axis=1).mean()
    assert false <= 0.05
    assert false >= 0.005  # and it is not so careful as to be useless


def _certifies(k: int, n: int, limit: float) -> bool:
    return k <= n and k < limit * n and log_rate_e_value(k, n, limit) >= math.log(20.0)


def test_the_upper_end_of_the_rate_falls_to_the_limit_exactly_when_the_gate_certifies() -> None:
    assert rate_interval(0, 74, 0.05)[1] <= 0.05 < rate_interval(0, 73, 0.05)[1]
    low, high = rate_interval(12, 40, 0.05)
    assert 0.05 < low < 0.3 < high < 1.0
    assert log_rate_e_value(12, 40, 0.05, rate=low) == pytest.approx(math.log(20.0), abs=1e-6)
    assert log_rate_e_value(12, 40, 0.05, rate=high) == pytest.approx(math.log(20.0), abs=1e-6)
    assert rate_interval(0, 0, 0.05) == (0.0, 1.0)
    assert rate_interval(5, 5, 0.05)[1] == 1.0


def betting_by_hand(values: list[float], alpha: float, mean: float) -> tuple[float, float]:
    """The formulas of EVIDENCE.md 3 in a loop: running maxima of K⁺/2 and K⁻/2 at one candidate mean."""
    up = down = 1.0
    largest_up = largest_down = 0.0
    total, squares, variance = 0.0, 0.0, 0.25
    for t, x in enumerate(values, start=1):
        stake = math.sqrt(2 * math.log(2 / alpha) / (variance * t * math.log(t + 1)))
        up *= 1 + min(stake, 0.5 / mean) * (x - mean)
        down *= 1 - min(stake, 0.5 / (1 - mean)) * (x - mean)
        largest_up, largest_down = max(largest_up, up / 2), max(largest_down, down / 2)
        total += x
        squares += (x - (0.5 + total) / (t + 1)) ** 2
        variance = (0.25 + squares) / (t + 1)
    return largest_up, largest_down


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=60), st.sampled_from([0.05, 0.1]))
def test_the_ends_of_the_betting_interval_are_where_the_wealth_reaches_its_bound(
    values: list[float], alpha: float
) -> None:
    low, high = betting_interval(values, 0.0, 1.0, alpha)
    if math.isnan(low):
        return
    for mean in np.linspace(0.01, 0.99, 25):
        up, down = betting_by_hand(values, alpha, float(mean))
        inside = max(up, down) < 1 / alpha
        if abs(mean - low) > 1e-6 and abs(mean - high) > 1e-6:
            assert inside == (low < mean < high)


KINDS = {
    "coin": lambda g, n: (g.random(n) < 0.3).astype(float),
    "uniform": lambda g, n: 0.6 * g.random(n),
    "narrow": lambda g, n: np.clip(g.normal(0.3, 0.02, n), 0.0, 1.0),
    "skewed": lambda g, n: g.beta(0.3, 0.7, n),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_betting_interval_covers_the_mean_at_every_look_at_once(kind: str) -> None:
    generator = np.random.default_rng(3)
    low, high, replications = -40.0, 160.0, 400
    truth = low + 0.3 * (high - low)
    misses = 0
    for _ in range(replications):
        found = betting_interval(low + (high - low) * KINDS[kind](generator, 150), low, high)
        misses += not found[0] <= truth <= found[1]  # the running intersection misses if any look does
    assert misses / replications <= 0.05


def test_the_betting_interval_shrinks_and_never_widens() -> None:
    values = np.random.default_rng(5).random(200)
    widths = []
    inner = (-math.inf, math.inf)
    for n in (1, 10, 50, 200):
        low, high = betting_interval(values[:n], 0.0, 1.0)
        assert low >= inner[0]
        assert high <= inner[1]
        inner = (low, high)
        widths.append(high - low)
    assert widths[-1] < 0.25 < widths[0]


def test_without_values_the_interval_is_the_declared_range() -> None:
    assert betting_interval([], -5.0, 5.0) == (-5.0, 5.0)


def test_a_mean_that_changes_empties_the_interval() -> None:
    assert all(math.isnan(end) for end in betting_interval([0.0] * 200 + [1.0] * 2000, 0.0, 1.0))


@pytest.mark.parametrize("value", [1.5, -0.1, math.nan, math.inf])
def test_a_value_outside_the_declared_range_is_refused(value: float) -> None:
    with pytest.raises(EvidenceError, match="declared range"):
        betting_interval([0.5, value], 0.0, 1.0)


def test_rates_and_counts_that_are_none_are_refused() -> None:
    with pytest.raises(EvidenceError, match="limit_rate: found 0"):
        rate_e_value(0, 10, 0.0)
    with pytest.raises(EvidenceError, match="11 violations in 10 blocks"):
        rate_e_value(11, 10, 0.05)
    with pytest.raises(EvidenceError, match="expected low < high"):
        betting_interval([0.5], 1.0, 1.0)
