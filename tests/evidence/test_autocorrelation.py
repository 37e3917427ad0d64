"""The autocorrelation time of series for which it is known, and that blocks of it are as good as independent."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fpo_pilot.evidence import (
    EvidenceError,
    block_length,
    block_means,
    integrated_autocorrelation_time,
    neighbour_correlation,
)
from fpo_pilot.evidence.autocorrelation import MOST_CORRELATION


def series(keep: float, n: int, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal(n)
    values = np.empty(n)
    values[0] = noise[0]
    for index in range(1, n):
        values[index] = keep * values[index - 1] + noise[index]
    return values


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.9])
def test_the_time_of_an_autoregressive_series_is_known(keep: float) -> None:
    """τ = (1 + keep)/(1 − keep): 1, 3 and 19."""
    found = np.mean([integrated_autocorrelation_time(series(keep, 20_000, seed)) for seed in range(4)])
    assert found == pytest.approx((1 + keep) / (1 - keep), rel=0.1)


def test_blocks_of_that_length_hardly_correlate_and_steps_do() -> None:
    values = series(0.9, 40_000)
    length = block_length(values)
    assert length is not None
    assert 150 <= length <= 230
    assert abs(neighbour_correlation(block_means(values, length))) < MOST_CORRELATION
    assert neighbour_correlation(values) > 0.85


def test_the_first_lag_by_hand() -> None:
    """1, 2, 3, 4 about 2.5: (1.5·0.5 − 0.5·0.5 + 0.5·1.5) / 5 = 0.25."""
    assert neighbour_correlation([1.0, 2.0, 3.0, 4.0]) == pytest.approx(0.25)
    assert math.isnan(neighbour_correlation([1.0, 1.0, 1.0]))
    assert math.isnan(neighbour_correlation([1.0, 2.0]))


def test_a_series_that_is_too_short_or_never_changes_tells_nothing() -> None:
    assert math.isinf(integrated_autocorrelation_time(np.ones(1000)))
    assert math.isinf(integrated_autocorrelation_time(np.cumsum(np.ones(50))))
    assert block_length(series(0.99, 60)) is None
    assert math.isinf(integrated_autocorrelation_time([1.0]))


def test_block_means_by_hand_and_what_is_left_over_is_dropped() -> None:
    assert block_means([1.0, 3.0, 5.0, 7.0, 100.0], 2).tolist() == [2.0, 6.0]
    with pytest.raises(EvidenceError, match="at least 1 step"):
        block_means([1.0], 0)
    with pytest.raises(EvidenceError, match="not finite"):
        block_means([1.0, math.nan], 1)
