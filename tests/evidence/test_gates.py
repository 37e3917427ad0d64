from __future__ import annotations

import math

import numpy as np
import pytest

from fpo_pilot.evidence import neighbour_correlation
from fpo_pilot.evidence.gates import difference_gate_on_blocks, non_inferiority_gate, rate_gate, rate_gate_on_blocks
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
    data = sticky(10.0, 0.95, 120, seed=3)
    plain = non_inferiority_gate(DIFFERENCE, data)
    assert plain.verdict == "pass"
    held = difference_gate_on_blocks(DIFFERENCE, data)
    assert held.verdict == "inconclusive"
    assert held.correlation == pytest.approx(neighbour_correlation(data))
    assert f"neighbouring blocks correlate by {held.correlation:.2g}" in held.detail
    assert (held.value, held.low, held.high, held.n) == (plain.value, plain.low, plain.high, plain.n)


def test_a_gate_passes_on_groups_of_blocks_where_these_are_enough() -> None:
    data = sticky(20.0, 0.8, 1_600, seed=1)
    result = difference_gate_on_blocks(DIFFERENCE, data)
    assert result.verdict == "pass"
    assert result.correlation is not None
    assert result.correlation > 0.5
    assert "it passes on groups of" in result.detail
    groups = data.reshape(-1, int(result.detail.split("groups of ")[1].split()[0])).mean(axis=1)
    assert abs(neighbour_correlation(groups)) < 0.2
    assert non_inferiority_gate(DIFFERENCE, groups).verdict == "pass"


def test_blocks_that_swing_are_judged_by_the_mean_of_both() -> None:
    swing = (-1.0) ** np.arange(400)
    assert difference_gate_on_blocks(DIFFERENCE, 20.0 + 5.0 * swing).verdict == "pass"
    assert difference_gate_on_blocks(DIFFERENCE, 20.0 + 5.0 * swing[:30]).verdict == "inconclusive"


def test_independent_blocks_pass_as_before_and_say_how_they_correlate() -> None:
    result = difference_gate_on_blocks(DIFFERENCE, noisy(20.0))
    assert result.verdict == "pass"
    assert result.correlation is not None
    assert abs(result.correlation) < 0.2
    assert "groups" not in result.detail


def test_a_failure_stands_whatever_the_blocks_are() -> None:
    assert difference_gate_on_blocks(DIFFERENCE, sticky(-60.0, 0.8, 400, seed=1)).verdict == "fail"


@pytest.mark.parametrize("value", [0.1, 0.3, -0.3, 0.7, 2.4])
def test_equal_differences_are_alike_whatever_their_rounding(value: float) -> None:
    data = [value + 1e-15 * i for i in range(400)]
    result = difference_gate_on_blocks(DIFFERENCE, data)
    assert result.verdict == "pass"
    assert result.correlation is None


def test_clean_blocks_are_alike_and_pass() -> None:
    result = rate_gate_on_blocks(RATE, [False] * 80)
    assert result.verdict == "pass"
    assert result.correlation is None


def test_violations_in_a_row_are_judged_in_groups_and_do_not_hold_for_ever() -> None:
    apart = [i % 100 == 50 for i in range(400)]
    in_a_row = [200 <= i < 208 for i in range(400)]
    assert rate_gate_on_blocks(RATE, apart).verdict == "pass"
    assert rate_gate(RATE, 8, 400).verdict == "pass"
    held = rate_gate_on_blocks(RATE, in_a_row)  # one of 50 groups of eight: too few to say less than 5 %
    assert held.verdict == "inconclusive"
    assert "neighbouring blocks correlate" in held.detail
    longer = rate_gate_on_blocks(RATE, in_a_row + [False] * 2_000)
    assert longer.verdict == "pass"
    assert "groups of 8 as well" in longer.detail


def test_a_series_with_a_hole_is_left_as_it_was_judged() -> None:
    data = [1.0, math.nan, 2.0, 3.0]
    assert difference_gate_on_blocks(DIFFERENCE, data) == non_inferiority_gate(DIFFERENCE, data)


def test_few_blocks_do_not_tell_how_they_hang_together() -> None:
    wide = DifferenceGate(id="wide", margin=50.0, range=(-100.0, 100.0))
    data = 60.0 + 5.0 * np.random.default_rng(2).normal(size=40)
    first = next(n for n in range(3, 41) if non_inferiority_gate(wide, data[:n]).verdict == "pass")
    assert first < 20
    held = difference_gate_on_blocks(wide, data[:19])
    assert held.verdict == "inconclusive"
    assert "20 blocks are needed" in held.detail
    enough = next(n for n in range(20, 41) if abs(neighbour_correlation(data[:n])) < 0.2)
    assert difference_gate_on_blocks(wide, data[:enough]).verdict == "pass"


def test_differences_that_keep_what_they_are_are_not_promoted_by_chance() -> None:
    """Mean at −margin, half of the range wide, neighbours that keep 90 %, a look after every second block: 100 series."""
    wide = DifferenceGate(id="wide", margin=0.0, range=(-100.0, 100.0))
    promoted = {"plain": 0, "on blocks": 0}
    for seed in range(100):
        data = np.clip(
            4.0 * sticky(0.0, 0.9, 120, seed), -100.0, 100.0
        )  # symmetric about the limit: clipping moves no mean
        for name, gate in (("plain", non_inferiority_gate), ("on blocks", difference_gate_on_blocks)):
            promoted[name] += any(gate(wide, data[:n]).verdict == "pass" for n in range(4, 121, 2))
    assert promoted["plain"] > 15
    assert promoted["on blocks"] <= 5
