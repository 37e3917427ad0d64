"""Rows of the evaluation as lines of a table: one a controller, mode and shield setting, with a cell a condition."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fpo_pilot.reporting.labels import (
    ARM_ORDER,
    arm_label,
    candidate_of,
    judged_shield,
    mode_label,
    scenario_label,
    shield_label,
)
from fpo_pilot.reporting.page import Cell, Column, Stack
from fpo_pilot.reporting.phrases import Number, Phrase, say
from fpo_pilot.reporting.views import EvaluationRowView, EvaluationView


@dataclass(frozen=True)
class Line:
    """One controller in one mode, with or without shield, and its row in each condition, where it was run there."""

    arm: str
    mode: str
    shield: bool
    rows: tuple[EvaluationRowView | None, ...]

    @property
    def present(self) -> tuple[EvaluationRowView, ...]:
        """Rows of the conditions in which it was run."""
        return tuple(row for row in self.rows if row is not None)


def conditions_of(evaluation: EvaluationView) -> tuple[str, ...]:
    """Conditions that were evaluated, in the order of the file."""
    return tuple(dict.fromkeys(row.scenario for row in evaluation.rows))


def lines_of(evaluation: EvaluationView) -> tuple[Line, ...]:
    """Lines by controller, mode, and shield on before off."""
    conditions = conditions_of(evaluation)
    arms = {arm: place for place, arm in enumerate(ARM_ORDER)}
    found: dict[tuple[str, str, bool], dict[str, EvaluationRowView]] = {}
    for row in evaluation.rows:
        found.setdefault((row.arm, row.mode, row.shield), {})[row.scenario] = row
    ordered = sorted(found, key=lambda key: (arms.get(key[0], len(arms)), key[0], key[1], not key[2]))
    return tuple(Line(*key, tuple(found[key].get(condition) for condition in conditions)) for key in ordered)


def first_row(evaluation: EvaluationView, arm: str) -> EvaluationRowView | None:
    """The row of a controller without modes in the first condition; without shield where it has none with it."""
    lines = [line for line in lines_of(evaluation) if line.arm == arm and line.rows[0] is not None]
    lines.sort(key=lambda line: line.shield != judged_shield(evaluation))
    return lines[0].rows[0] if lines else None


def head_columns() -> tuple[Column, ...]:
    """Columns that say which controller a line is about."""
    return (
        Column(say("kpi.column_controller"), short=True),
        Column(say("kpi.column_mode"), short=True),
        Column(say("kpi.column_shield"), short=True),
    )


def head_cells(line: Line) -> tuple[Cell, ...]:
    """Controller, mode and shield."""
    return arm_label(line.arm), mode_label(line.mode), shield_label(line.shield)


def count_of(line: Line) -> Cell:
    """Episodes of a line; those of each condition where they differ."""
    counts = tuple(dict.fromkeys(row.n for row in line.present))
    return Number(counts[0]) if len(counts) == 1 else Stack(tuple(Number(count) for count in counts))


def condition_columns(evaluation: EvaluationView, *, numeric: bool) -> tuple[Column, ...]:
    """One column a condition, under its name."""
    return tuple(
        Column(scenario_label(condition), numeric=numeric, short=not numeric) for condition in conditions_of(evaluation)
    )


def condition_note(evaluation: EvaluationView) -> tuple[Phrase, ...]:
    """Names the condition where there is only one, which then has no column of its own."""
    conditions = conditions_of(evaluation)
    return (say("kpi.note_condition", scenario=scenario_label(conditions[0])),) if len(conditions) == 1 else ()


def tone_of(line: Line, evaluation: EvaluationView) -> Literal["plain", "policy", "incumbent"]:
    """Marks the policy that is judged, and the incumbent that it is judged against."""
    if line.shield != judged_shield(evaluation):
        return "plain"
    if (line.arm, line.mode) == candidate_of(evaluation):
        return "policy"
    return "incumbent" if line.arm == "incumbent" else "plain"
