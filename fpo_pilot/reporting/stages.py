"""Section 5: the roll-out as a time line: stages, authority, guards, gates and what each stage was worth."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import pyarrow as pa

from fpo_pilot.reporting.drawing import StageEvent, StageLine, StageSpan
from fpo_pilot.reporting.facts import RANDOM_ACTIONS
from fpo_pilot.reporting.gates import full_table
from fpo_pilot.reporting.labels import event_reason, stage_label
from fpo_pilot.reporting.page import Block, Column, Figure, Mark, Notice, Paragraph, Row, Section, Source, Table
from fpo_pilot.reporting.phrases import Message, Number, Phrase, declared, say
from fpo_pilot.reporting.run_folder import Run, numbers, strings
from fpo_pilot.reporting.views import IntervalView, RolloutView

MOST_EVENTS = 40
SHOWN_KINDS = ("transition", "guard", "note")


@dataclass(frozen=True)
class Moment:
    """One row of events.parquet that people read."""

    seq: float
    episode: float
    step: float
    kind: str
    from_stage: str
    to_stage: str
    authority_from: float
    authority_to: float
    reason: str


def stages_section(run: Run) -> Section:
    """Build the section; without a roll-out it says so."""
    title = say("stages.title")
    if run.rollout is None:
        notice = Notice(say("notice.no_rollout", command="fpo-pilot rollout"))
        table = full_table(run)
        return Section("stages", title, (notice,) if table is None else (notice, table))
    moments = read_moments(run)
    blocks: list[Block] = [
        Paragraph(
            say(
                "stages.intro",
                stage=stage_label(run.rollout.final_stage),
                authority=_authority(run.rollout.final_authority),
                episodes=run.rollout.episodes,
            )
        )
    ]
    figure = stage_figure(run, moments)
    if figure is not None:
        blocks.append(figure)
    blocks.append(event_table(moments))
    gates = full_table(run)
    if gates is not None:
        blocks.append(gates)
    kpi = stage_kpi_table(run.rollout)
    if kpi is not None:
        blocks.append(kpi)
    if run.drills:
        blocks.append(drill_table(run))
    if not any(moment.kind == "guard" for moment in moments):
        blocks.append(Paragraph(Message("stages.no_guard")))
    return Section("stages", title, tuple(blocks))


def read_moments(run: Run) -> list[Moment]:
    """Transitions, guards and notes of events.parquet in the order of ``seq``."""
    if run.events is None:
        return []
    events = run.events
    texts = {name: strings(events, name) for name in ("kind", "from_stage", "to_stage", "reason")}
    values = {name: _column(events, name) for name in ("seq", "episode", "step", "authority_from", "authority_to")}
    moments = [
        Moment(
            seq=values["seq"][i],
            episode=values["episode"][i],
            step=values["step"][i],
            kind=texts["kind"][i],
            from_stage=texts["from_stage"][i],
            to_stage=texts["to_stage"][i],
            authority_from=values["authority_from"][i],
            authority_to=values["authority_to"][i],
            reason=texts["reason"][i],
        )
        for i in range(events.num_rows)
    ]
    return sorted((m for m in moments if m.kind in SHOWN_KINDS), key=lambda m: m.seq)


def _column(table: pa.Table, name: str) -> list[float]:
    return numbers(table, name) or [math.nan] * table.num_rows


def stage_figure(run: Run, moments: list[Moment]) -> Figure | None:
    """Authority over the episodes, from the transitions."""
    spans = stage_spans(run.rollout, moments) if run.rollout is not None else ()
    if not spans:
        return None
    guards = tuple(
        StageEvent(m.episode, say("stages.guard_mark"))
        for m in moments
        if m.kind == "guard" and math.isfinite(m.episode)
    )
    changes = sum(m.kind == "transition" for m in moments)
    return Figure(
        id="stage-line",
        caption=say("stages.figure_caption"),
        description=say("stages.figure_description", count=changes),
        drawing=StageLine(say("figure.episodes"), say("figure.authority"), spans, guards),
        sources=(Source("events.parquet", ("kind", "episode", "to_stage", "authority_to")),),
    )


def stage_spans(rollout: RolloutView, moments: list[Moment]) -> tuple[StageSpan, ...]:
    """Split a roll-out at its transitions; one that made none is a single span of the stage it stayed in."""
    changes = [m for m in moments if m.kind == "transition" and math.isfinite(m.episode)]
    end = float(rollout.episodes or 0)
    if not changes:
        whole = StageSpan(
            stage_label(rollout.final_stage), rollout.final_stage, 0.0, end, rollout.final_authority or 0.0
        )
        return (whole,) if end > 0 else ()
    starts = [0.0, *(m.episode for m in changes), max(end, changes[-1].episode + 1.0)]
    stages = [changes[0].from_stage or "offline", *(m.to_stage for m in changes)]
    authorities = [changes[0].authority_from, *(m.authority_to for m in changes)]
    return tuple(
        StageSpan(stage_label(stage), stage, start, stop, authority if math.isfinite(authority) else 0.0)
        for stage, authority, (start, stop) in zip(stages, authorities, pairwise(starts), strict=True)
        if stop > start
    )


def event_table(moments: list[Moment]) -> Table:
    """Every transition and guard with its reason, at most forty lines; a guard that goes on firing is one line."""
    moments, repeated = without_repeats(moments)
    rows = [
        Row(
            (
                Number(int(m.seq)),
                Message(f"stages.kind_{m.kind}"),
                _count(m.episode),
                _count(m.step),
                _change(m),
                say("stages.from_to", old=_authority(m.authority_from), new=_authority(m.authority_to)),
                event_reason(m.reason),
            )
        )
        for m in moments[:MOST_EVENTS]
    ]
    notes: tuple[Phrase, ...] = (say("stages.note_seq"),)
    if repeated:
        notes = (*notes, say("stages.note_repeated", count=repeated))
    if len(moments) > MOST_EVENTS:
        notes = (*notes, say("stages.note_cut", shown=MOST_EVENTS, count=len(moments)))
    return Table(
        id="events",
        caption=say("stages.events_caption"),
        columns=(
            Column(say("stages.column_seq"), numeric=True),
            Column(say("stages.column_kind")),
            Column(say("stages.column_episode"), numeric=True),
            Column(say("stages.column_step"), numeric=True),
            Column(say("stages.column_change"), short=True),
            Column(say("stages.column_authority"), short=True),
            Column(say("stages.column_reason")),
        ),
        rows=tuple(rows),
        sources=(Source("events.parquet", ("seq", "kind", "episode", "step", "from_stage", "to_stage", "reason")),),
        notes=notes,
    )


def _count(value: float) -> Number:
    return Number(int(value) if math.isfinite(value) else None)


def without_repeats(moments: list[Moment]) -> tuple[list[Moment], int]:
    """Leave out guards that fired before in the same episode for the same reason; return how many those were."""
    seen: set[tuple[float, str]] = set()
    kept = []
    for moment in moments:
        key = (moment.episode, moment.reason)
        if moment.kind != "guard" or key not in seen:
            kept.append(moment)
        if moment.kind == "guard":
            seen.add(key)
    return kept, len(moments) - len(kept)


def _change(moment: Moment) -> Phrase:
    if not moment.to_stage or moment.from_stage == moment.to_stage:
        return stage_label(moment.from_stage or moment.to_stage or "offline")
    return say("stages.from_to", old=stage_label(moment.from_stage), new=stage_label(moment.to_stage))


def stage_kpi_table(rollout: RolloutView) -> Table | None:
    """Cost of both arms and the difference in every stage of the roll-out."""
    rows = []
    for stage, kpi in rollout.kpi.items():
        rows.append(
            Row(
                (
                    stage_label(stage),
                    _cost(kpi.incumbent),
                    _cost(kpi.policy),
                    _interval(kpi.difference),
                    Number(kpi.difference.n if kpi.difference is not None else None),
                )
            )
        )
    if not rows:
        return None
    return Table(
        id="stage-kpi",
        caption=say("stages.kpi_caption"),
        columns=(
            Column(say("gates.column_stage")),
            Column(say("stages.column_incumbent"), numeric=True),
            Column(say("stages.column_policy"), numeric=True),
            Column(say("stages.column_saving"), numeric=True),
            Column(say("kpi.column_n"), numeric=True),
        ),
        rows=tuple(rows),
        sources=(Source("rollout.json", ("kpi",)), Source("blocks.parquet", ("return", "arm", "stage"))),
        notes=(say("stages.note_kpi"),),
    )


def _authority(fraction: float | None) -> Number:
    return declared(None if fraction is None else 100.0 * fraction, "%")


def _guards(events: pa.Table | None) -> list[str]:
    if events is None:
        return []
    kinds = zip(strings(events, "kind"), strings(events, "reason"), strict=True)
    return [reason for kind, reason in kinds if kind == "guard"]


def drill_label(name: str) -> Phrase:
    """What was put in on purpose, from the name of the drill's folder."""
    return say("stages.drill_random") if name == RANDOM_ACTIONS else say("stages.drill_fault", fault=name)


def drill_table(run: Run) -> Table:
    """Faults put in on purpose: how each roll-out ended and whether the incumbent was in charge at its end."""
    rows = []
    for drill in run.drills:
        guards = _guards(drill.events)
        rows.append(
            Row(
                (
                    drill_label(drill.name),
                    stage_label(drill.rollout.final_stage),
                    _authority(drill.rollout.final_authority),
                    Number(len(guards)),
                    event_reason(guards[0] if guards else ""),
                    Mark("pass" if drill.passed else "fail"),
                )
            )
        )
    return Table(
        id="drills",
        caption=say("stages.drills_caption"),
        columns=(
            Column(say("stages.column_drill")),
            Column(say("stages.column_ended")),
            Column(say("stages.column_authority"), numeric=True),
            Column(say("stages.column_guards"), numeric=True),
            Column(say("stages.column_reason")),
            Column(say("gates.column_verdict")),
        ),
        rows=tuple(rows),
        sources=(
            Source("drills/*/rollout.json", ("final_stage", "final_authority")),
            Source("drills/*/events.parquet", ("kind", "reason")),
        ),
        notes=(say("stages.note_drills"),),
    )


def _cost(interval: IntervalView | None) -> Phrase:
    return Number(None) if interval is None else _interval(interval.negated())


def _interval(interval: IntervalView | None) -> Phrase:
    if interval is None or interval.mean is None:
        return Number(None)
    if interval.low is None or interval.high is None:
        return Number(interval.mean)
    return say("interval.full", mean=Number(interval.mean), low=Number(interval.low), high=Number(interval.high))
