"""Section 3: violations, least margins, what the shield altered and why, and hazards with what guards them."""

from __future__ import annotations

from collections import Counter

import numpy as np

from fpo_pilot.evidence.statistics import clopper_pearson_upper
from fpo_pilot.logs.reader import TRAINING_STAGE
from fpo_pilot.reporting.conditions import (
    condition_columns,
    condition_note,
    conditions_of,
    head_cells,
    head_columns,
    lines_of,
    tone_of,
)
from fpo_pilot.reporting.facts import LeastMargin, least_margins, reasons_of_stage
from fpo_pilot.reporting.labels import (
    STAGES,
    arm_label,
    candidate_of,
    controller_label,
    full_label,
    judged_shield,
    limit_range,
    reason_label,
    stage_label,
)
from fpo_pilot.reporting.page import Block, Cell, Column, Notice, Paragraph, Row, Section, Source, Stack, Table
from fpo_pilot.reporting.phrases import Bilingual, Message, Number, Phrase, Verbatim, percent, say
from fpo_pilot.reporting.run_folder import Run, numbers, strings
from fpo_pilot.reporting.spec_views import SafetyView, TextView
from fpo_pilot.reporting.views import EvaluationView, ViolationsView


def safety_section(run: Run) -> Section:
    """Build the section; each missing part says so."""
    blocks: list[Block] = [Paragraph(say("safety.intro"))]
    if run.evaluation is None:
        blocks.append(Notice(say("notice.no_evaluation", command="fpo-pilot evaluate")))
    else:
        blocks.append(violation_table(run.evaluation))
    blocks += [table for table in (block_table(run), margin_table(run), intervention_table(run)) if table is not None]
    safety = run.manifest.safety_spec
    if safety is None:
        blocks.append(Notice(say("notice.no_safety_spec")))
    elif safety.hazards:
        blocks.append(hazard_table(run, safety))
    return Section("safety", say("safety.title"), tuple(blocks))


def rate_phrase(events: int, n: int, upper: float | None, unit: str) -> Phrase:
    """``0 of 59 episodes; with 95 % confidence fewer than 5 %``: never "no violations"."""
    bound = clopper_pearson_upper(events, n) if upper is None else upper
    if events >= n:
        return say(f"safety.rate_{unit}_all", n=n)
    return say(f"safety.rate_{unit}", events=events, n=n, upper=percent(bound, round_up=True))


def violation_table(evaluation: EvaluationView) -> Table:
    """Episodes with a hard violation, with the upper limit of the rate, and interventions, for every controller."""
    single = len(conditions_of(evaluation)) == 1
    rates = (Column(say("safety.column_violations"), short=True),)
    key = "safety.column_interventions" if single else "safety.column_most_interventions"
    rows = []
    for line in lines_of(evaluation):
        cells = tuple(None if row is None else _episode_rate(row.violations, short=not single) for row in line.rows)
        rates_seen = [row.interventions_per_100_steps for row in line.present]
        most = max((rate for rate in rates_seen if rate is not None), default=None)
        rows.append(Row((*head_cells(line), *cells, Number(most if line.shield else None)), tone_of(line, evaluation)))
    return Table(
        id="violations",
        caption=say("safety.violations_caption"),
        columns=(
            *head_columns(),
            *(rates if single else condition_columns(evaluation, numeric=False)),
            Column(say(key), numeric=True),
        ),
        rows=tuple(rows),
        sources=(
            Source("evaluation.json", ("rows.violations", "rows.interventions_per_100_steps")),
            Source("episodes.parquet", ("violations_hard", "interventions", "steps")),
        ),
        notes=(*condition_note(evaluation), *(() if single else (say("safety.note_cells"),)), say("safety.note_off")),
    )


def _episode_rate(seen: ViolationsView, *, short: bool) -> Cell:
    rate = rate_phrase(seen.episodes_with, seen.n, seen.upper95, "short" if short else "episodes")
    if seen.independent is None or seen.independent >= seen.n:
        return rate
    return Stack((rate, say("safety.independent", count=seen.independent)))


def block_table(run: Run) -> Table | None:
    """Blocks of the roll-out with a hard violation, by stage and by who was in charge."""
    if run.blocks is None or run.blocks.num_rows == 0:
        return None
    hard = numbers(run.blocks, "violations_hard")
    altered = numbers(run.blocks, "interventions") or [float("nan")] * len(hard)
    latency = numbers(run.blocks, "latency_us_p99") or [float("nan")] * len(hard)
    groups: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
    stages, arms = strings(run.blocks, "stage"), strings(run.blocks, "arm")
    for stage, arm, *counted in zip(stages, arms, hard, altered, latency, strict=True):
        groups.setdefault((stage, arm), []).append((float(counted[0]), float(counted[1]), float(counted[2])))
    rows = []
    for (stage, arm), values in groups.items():
        events, n = sum(v > 0 for v, _, _ in values), len(values)
        cells = (
            stage_label(stage),
            arm_label(arm),
            rate_phrase(events, n, None, "blocks"),
            Number(int(np.nansum([i for _, i, _ in values]))),
            Number(max(latency for _, _, latency in values) / 1000.0, "ms"),
        )
        rows.append(Row(cells, "policy" if arm == "policy" else "plain"))
    return Table(
        id="blocks",
        caption=say("safety.blocks_caption"),
        columns=(
            Column(say("gates.column_stage")),
            Column(say("safety.column_arm")),
            Column(say("safety.column_violations"), short=True),
            Column(say("safety.column_altered"), numeric=True),
            Column(say("safety.column_latency"), numeric=True),
        ),
        rows=tuple(rows),
        sources=(Source("blocks.parquet", ("stage", "arm", "violations_hard", "interventions", "latency_us_p99")),),
        notes=(say("safety.note_single_look"), say("safety.note_altered")),
    )


def margin_table(run: Run) -> Table | None:
    """The candidate's least margin to every limit, over all its episodes behind the shield."""
    margins = least_margins(run)
    if not margins or run.evaluation is None:
        return None
    candidate = candidate_of(run.evaluation) or ("", "")
    return Table(
        id="margins",
        caption=say("safety.margins_caption", controller=full_label(*candidate, judged_shield(run.evaluation))),
        columns=(
            Column(say("safety.column_limit")),
            Column(say("safety.column_kind")),
            Column(say("safety.column_range")),
            Column(say("safety.column_margin"), numeric=True),
            Column(say("safety.column_share"), numeric=True),
        ),
        rows=tuple(_margin_row(margin, run) for margin in margins),
        sources=(
            Source("evaluation.json", ("rows.margins_min",)),
            Source("episodes.parquet", tuple(f"margin_min.{margin.limit.id}" for margin in margins)),
        ),
        notes=(say("safety.note_margin"),),
    )


def _margin_row(margin: LeastMargin, run: Run) -> Row:
    unit = run.manifest.plant_spec.signals[margin.limit.signal].unit
    return Row(
        (
            Verbatim(margin.limit.id),
            say(f"limit.{margin.limit.kind}"),
            limit_range(margin.limit, run.manifest.plant_spec),
            Number(margin.value, unit),
            Number(100.0 * margin.fraction, "%", 2),
        )
    )


def intervention_table(run: Run) -> Table | None:
    """Logged steps in which the shield altered what the policy or the incumbent asked for, by stage and reason."""
    rows: list[Row] = []
    files = []
    logged = [
        name for name in run.logged_stages() if name != TRAINING_STAGE
    ]  # who learns there is not what is rolled out
    for stage in sorted(logged, key=lambda name: STAGES.index(name) if name in STAGES else len(STAGES)):
        counted = _counted_reasons(run, stage)
        if counted:
            files.append(f"steps/stage={stage}")
        for who, counter, steps in counted:
            rows += _reason_rows(stage, who, counter, steps)
    if not rows:
        return None
    return Table(
        id="interventions",
        caption=say("safety.interventions_caption"),
        columns=(
            Column(say("gates.column_stage")),
            Column(say("kpi.column_controller")),
            Column(say("safety.column_reason")),
            Column(say("safety.column_steps"), numeric=True),
            Column(say("safety.column_per100"), numeric=True),
        ),
        rows=tuple(rows),
        sources=tuple(Source(file, ("shield.reasons", "arm", "mode", "shield")) for file in files),
        notes=(say("safety.note_reasons"),),
    )


def _counted_reasons(run: Run, stage: str) -> list[tuple[Phrase, Counter[str], int]]:
    """Who asked, reasons, logged steps: policy and incumbent offline; in the roll-out the policy, whoever drove."""
    counts, steps = reasons_of_stage(run, stage)
    if not counts:
        return []
    if stage != "offline":
        return [(arm_label("policy"), sum(counts.values(), Counter()), sum(steps.values()))]
    candidate = candidate_of(run.evaluation) if run.evaluation is not None else None
    shown = [key for key in (candidate, ("incumbent", "")) if key in counts]
    return [(controller_label(*key), counts[key], steps[key]) for key in shown]


def _reason_rows(stage: str, who: Phrase, counter: Counter[str], steps: int) -> list[Row]:
    head: tuple[Cell, Cell] = (stage_label(stage), who)
    if not counter:
        return [Row((*head, say("safety.not_altered"), say("safety.steps_of", count=0, n=steps), Number(0.0)))]
    ordered = sorted(counter.items(), key=lambda item: (-item[1], item[0]))
    return [
        Row((*head, reason_label(reason), say("safety.steps_of", count=count, n=steps), Number(100.0 * count / steps)))
        for reason, count in ordered
    ]


def hazard_table(run: Run, safety: SafetyView) -> Table:
    """Each hazard with its cause and consequence, and the limits and interlocks that guard it."""
    margins = {margin.limit.id: margin for margin in least_margins(run)}
    rows = []
    for name, hazard in safety.hazards.items():
        guards: list[Phrase] = []
        for limit in safety.limits:
            if limit.hazard == name:
                guards.append(say("safety.guard_limit", id=limit.id, range=limit_range(limit, run.manifest.plant_spec)))
                if limit.id in margins:
                    unit = run.manifest.plant_spec.signals[limit.signal].unit
                    guards.append(say("safety.guard_margin", value=Number(margins[limit.id].value, unit)))
        guards += [
            say("safety.guard_interlock", id=interlock.id, trip=interlock.trip_text)
            for interlock in safety.interlocks
            if interlock.hazard == name
        ]
        guards += [
            say("safety.guard_sequence", id=sequence.id) for sequence in safety.sequences if sequence.hazard == name
        ]
        guards += [
            say("safety.guard_sensor", signal=signal)
            for signal, sensor in safety.sensors.items()
            if sensor.hazard == name
        ]
        title = Stack((Verbatim(name), _text(hazard.title)))
        rank = Stack(
            (
                say("safety.severity", value=hazard.severity),
                say("safety.likelihood", value=hazard.likelihood),
            )
        )
        story = Stack(
            (
                _text(hazard.deviation),
                say("safety.cause", cause=_text(hazard.cause)),
                say("safety.consequence", consequence=_text(hazard.consequence)),
            )
        )
        safeguard = _text(hazard.safeguard)
        rows.append(Row((title, story, safeguard, rank, Stack(tuple(guards) or (Message("safety.unguarded"),)))))
    return Table(
        id="hazards",
        caption=say("safety.hazards_caption"),
        columns=(
            Column(say("safety.column_hazard")),
            Column(say("safety.column_story")),
            Column(say("safety.column_safeguard")),
            Column(say("safety.column_rank"), short=True),
            Column(say("safety.column_guards")),
        ),
        rows=tuple(rows),
        sources=(Source("manifest.json", ("safety_spec.hazards", "safety_spec.limits", "safety_spec.interlocks")),),
    )


def _text(text: TextView) -> Bilingual:
    return Bilingual(text.en, text.ja)
