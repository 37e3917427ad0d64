"""Section 2: every controller beside the incumbent, with intervals, and where the difference comes from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fpo_pilot.reporting.drawing import IntervalRow, Intervals, Level, Role
from fpo_pilot.reporting.facts import judged_rows
from fpo_pilot.reporting.labels import (
    ARM_ORDER,
    arm_label,
    candidate_of,
    full_label,
    judged_shield,
    mode_label,
    row_of,
    scenario_label,
    shield_label,
)
from fpo_pilot.reporting.page import Block, Column, Figure, Notice, Paragraph, Row, Section, Source, Table
from fpo_pilot.reporting.phrases import Number, Phrase, Verbatim, say
from fpo_pilot.reporting.run_folder import Run, numbers, strings
from fpo_pilot.reporting.views import EvaluationRowView, EvaluationView, IntervalView

LOG_RATIO = 20.0
ROW_FIELDS = ("rows.return", "rows.n", "rows.arm", "rows.mode", "rows.shield", "rows.scenario")


def kpi_section(run: Run) -> Section:
    """Build the section; without an evaluation it says so."""
    title = say("kpi.title")
    evaluation = run.evaluation
    if evaluation is None:
        return Section("kpi", title, (Notice(say("notice.no_evaluation", command="fpo-pilot evaluate")),))
    blocks: list[Block] = [Paragraph(say("kpi.intro", episodes=evaluation.episodes))]
    blocks.append(kpi_table(evaluation))
    figure = kpi_figure(evaluation)
    if figure is not None:
        blocks.append(figure)
    terms = term_table(run)
    if terms is not None:
        blocks.append(terms)
    return Section("kpi", title, tuple(blocks))


def ordered_rows(evaluation: EvaluationView) -> list[EvaluationRowView]:
    """Rows by scenario (in order of the file), controller, mode, and shield on before off."""
    scenarios = list(dict.fromkeys(row.scenario for row in evaluation.rows))
    arms = {arm: place for place, arm in enumerate(ARM_ORDER)}
    return sorted(
        evaluation.rows,
        key=lambda row: (scenarios.index(row.scenario), arms.get(row.arm, len(arms)), row.mode, not row.shield),
    )


def kpi_table(evaluation: EvaluationView) -> Table:
    """Cost of each controller in each mode, scenario and shield setting, with its interval and n."""
    rows = [_row(row, evaluation) for row in ordered_rows(evaluation)]
    notes: list[Phrase] = [say("kpi.note_cost")]
    if any(row.arm == "oracle" for row in evaluation.rows):
        notes.append(say("kpi.note_oracle"))
    if any(_is_point(row.returns) for row in evaluation.rows):
        notes.append(say("kpi.note_point"))
    table = Table(
        id="kpi",
        caption=say("kpi.caption"),
        columns=(
            Column(say("kpi.column_controller")),
            Column(say("kpi.column_mode"), short=True),
            Column(say("kpi.column_shield"), short=True),
            Column(say("kpi.column_scenario")),
            Column(say("kpi.column_n"), numeric=True),
            Column(say("kpi.column_cost"), numeric=True),
            Column(say("kpi.column_interval"), numeric=True),
            Column(say("kpi.column_relative"), numeric=True),
        ),
        rows=tuple(rows),
        sources=(Source("evaluation.json", ROW_FIELDS), Source("episodes.parquet", ("return", "seed"))),
        notes=tuple(notes),
    )
    return without_single_condition(table, evaluation, place=3)


def without_single_condition(table: Table, evaluation: EvaluationView, *, place: int) -> Table:
    """Leave out the column of conditions where there is only one, and name it in a note."""
    scenarios = {row.scenario for row in evaluation.rows}
    if len(scenarios) != 1:
        return table
    return replace(
        table,
        columns=table.columns[:place] + table.columns[place + 1 :],
        rows=tuple(replace(row, cells=row.cells[:place] + row.cells[place + 1 :]) for row in table.rows),
        notes=(say("kpi.note_condition", scenario=scenario_label(scenarios.pop())), *table.notes),
    )


def _row(row: EvaluationRowView, evaluation: EvaluationView) -> Row:
    cost = row.returns.negated()
    is_candidate, on = (row.arm, row.mode) == candidate_of(evaluation), judged_shield(evaluation)
    return Row(
        (
            arm_label(row.arm),
            mode_label(row.mode),
            shield_label(row.shield),
            scenario_label(row.scenario),
            Number(row.n),
            Number(cost.mean),
            say("interval.limits", low=Number(cost.low), high=Number(cost.high)),
            _relative(row, evaluation),
        ),
        tone="policy"
        if is_candidate and row.shield == on
        else "incumbent"
        if row.arm == "incumbent" and row.shield == on
        else "plain",
    )


def _relative(row: EvaluationRowView, evaluation: EvaluationView) -> Phrase:
    """Cost against the incumbent of the same scenario and shield setting, in per cent."""
    if row.arm == "incumbent":
        return say("kpi.reference")
    for other in evaluation.rows:
        if (other.arm, other.scenario, other.shield) == ("incumbent", row.scenario, row.shield):
            own, base = row.returns.negated().mean, other.returns.negated().mean
            if own is not None and base is not None and base > 0:
                return Number(100.0 * (own - base) / base, "%", 2, signed=True)
    return Number(None)


def _is_point(interval: IntervalView) -> bool:
    if interval.low is None or interval.high is None:
        return False
    return abs(interval.high - interval.low) <= 1e-9 * max(1.0, abs(interval.high))


def kpi_figure(evaluation: EvaluationView) -> Figure | None:
    """Costs of the first scenario behind the shield, with the incumbent's mean as a line."""
    first = evaluation.rows[0].scenario if evaluation.rows else ""
    on = judged_shield(evaluation)
    rows = []
    for row in ordered_rows(evaluation):
        cost = row.returns.negated()
        if row.scenario != first or cost.mean is None or not math.isfinite(cost.mean):
            continue
        role: Role = "incumbent" if row.arm == "incumbent" else "plain"
        role = "policy" if (row.arm, row.mode) == candidate_of(evaluation) and row.shield == on else role
        role = "best" if row.arm == "oracle" else role
        low = cost.mean if cost.low is None else cost.low
        high = cost.mean if cost.high is None else cost.high
        rows.append(IntervalRow(full_label(row.arm, row.mode, row.shield), cost.mean, low, high, role))
    if not rows:
        return None
    incumbent = row_of(evaluation, "incumbent")
    mean = incumbent.returns.negated().mean if incumbent is not None else None
    reference = None if mean is None else Level(say("figure.incumbent_mean"), mean, "reference")
    return Figure(
        id="costs",
        caption=say("kpi.figure_caption", scenario=scenario_label(first)),
        description=say("kpi.figure_description", count=len(rows)),
        drawing=cost_intervals(rows, reference),
        sources=(Source("evaluation.json", ("rows.return",)),),
    )


def cost_intervals(rows: Sequence[IntervalRow], reference: Level | None = None) -> Intervals:
    """An interval chart of costs; on a log scale where one would hide the others."""
    ends = [end for row in rows for end in (row.low, row.high)]
    log = min(ends) > 0 and max(ends) / min(ends) > LOG_RATIO
    return Intervals(say("figure.cost_log" if log else "figure.cost"), tuple(rows), reference, log)


def term_table(run: Run) -> Table | None:
    """Cost by term of the reward, candidate and incumbent behind the shield: where the difference comes from."""
    if run.episodes is None or run.evaluation is None or candidate_of(run.evaluation) is None:
        return None
    columns = [name for name in run.episodes.schema.names if name.startswith("reward.") and name != "reward.total"]
    if not columns:
        return None
    candidate = candidate_of(run.evaluation) or ("", "")
    means = {
        column: (_mean_cost(run, column, *candidate), _mean_cost(run, column, "incumbent", "")) for column in columns
    }
    rows = []
    for column, (own, base) in means.items():
        change = None if own is None or base is None else own - base
        cells = (Verbatim(column.removeprefix("reward.")), Number(own), Number(base), Number(change, signed=True))
        rows.append(Row(cells))
    return Table(
        id="terms",
        caption=say("kpi.terms_caption", controller=full_label(*candidate, judged_shield(run.evaluation))),
        columns=(
            Column(say("kpi.column_term")),
            Column(say("kpi.column_policy"), numeric=True),
            Column(say("arm.incumbent"), numeric=True),
            Column(say("kpi.column_change"), numeric=True),
        ),
        rows=tuple(rows),
        sources=(Source("episodes.parquet", tuple(columns)),),
        notes=(say("kpi.terms_note"),),
    )


def _mean_cost(run: Run, column: str, arm: str, mode: str) -> float | None:
    if run.episodes is None or run.evaluation is None:
        return None
    arms, modes = strings(run.episodes, "arm"), strings(run.episodes, "mode")
    shields = run.episodes["shield"].to_pylist()
    rows = zip(arms, modes, shields, judged_rows(run.episodes), strict=True)
    shield = judged_shield(run.evaluation)
    keep = [(a, m) == (arm, mode) and bool(on) == shield and judged for a, m, on, judged in rows]
    chosen = np.array(numbers(run.episodes, column))[np.array(keep, dtype=bool)]
    chosen = chosen[np.isfinite(chosen)]
    return -float(chosen.mean()) if chosen.size else None
