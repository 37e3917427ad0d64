"""Page one: what is asked for, why, the stage reached, the gates and the main risks."""

from __future__ import annotations

from fpo_pilot.reporting.facts import guard_reasons, least_margins, worst_candidate_row
from fpo_pilot.reporting.gates import last_results, summary_table
from fpo_pilot.reporting.labels import (
    STAGES,
    candidate_of,
    candidate_row,
    controller_label,
    limit_range,
    row_of,
    scenario_label,
    shield_label,
    stage_label,
)
from fpo_pilot.reporting.page import Outcome, StageMark, StageState, VerdictPage
from fpo_pilot.reporting.phrases import Message, Number, Phrase, declared, percent, say
from fpo_pilot.reporting.risks import main_risks
from fpo_pilot.reporting.run_folder import Run


def verdict_page(run: Run) -> VerdictPage:
    """Build page one."""
    outcome, key = decision(run)
    gates = summary_table(run)
    final = run.rollout.final_stage if run.rollout is not None else "offline"
    return VerdictPage(
        outcome=outcome,
        decision=say(f"decision.{key}", stage=stage_label(final), authority=_authority(run)),
        because=tuple(_because(run)),
        stages=stage_marks(run),
        stage_note=_stage_note(run),
        gates=gates,
        gates_notice=None if gates is not None else say("gates.none_yet"),
        risks=main_risks(run),
    )


def decision(run: Run) -> tuple[Outcome, str]:
    """What is asked for, as an outcome and the key of its sentence.

    The first rule that applies decides: no evaluation asks for nothing; a hard violation behind the shield, a failed
    verdict, a failed gate or a roll-back ask to keep the incumbent; whatever is inconclusive, and a failed drill, holds; only then is a
    step asked for.
    """
    if run.evaluation is None or run.evaluation.verdict is None:
        return "inconclusive", "not_evaluated"
    result = run.evaluation.verdict.result
    worst = worst_candidate_row(run)
    if worst is not None and worst.violations.episodes_with > 0:
        return "fail", "violations"
    if result == "fail":
        return "fail", "not_as_good"
    if any(gate.verdict == "fail" for gate in last_results(run)):
        return "fail", "gate_failed"
    if run.rollout is not None and run.rollout.final_stage == "rolled_back":
        return "fail", "rolled_back"
    if result == "inconclusive":
        return "inconclusive", "not_decided"
    if not all(drill.passed for drill in run.drills):
        return "inconclusive", "drill_failed"
    if run.rollout is None:
        return "pass", "start_rollout"
    if run.rollout.final_stage == "full":
        return "pass", "prepare_plant"
    return "inconclusive", "hold_stage"


def stage_marks(run: Run) -> tuple[StageMark, ...]:
    """The strip of stages: those passed, one entered and left without passing, the present one, those ahead."""
    final = run.rollout.final_stage if run.rollout is not None else "offline"
    if run.evaluation is None:
        return tuple(StageMark(stage_label(stage), "ahead") for stage in STAGES)
    if final in STAGES:
        return _marks(STAGES.index(final), "here")
    left = [change.from_stage for change in run.rollout.transitions] if run.rollout is not None else []
    last = left[-1] if left and left[-1] in STAGES else "shadow"
    return (*_marks(STAGES.index(last), "left"), StageMark(stage_label(final), "here"))


def _marks(place: int, state: StageState) -> tuple[StageMark, ...]:
    return tuple(
        StageMark(stage_label(stage), "done" if i < place else state if i == place else "ahead")
        for i, stage in enumerate(STAGES)
    )


def _authority(run: Run) -> Phrase:
    fraction = run.rollout.final_authority if run.rollout is not None else None
    return declared(None if fraction is None else 100.0 * fraction, "%")


def _stage_note(run: Run) -> Phrase:
    if run.evaluation is None:
        return say("stage_note.trained")
    if run.rollout is None:
        return say("stage_note.offline")
    blocks = sum(run.rollout.blocks.values())
    return say(
        "stage_note.rollout", stage=stage_label(run.rollout.final_stage), authority=_authority(run), blocks=blocks
    )


def _because(run: Run) -> list[Phrase]:
    """Two to five facts that carry the decision."""
    evaluation = run.evaluation
    if evaluation is None:
        return [say("because.trained_only")]
    facts: list[Phrase] = []
    candidate, own, incumbent = candidate_of(evaluation), candidate_row(evaluation), row_of(evaluation, "incumbent")
    if candidate is not None and own is not None and incumbent is not None:
        costs = {"policy": own.returns.negated().mean, "incumbent": incumbent.returns.negated().mean}
        facts.append(
            say(
                "because.cost",
                controller=controller_label(*candidate),
                policy=Number(costs["policy"]),
                incumbent=Number(costs["incumbent"]),
                n=own.n,
                shield=shield_label(own.shield),
                scenario=scenario_label(own.scenario),
            )
        )
    difference = evaluation.verdict.difference if evaluation.verdict is not None else None
    if difference is not None and difference.mean is not None:
        facts.append(
            say(
                "because.difference",
                mean=Number(difference.mean, signed=True),
                low=Number(difference.low, signed=True),
                high=Number(difference.high, signed=True),
            )
        )
    looks = [one for one in evaluation.earlier if one.same_policy]
    if looks:
        passed = sum(one.result == "pass" for one in looks)
        facts.append(say("because.looks", count=len(looks), passed=passed))
    facts += _safety_facts(run)
    return facts


def _safety_facts(run: Run) -> list[Phrase]:
    facts: list[Phrase] = []
    worst = worst_candidate_row(run)
    if worst is not None:
        seen = worst.violations
        key = "because.violations_none" if seen.episodes_with == 0 else "because.violations"
        facts.append(
            say(
                key,
                events=seen.episodes_with,
                n=seen.n,
                upper=percent(seen.upper95, round_up=True),
                shield=shield_label(worst.shield),
            )
        )
    for margin in least_margins(run)[:1]:
        unit = run.manifest.plant_spec.signals[margin.limit.signal].unit
        limit = limit_range(margin.limit, run.manifest.plant_spec)
        facts.append(say("because.margin", limit=limit, value=Number(margin.value, unit)))
    reasons = guard_reasons(run)
    if run.rollout is not None:
        facts.append(say("because.guards", count=len(reasons)) if reasons else Message("because.no_guard"))
    return facts
