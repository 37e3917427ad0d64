"""Section 2: every controller beside the incumbent, with intervals, and where the difference comes from."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from fpo_pilot.reporting.conditions import (
    Line,
    condition_columns,
    condition_note,
    conditions_of,
    count_of,
    first_row,
    head_cells,
    head_columns,
    lines_of,
    tone_of,
)
from fpo_pilot.reporting.drawing import IntervalRow, Intervals, Level, Role
from fpo_pilot.reporting.facts import judged_rows
from fpo_pilot.reporting.labels import (
    candidate_of,
    full_label,
    judged_shield,
    scenario_label,
)
from fpo_pilot.reporting.page import Block, Cell, Column, Figure, Notice, Paragraph, Row, Section, Source, Table
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


def kpi_table(evaluation: EvaluationView) -> Table:
    """Cost of each controller in each mode and shield setting, with its interval and n, in every condition."""
    single = len(conditions_of(evaluation)) == 1
    lines = lines_of(evaluation)
    notes: list[Phrase] = [*condition_note(evaluation), say("kpi.note_cost")]
    if not single:
        notes.append(say("kpi.note_cells"))
    if any(line.arm == "oracle" for line in lines):
        notes.append(say("kpi.note_oracle"))
    if any(_is_point(row.returns) for row in evaluation.rows):
        notes.append(say("kpi.note_point"))
    count = Column(say("kpi.column_n"), numeric=True)
    alone = (
        Column(say("kpi.column_cost"), numeric=True),
        Column(say("kpi.column_interval"), numeric=True),
        Column(say("kpi.column_relative"), numeric=True),
    )
    return Table(
        id="kpi",
        caption=say("kpi.caption"),
        columns=(*head_columns(), count, *(alone if single else condition_columns(evaluation, numeric=True))),
        rows=tuple(
            Row(
                (*head_cells(line), count_of(line), *_cost_cells(line, evaluation, single=single)),
                tone_of(line, evaluation),
            )
            for line in lines
        ),
        sources=(Source("evaluation.json", ROW_FIELDS), Source("episodes.parquet", ("return", "seed"))),
        notes=tuple(notes),
    )


def _cost_cells(line: Line, evaluation: EvaluationView, *, single: bool) -> tuple[Cell, ...]:
    if not single:
        return tuple(None if row is None else _cost_in_one_cell(row) for row in line.rows)
    row = line.present[0]
    cost = row.returns.negated()
    limits = say("interval.limits", low=Number(cost.low), high=Number(cost.high))
    return Number(cost.mean), limits, _relative(row, evaluation)


def _cost_in_one_cell(row: EvaluationRowView) -> Phrase:
    cost = row.returns.negated()
    return say("interval.full", mean=Number(cost.mean), low=Number(cost.low), high=Number(cost.high))


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
    for row in (line.present[0] for line in lines_of(evaluation)):
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
    incumbent = first_row(evaluation, "incumbent")
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
