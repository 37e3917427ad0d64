from __future__ import annotations

import math

import numpy as np
import pytest

from fpo_pilot.evidence.gates import non_inferiority_gate, rate_gate
from fpo_pilot.specs.safety import DifferenceGate, RateGate

RATE = RateGate(id="no_trips", event="hard_violation", limit_rate=0.05)
DIFFERENCE = DifferenceGate(id="not_worse", margin=5.0, range=(-100.0, 100.0))
SUPERIOR = DifferenceGate(id="better", margin=0.0, superior=True, range=(-100.0, 100.0))


@pytest.mark.parametrize(
    ("violations", "blocks", "verdict"),
    [(0, 0, "inconclusive"), (0, 73, "inconclusive"), (0, 74, "pass"), (30, 100, "fail"), (5, 100, "inconclusive")],
)
def test_a_rate_passes_only_when_it_is_certified_below_the_limit(violations: int, blocks: int, verdict: str) -> None:
    result = rate_gate(RATE, violations, blocks)
    assert result.verdict == verdict
    assert result.n == blocks
    assert (result.value is None) == (blocks == 0)


def test_a_clean_count_is_told_with_its_limit() -> None:
    result = rate_gate(RATE, 0, 74)
    assert result.detail == "0 of 74 blocks; with 95 % confidence fewer than 4.97 %"
    assert result.criterion == "hard_violation in fewer than 5 % of blocks, at 95 % confidence"
    assert result.e_value == pytest.approx(20.0, rel=0.05)


@pytest.mark.parametrize(
    ("violations", "blocks"), [(None, 200), (math.nan, 200), (0, math.nan), (-1, 200), (201, 200), (0.0, 200)]
)
def test_missing_or_impossible_counts_never_pass(violations: object, blocks: object) -> None:
    result = rate_gate(RATE, violations, blocks)  # type: ignore[arg-type]
    assert result.verdict == "inconclusive"
    assert result.value is None
    assert result.detail


def test_counts_of_numpy_are_counts() -> None:
    assert rate_gate(RATE, np.int64(0), np.int64(80)).verdict == "pass"  # type: ignore[arg-type]


def noisy(mean: float, n: int = 400) -> np.ndarray:
    return mean + np.random.default_rng(0).uniform(-5.0, 5.0, n)


def test_not_worse_passes_fails_and_holds() -> None:
    assert non_inferiority_gate(DIFFERENCE, noisy(20.0)).verdict == "pass"
    assert non_inferiority_gate(DIFFERENCE, noisy(0.0, 4_000)).verdict == "pass"  # within the margin
    assert non_inferiority_gate(DIFFERENCE, noisy(-40.0)).verdict == "fail"
    assert non_inferiority_gate(DIFFERENCE, noisy(20.0, 3)).verdict == "inconclusive"


def test_superiority_asks_for_more_than_the_incumbent() -> None:
    assert non_inferiority_gate(SUPERIOR, noisy(20.0)).verdict == "pass"
    assert non_inferiority_gate(SUPERIOR, noisy(0.0, 2_000)).verdict == "inconclusive"
    assert non_inferiority_gate(SUPERIOR, noisy(-20.0)).verdict == "fail"
    assert non_inferiority_gate(SUPERIOR, []).criterion == "difference in return above 0, at 95 % confidence"


def test_the_limits_are_around_the_mean() -> None:
    result = non_inferiority_gate(DIFFERENCE, noisy(20.0))
    assert result.low is not None
    assert result.high is not None
    assert result.value is not None
    assert result.low < result.value < result.high


@pytest.mark.parametrize(
    ("differences", "detail"),
    [
        ([], "no block yet"),
        ([50.0] * 500 + [math.nan], "1 of 501 differences are missing"),
        ([50.0] * 500 + [math.inf], "1 of 501 differences are missing"),
        ([50.0] * 500 + [101.0], "declared range"),
        ([-100.0] * 300 + [100.0] * 3_000, "contradict a constant mean"),
    ],
)
def test_missing_or_impossible_differences_never_pass(differences: list[float], detail: str) -> None:
    result = non_inferiority_gate(DIFFERENCE, differences)
    assert result.verdict == "inconclusive"
    assert detail in result.detail
    assert result.low is None


def test_a_verdict_is_written_without_nan() -> None:
    assert "NaN" not in non_inferiority_gate(DIFFERENCE, [math.nan]).model_dump_json()
