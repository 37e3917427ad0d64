"""The three main risks of page one: rules over the data, the most serious first, never fewer than three."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from fpo_pilot.reporting.facts import (
    candidate_returns,
    guard_reasons,
    has_sensor_fault,
    least_margins,
    scenario_names,
    worst_candidate_row,
)
from fpo_pilot.reporting.gates import last_results
from fpo_pilot.reporting.labels import candidate_of, event_reason, judged_shield, limit_range, shield_label, stage_label
from fpo_pilot.reporting.page import Risk
from fpo_pilot.reporting.phrases import Message, Number, Phrase, percent, say
from fpo_pilot.reporting.run_folder import Run
from fpo_pilot.reporting.stages import drill_label

FEW_EPISODES = 30
SMALL_MARGIN = 0.05
MANY_INTERVENTIONS = 5.0
SHOWN = 3


def main_risks(run: Run) -> tuple[Risk, ...]:
    """The first three risks that the data show, in the order of the rules."""
    found: list[Risk] = []
    for rule in RULES:
        found += rule(run)
        if len(found) >= SHOWN:
            break
    return tuple(found[:SHOWN])


def _risk(name: str, section: str, **values: Phrase | str | float | None) -> Risk:
    return Risk(say(f"risk.{name}", **values), Message(f"risk.{name}_action"), section)


def _no_safety_spec(run: Run) -> Iterator[Risk]:
    if run.manifest.safety_spec is None:
        yield _risk("no_safety_spec", "safety")


def _violations_behind_shield(run: Run) -> Iterator[Risk]:
    row = worst_candidate_row(run)
    if row is not None and row.violations.episodes_with > 0:
        seen = row.violations
        yield _risk("violations", "safety", events=seen.episodes_with, n=seen.n, shield=shield_label(row.shield))


def _failed_gates(run: Run) -> Iterator[Risk]:
    if run.evaluation is not None and run.evaluation.verdict is not None and run.evaluation.verdict.result == "fail":
        yield _risk("not_as_good", "kpi")
    for result in last_results(run):
        if result.verdict == "fail":
            yield _risk("gate_failed", "stages", stage=stage_label(result.stage), gate=result.name)


def _guards(run: Run) -> Iterator[Risk]:
    reasons = guard_reasons(run)
    if reasons:
        yield _risk("guards", "stages", count=len(reasons), reason=event_reason(reasons[0]))


def _failed_drills(run: Run) -> Iterator[Risk]:
    for drill in run.drills:
        if not drill.passed:
            yield _risk(
                "drill_failed", "stages", drill=drill_label(drill.name), stage=stage_label(drill.rollout.final_stage)
            )


def _inconclusive(run: Run) -> Iterator[Risk]:
    open_gates = [result for result in last_results(run) if result.verdict == "inconclusive"]
    verdict = run.evaluation.verdict if run.evaluation is not None else None
    if verdict is not None and verdict.result == "inconclusive":
        yield _risk("verdict_open", "kpi")
    if open_gates:
        yield _risk("gates_open", "stages", count=len(open_gates), stage=stage_label(open_gates[0].stage))


def _needs_the_shield(run: Run) -> Iterator[Risk]:
    evaluation = run.evaluation
    candidate = candidate_of(evaluation) if evaluation is not None else None
    if evaluation is None or candidate is None or not judged_shield(evaluation):
        return
    bare = [row for row in evaluation.rows if (row.arm, row.mode) == candidate and not row.shield]
    worst = max(bare, key=lambda row: row.violations.episodes_with, default=None)
    if worst is not None and worst.violations.episodes_with > 0:
        yield _risk("needs_shield", "safety", events=worst.violations.episodes_with, n=worst.violations.n)


def _interventions(run: Run) -> Iterator[Risk]:
    row = worst_candidate_row(run)
    rate = row.interventions_per_100_steps if row is not None else None
    if rate is not None and rate > MANY_INTERVENTIONS:
        yield _risk("interventions", "safety", rate=rate)


def _small_margin(run: Run) -> Iterator[Risk]:
    hard = [margin for margin in least_margins(run) if margin.limit.kind == "hard"]
    for margin in hard[:1]:
        if margin.fraction < SMALL_MARGIN:
            yield _margin_risk(run)


def _margin_risk(run: Run) -> Risk:
    margin = least_margins(run)[0]
    unit = run.manifest.plant_spec.signals[margin.limit.signal].unit
    return _risk(
        "margin",
        "safety",
        limit=limit_range(margin.limit, run.manifest.plant_spec),
        value=Number(margin.value, unit),
        share=percent(max(margin.fraction, 0.0)),
    )


def _thin_evidence(run: Run) -> Iterator[Risk]:
    returns = candidate_returns(run)
    if returns.size > 1 and np.ptp(returns) <= 1e-9 * max(1.0, float(np.abs(returns).max())):
        yield _risk("degenerate", "kpi", n=returns.size)
    elif 0 < returns.size < FEW_EPISODES:
        yield _risk("few_episodes", "kpi", n=returns.size)


def _uncovered_hazards(run: Run) -> Iterator[Risk]:
    safety = run.manifest.safety_spec
    if safety is None:
        return
    open_hazards = [hazard for hazard in safety.hazards if hazard not in safety.guarded]
    if open_hazards:
        yield _risk("uncovered_hazard", "safety", hazard=open_hazards[0], count=len(open_hazards))


def _faults_not_tested(run: Run) -> Iterator[Risk]:
    if run.evaluation is not None and not has_sensor_fault(run):
        yield _risk("faults_not_tested", "limitations")


def _stopped_early(run: Run) -> Iterator[Risk]:
    training = run.manifest.training
    if training is not None and training.stopped_early:
        yield _risk("stopped_early", "learning", reason=training.stopped_early)


def _one_scenario(run: Run) -> Iterator[Risk]:
    if len(scenario_names(run)) == 1:
        yield _risk("one_scenario", "limitations")


def _least_margin(run: Run) -> Iterator[Risk]:
    margins = least_margins(run)
    if margins and margins[0].fraction >= SMALL_MARGIN:
        yield _margin_risk(run)


def _always(run: Run) -> Iterator[Risk]:
    if run.evaluation is None:
        yield _risk("not_evaluated", "kpi")
    if run.rollout is None:
        yield _risk("not_rolled_out", "stages")
    yield _risk("simulator", "limitations")
    yield _risk("one_seed", "limitations", seed=str(run.manifest.seed))
    yield _risk("no_live_link", "limitations")


RULES: tuple[Callable[[Run], Iterator[Risk]], ...] = (
    _no_safety_spec,
    _violations_behind_shield,
    _failed_gates,
    _failed_drills,
    _guards,
    _inconclusive,
    _needs_the_shield,
    _interventions,
    _small_margin,
    _thin_evidence,
    _uncovered_hazards,
    _faults_not_tested,
    _stopped_early,
    _one_scenario,
    _least_margin,
    _always,
)
