"""The gate table: the offline verdict and the last result of every gate of a roll-out."""

from __future__ import annotations

from fpo_pilot.evidence.autocorrelation import MOST_CORRELATION
from fpo_pilot.reporting.labels import scenario_label, stage_label
from fpo_pilot.reporting.page import Cell, Column, Mark, Outcome, Row, Source, Stack, Table
from fpo_pilot.reporting.phrases import Message, Number, Phrase, Verbatim, declared, percent, say
from fpo_pilot.reporting.run_folder import Run
from fpo_pilot.reporting.spec_views import GateSpecView, SafetyView
from fpo_pilot.reporting.views import GateResultView, IntervalView, VerdictView

SEVERITY = {"pass": 0, "inconclusive": 1, "fail": 2}
EVENTS = ("hard_violation", "outside_band", "intervention", "infeasible")


def last_results(run: Run) -> tuple[GateResultView, ...]:
    """The last result of each gate in each stage and authority, in the order of the first look."""
    if run.rollout is None:
        return ()
    last: dict[tuple[str, float | None, str], GateResultView] = {}
    for result in run.rollout.gates:
        last[result.stage, result.authority, result.name] = result
    return tuple(last.values())


def summary_table(run: Run) -> Table | None:
    """The gates of page one: the scenario that decides, and of each gate its worst level of authority."""
    verdict = run.evaluation.verdict if run.evaluation is not None else None
    offline = [] if verdict is None else [_deciding_row(verdict)]
    worst: dict[tuple[str, str], GateResultView] = {}
    for result in last_results(run):
        key = (result.stage, result.name)
        if key not in worst or SEVERITY[result.verdict] >= SEVERITY[worst[key].verdict]:
            worst[key] = result
    return _table("gates", say("gates.caption"), run, offline, list(worst.values()))


def full_table(run: Run) -> Table | None:
    """Every scenario and every level of authority; ``None`` where page one shows them all."""
    verdict = run.evaluation.verdict if run.evaluation is not None else None
    each = verdict.by_scenario if verdict is not None else ()
    results = last_results(run)
    shown = {(result.stage, result.name) for result in results}
    if len(each) < 2 and len(results) == len(shown):
        return None
    margin = verdict.margin if verdict is not None else None
    offline = [_offline_row(one.scenario, one.difference, one.result, margin) for one in each]
    return _table("gates-all", say("gates.caption_all"), run, offline, list(results))


def _table(table_id: str, caption: Phrase, run: Run, offline: list[Row], results: list[GateResultView]) -> Table | None:
    rows = (*offline, *(_gate_row(result, run.manifest.safety_spec) for result in results))
    if not rows:
        return None
    sources = [Source("evaluation.json", ("verdict.difference", "verdict.result"))] if offline else []
    sources += [Source("rollout.json", ("gates",))] if results else []
    notes = (
        ("rate", any(result.kind == "rate" for result in results)),
        ("inconclusive", any(_is_open(row) for row in rows)),
        ("correlated", any(_hang_together(result) for result in results)),
    )
    return Table(
        id=table_id,
        caption=caption,
        columns=(
            Column(say("gates.column_stage"), short=True),
            Column(say("gates.column_gate"), short=True),
            Column(say("gates.column_value"), numeric=True),
            Column(say("gates.column_limits"), numeric=True),
            Column(say("gates.column_criterion")),
            Column(say("gates.column_n"), numeric=True),
            Column(say("gates.column_verdict"), short=True),
        ),
        rows=rows,
        sources=tuple(sources),
        notes=tuple(say(f"gates.note_{name}") for name, shown in notes if shown),
    )


def _hang_together(result: GateResultView) -> bool:
    """Say whether the blocks of a gate that is open are too much alike to count as independent."""
    return result.verdict == "inconclusive" and abs(result.correlation or 0.0) >= MOST_CORRELATION


def _is_open(row: Row) -> bool:
    return any(isinstance(cell, Mark) and cell.outcome == "inconclusive" for cell in row.cells)


def _deciding_row(verdict: VerdictView) -> Row:
    scenario = verdict.scenario if len(verdict.by_scenario) > 1 else None
    return _offline_row(scenario, verdict.difference, verdict.result, verdict.margin)


def _offline_row(scenario: str | None, difference: IntervalView | None, result: Outcome, margin: float | None) -> Row:
    stage = stage_label("offline")
    return Row(
        (
            stage if scenario is None else say("gates.in_condition", stage=stage, condition=scenario_label(scenario)),
            say("gates.saving"),
            Number(difference.mean if difference else None, signed=True),
            _limits(difference.low if difference else None, difference.high if difference else None),
            say("criterion.difference", threshold=declared(-(margin or 0.0))),
            Number(difference.n if difference else None),
            Mark(result),
        )
    )


def _gate_row(result: GateResultView, safety: SafetyView | None) -> Row:
    spec = _spec_of(result, safety)
    stage: Cell = stage_label(result.stage)
    if result.authority is not None and result.stage == "bounded":
        stage = say("gates.at_authority", stage=stage_label(result.stage), beta=declared(result.authority))
    is_rate = result.kind == "rate" or (spec is not None and spec.kind == "rate")
    if is_rate:
        value: Phrase = percent(result.value)
        limits: Phrase = (
            say("gates.below", limit=percent(result.high, digits=3, round_up=True))
            if result.high is not None
            else Number(None)
        )
    else:
        value = Number(result.value, signed=True)
        limits = _limits(result.low, result.high)
    return Row(
        (stage, _name(result, spec), value, limits, _criterion(result, spec), Number(result.n), Mark(result.verdict))
    )


def _name(result: GateResultView, spec: GateSpecView | None) -> Cell:
    observed = result.mode == "observe" or (spec is not None and spec.mode == "observe")
    if spec is not None and spec.kind == "rate" and spec.event in EVENTS:
        name: Phrase = Message(f"gates.event_{spec.event}")
    elif spec is not None and spec.kind == "difference":
        name = say("gates.saving")
    else:
        return Verbatim(result.name)
    return Stack((name, say("gates.observe_only"))) if observed else name


def _criterion(result: GateResultView, spec: GateSpecView | None) -> Phrase:
    if spec is not None and spec.kind == "rate" and spec.limit_rate is not None:
        return say(
            "criterion.rate",
            limit=declared(100.0 * spec.limit_rate, "%"),
            confidence=declared(100.0 * spec.confidence, "%"),
        )
    if spec is not None and spec.kind == "difference":
        margin = spec.margin or 0.0
        return say("criterion.difference", threshold=declared(margin if spec.superior else -margin))
    return Verbatim(result.criterion)


def _spec_of(result: GateResultView, safety: SafetyView | None) -> GateSpecView | None:
    stages = safety.stages if safety is not None else ()
    for stage in stages:
        for gate in stage.gates:
            if stage.name == result.stage and gate.id == result.name:
                return gate
    return None


def _limits(low: float | None, high: float | None) -> Phrase:
    if low is None or high is None:
        return Number(None)
    return say("interval.limits", low=Number(low), high=Number(high))
