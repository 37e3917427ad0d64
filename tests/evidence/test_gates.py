from __future__ import annotations

import math

import numpy as np
import pytest

from fpo_pilot.evidence import neighbour_correlation
from fpo_pilot.evidence.gates import non_inferiority_gate, of_independent, rate_gate
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


def sticky(mean: float, keeps: float, n: int, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    kicks, values = generator.normal(size=n), np.empty(n)
    values[0] = kicks[0]
    for i in range(1, n):
        values[i] = keeps * values[i - 1] + math.sqrt(1.0 - keeps**2) * kicks[i]
    return np.clip(mean + 10.0 * values, -100.0, 100.0)


def test_blocks_that_hang_together_do_not_pass_and_the_reason_is_told() -> None:
    data = sticky(20.0, 0.8, 400, seed=1)
    plain = non_inferiority_gate(DIFFERENCE, data)
    assert plain.verdict == "pass"
    held = of_independent(plain, data)
    assert held.verdict == "inconclusive"
    assert held.correlation == pytest.approx(neighbour_correlation(data))
    assert "neighbouring blocks correlate by 0.67" in held.detail
    assert (held.value, held.low, held.high, held.n) == (plain.value, plain.low, plain.high, plain.n)


def test_blocks_that_swing_do_not_pass_either() -> None:
    data = 20.0 + 5.0 * (-1.0) ** np.arange(400)
    assert of_independent(non_inferiority_gate(DIFFERENCE, data), data).verdict == "inconclusive"


def test_independent_blocks_pass_as_before_and_say_how_they_correlate() -> None:
    data = noisy(20.0)
    result = of_independent(non_inferiority_gate(DIFFERENCE, data), data)
    assert result.verdict == "pass"
    assert result.correlation is not None
    assert abs(result.correlation) < 0.2


def test_a_failure_stands_whatever_the_blocks_are() -> None:
    data = sticky(-60.0, 0.8, 400, seed=1)
    assert of_independent(non_inferiority_gate(DIFFERENCE, data), data).verdict == "fail"


def test_clean_blocks_are_alike_and_pass() -> None:
    result = of_independent(rate_gate(RATE, 0, 80), [0.0] * 80)
    assert result.verdict == "pass"
    assert result.correlation is None


def test_violations_in_a_row_do_not_certify_a_rate() -> None:
    rare = RateGate(id="rare", event="hard_violation", limit_rate=0.05)
    apart = [1.0 if i % 100 == 50 else 0.0 for i in range(400)]
    in_a_row = [1.0 if 200 <= i < 204 else 0.0 for i in range(400)]
    assert of_independent(rate_gate(rare, 4, 400), apart).verdict == "pass"
    assert of_independent(rate_gate(rare, 4, 400), in_a_row).verdict == "inconclusive"


def test_a_series_with_a_hole_is_left_as_it_was_judged() -> None:
    data = [1.0, math.nan, 2.0, 3.0]
    result = non_inferiority_gate(DIFFERENCE, data)
    assert of_independent(result, data) == result
