"""The rows of an evaluation as a table for people, who read costs: cost = −return."""

from __future__ import annotations

from fpo_pilot.evaluate.results import Evaluation, Row

COLUMNS = (
    "controller",
    "mode",
    "shield",
    "scenario",
    "cost",
    "interval",
    "episodes",
    "with violation",
    "interventions per 100 steps",
)


def rows_as_table(evaluation: Evaluation) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return column titles and rows of text; the candidate, in the mode that was chosen, is marked with ``→``."""
    return COLUMNS, [_row(evaluation, row) for row in evaluation.rows]


def _row(evaluation: Evaluation, row: Row) -> tuple[str, ...]:
    candidate = evaluation.verdict.candidate
    chosen = candidate is not None and (row.arm, row.mode, row.shield) == (
        candidate.arm,
        candidate.mode,
        candidate.shield,
    )
    return (
        f"{'→ ' if chosen else ''}{row.arm}",
        row.mode or "-",
        "on" if row.shield else "off",
        row.scenario,
        _cost(row.returns.mean),
        _interval(row),
        str(row.n),
        f"{row.violations.episodes_with} of {row.violations.n}",
        f"{row.interventions_per_100_steps:.3g}",
    )


def _cost(value: float | None) -> str:
    return "none" if value is None else f"{-value:.2f}"


def _interval(row: Row) -> str:
    if row.returns.low is None or row.returns.high is None:
        return row.returns.note or "none"
    if row.returns.degenerate:
        return "no spread"
    return f"{-row.returns.high:.2f} to {-row.returns.low:.2f}"
