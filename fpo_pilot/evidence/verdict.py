"""The verdict against the incumbent, from paired returns; it never passes on evidence that is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fpo_pilot.evidence.evaluation import Candidate, Estimate, Result, ScenarioVerdict, Verdict
from fpo_pilot.evidence.interval import Floats, Interval
from fpo_pilot.evidence.statistics import paired_difference

LEAST_PAIRS = 20
"""Fewer paired episodes than this are no evidence where chance has a part: an interval at 95 % over two of them passed a policy that is
worse by the margin in a quarter of trials. What is left of that error from here on is in docs/results.md, "Do the intervals hold?"."""
_SEVERITY: dict[Result, int] = {"pass": 0, "inconclusive": 1, "fail": 2}


@dataclass(frozen=True)
class Pair:
    """Returns ``[N]`` of candidate and incumbent on the same seeds in one scenario, and their hard violations."""

    scenario: str
    candidate: Floats
    incumbent: Floats
    candidate_violations: int
    """Episodes in which the candidate passed a hard limit."""
    incumbent_violations: int
    deterministic: bool
    """Whether nothing is drawn at random in plant, sensors and both arms: then one episode is all there is."""


def judge(
    candidate: Candidate, incumbent: Candidate, pairs: Sequence[Pair], *, margin: float, confidence: float, seed: int
) -> Verdict:
    """Judge whether the candidate is not worse than the incumbent by more than ``margin``, in every scenario.

    Args:
        candidate: the arm as it would be deployed.
        incumbent: the controller in charge today.
        pairs: one for each scenario.
        margin: non-inferiority margin in units of return.
        confidence: of the interval of the difference.
        seed: of the bootstrap.

    Returns:
        The verdict of the worst scenario: pass only where all pass, since a promotion needs all.
    """
    judged = tuple(_one(pair, margin, confidence, seed) for pair in pairs)
    if not judged:
        return no_verdict("no scenario was evaluated", margin)
    worst = max(judged, key=lambda verdict: (_SEVERITY[verdict.result], -_mean(verdict.difference)))
    where = f" (scenario {worst.scenario})" if len(judged) > 1 else ""
    return Verdict(
        candidate=candidate,
        incumbent=incumbent,
        difference=worst.difference,
        scenario=worst.scenario,
        margin=margin,
        result=worst.result,
        reason=worst.reason + where,
        by_scenario=judged,
    )


def no_verdict(reason: str, margin: float, candidate: Candidate | None = None) -> Verdict:
    """Return the verdict of an evaluation in which there is nothing to compare: inconclusive."""
    return Verdict(
        candidate=candidate,
        incumbent=None,
        difference=None,
        scenario=None,
        margin=margin,
        result="inconclusive",
        reason=reason,
    )


def _one(pair: Pair, margin: float, confidence: float, seed: int) -> ScenarioVerdict:
    difference = paired_difference(pair.candidate, pair.incumbent, confidence, seed)
    if pair.deterministic and difference.valid:
        difference = only_episode(difference.mean, difference.n)
    result, reason = _decide(pair, difference, margin, confidence)
    return ScenarioVerdict(
        scenario=pair.scenario,
        difference=Estimate.of(difference),
        result=result,
        reason=reason,
        deterministic=pair.deterministic,
    )


def _decide(pair: Pair, difference: Interval, margin: float, confidence: float) -> tuple[Result, str]:
    if not difference.valid:
        return "inconclusive", f"The difference cannot be estimated: {difference.note}."
    if pair.candidate_violations:
        ours, theirs = pair.candidate_violations, pair.incumbent_violations
        told = f"The candidate passed a hard limit in {ours} of {difference.n} episodes, the incumbent in {theirs}"
        if ours > theirs:
            return "fail", f"{told}."
        return "inconclusive", f"{told}: episodes that are cut short cost less, so returns do not compare."
    if difference.degenerate and not pair.deterministic:
        return "inconclusive", (
            f"The difference is {difference.mean:+.6g}, but {difference.note}, so that chance cannot be judged. "
            "Evaluate more episodes."
        )
    if difference.n < LEAST_PAIRS and not pair.deterministic:
        return "inconclusive", (
            f"The difference is {difference.mean:+.6g} over {difference.n} paired episodes: fewer than {LEAST_PAIRS} are no evidence where "
            "chance has a part. Evaluate more episodes."
        )
    bound = f"the margin of −{margin:g}" if margin else "zero"
    if difference.degenerate:
        told = (
            f"The difference is {difference.mean:+.6g} in every episode: the simulated plant and both controllers are "
            "deterministic, so one episode is all the evidence there is, and it holds for this scenario only"
        )
        return ("pass", f"{told}; above {bound}.") if difference.mean > -margin else ("fail", f"{told}; below {bound}.")
    told = (
        f"The difference is {difference.mean:+.6g}, between {difference.low:+.6g} and {difference.high:+.6g} "
        f"at {100 * confidence:g} % confidence over {difference.n} paired episodes"
    )
    if difference.low > -margin:
        return "pass", f"{told}: above {bound}."
    if difference.high < -margin:
        return "fail", f"{told}: below {bound}."
    return "inconclusive", f"{told}: {bound} is inside."


def only_episode(mean: float, n: int) -> Interval:
    """Return the interval of ``n`` episodes that are one, since nothing is drawn at random, whatever their rounding."""
    note = "nothing is drawn at random: one episode is all there is"
    return Interval(mean=mean, low=mean, high=mean, n=n, degenerate=True, note=note)


def _mean(estimate: Estimate) -> float:
    return estimate.mean if estimate.mean is not None else float("-inf")
