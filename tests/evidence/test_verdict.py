from __future__ import annotations

import numpy as np
import pytest

from fpo_pilot.evidence.evaluation import Candidate, Verdict
from fpo_pilot.evidence.verdict import Pair, judge, no_verdict

NOISE = np.random.default_rng(0).normal(0.0, 1.0, 32)
SEEDS = np.random.default_rng(1).normal(-60.0, 20.0, 32)  # what a seed does to both controllers


def pair(
    difference: object, *, violations: tuple[int, int] = (0, 0), certain: bool = False, name: str = "nominal"
) -> Pair:
    values = np.asarray(difference, dtype=float)
    return Pair(name, SEEDS[: len(values)] + values, SEEDS[: len(values)], *violations, certain)


def judged(*pairs: Pair, margin: float = 1.0) -> Verdict:
    return judge(
        Candidate(arm="flow", mode="noise 0"), Candidate(arm="incumbent"), pairs, margin=margin, confidence=0.95, seed=0
    )


@pytest.mark.parametrize(
    ("difference", "result"),
    [
        (5.0 + NOISE, "pass"),
        (-0.2 + 0.5 * NOISE, "pass"),  # a little worse, within the margin of 1
        (-1.0 + NOISE, "inconclusive"),
        (-3.0 + NOISE, "fail"),
    ],
)
def test_the_interval_of_the_paired_difference_decides(difference: np.ndarray, result: str) -> None:
    verdict = judged(pair(difference))
    assert verdict.result == result
    assert verdict.difference is not None
    assert verdict.difference.n == 32
    assert verdict.difference.mean == pytest.approx(difference.mean())


def test_a_better_mean_is_not_enough() -> None:
    wild = np.where(np.arange(32) % 8 == 0, -100.0, 20.0)  # better on average by 5, and nobody knows
    assert wild.mean() == 5.0
    assert judged(pair(wild)).result == "inconclusive"


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_a_number_never_passes(bad: float) -> None:
    difference = 50.0 + NOISE
    difference[3] = bad
    verdict = judged(pair(difference))
    assert verdict.result == "inconclusive"
    assert "1 of 32 values are not finite" in verdict.reason
    assert verdict.difference is not None
    assert verdict.difference.mean is None


def test_few_pairs_pass_and_fail_nothing_where_chance_has_a_part() -> None:
    for difference in (50.0 + NOISE, -50.0 + NOISE):
        few, enough = judged(pair(difference[:19])), judged(pair(difference[:20]))
        assert few.result == "inconclusive"
        assert "over 19 paired episodes: fewer than 20 are no evidence" in few.reason
        assert enough.result == ("pass" if difference[0] > 0.0 else "fail")
    passed_a_limit = pair(50.0 + NOISE[:2], violations=(1, 0))  # that needs no statistics
    assert judged(passed_a_limit).result == "fail"


def test_a_policy_worse_by_the_margin_passes_in_few_of_a_hundred_trials_of_twenty_pairs() -> None:
    draws = np.random.default_rng(5).normal(-1.0, 1.0, (400, 20))
    passed = sum(judged(pair(row)).result == "pass" for row in draws)
    # 2.5 % of 400 is 10, with a deviation of 3; the limit of the bootstrap alone passes 20 of these.
    assert passed <= 16


def test_one_episode_of_a_plant_with_chance_is_inconclusive() -> None:
    verdict = judged(pair([50.0]))
    assert verdict.result == "inconclusive"
    assert "one value" in verdict.reason


def test_differences_without_spread_are_inconclusive_where_chance_plays_a_part() -> None:
    constant = Pair("nominal", np.full(8, -10.0), np.full(8, -60.0), 0, 0, deterministic=False)
    assert judged(constant).result == "inconclusive"


@pytest.mark.parametrize(("difference", "result"), [(50.0, "pass"), (-0.5, "pass"), (-5.0, "fail")])
def test_a_deterministic_plant_is_judged_by_its_one_episode_and_that_is_said(difference: float, result: str) -> None:
    rounding = 1e-6 * np.arange(8)  # of a network that is computed row by row
    certain = Pair("nominal", -60.0 + difference + rounding, np.full(8, -60.0), 0, 0, deterministic=True)
    verdict = judged(certain)
    assert verdict.result == result
    assert "one episode is all the evidence there is" in verdict.reason
    assert verdict.difference is not None
    assert verdict.difference.degenerate


def test_more_hard_violations_than_the_incumbent_fail_whatever_the_return() -> None:
    assert judged(pair(50.0 + NOISE, violations=(1, 0))).result == "fail"
    assert judged(pair(50.0 + NOISE, violations=(0, 1))).result == "pass"
    assert "hard limit in 1 of 32 episodes" in judged(pair(50.0 + NOISE, violations=(1, 0))).reason


def test_returns_of_episodes_that_a_trip_cuts_short_are_not_compared() -> None:
    verdict = judged(pair(50.0 + NOISE, violations=(2, 2)))
    assert verdict.result == "inconclusive"
    assert "cut short" in verdict.reason


def test_the_worst_scenario_decides() -> None:
    good, unclear, bad = pair(5.0 + NOISE), pair(-1.0 + NOISE, name="noisy"), pair(-3.0 + NOISE, name="hot")
    assert judged(good, good).result == "pass"
    assert (judged(good, unclear).result, judged(good, unclear).scenario) == ("inconclusive", "noisy")
    verdict = judged(unclear, bad, good)
    assert (verdict.result, verdict.scenario) == ("fail", "hot")
    assert verdict.reason.endswith("(scenario hot)")
    assert [one.result for one in verdict.by_scenario] == ["inconclusive", "fail", "pass"]


def test_nothing_to_compare_is_inconclusive() -> None:
    assert judged().result == "inconclusive"
    assert no_verdict("There is no policy.", 0.0).reason == "There is no policy."
