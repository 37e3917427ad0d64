"""The rows of an evaluation as a table for people, who read costs: cost = −return."""

from __future__ import annotations

from fpo_pilot.evaluate.results import Evaluation, Row

COLUMNS = (
    "controller",
    "mode",
    "scenario",
    "cost",
    "interval",
    "cost without shield",
    "episodes",
    "with violation",
    "interventions per 100 steps",
)


def rows_as_table(evaluation: Evaluation) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return column titles and rows of text, one for each controller, mode and scenario.

    Figures are those behind the shield, where the plant has one. The candidate, in the mode that was chosen, is marked
    with ``→``.
    """
    found: dict[tuple[str, str, str], dict[bool, Row]] = {}
    for row in evaluation.rows:
        found.setdefault((row.arm, row.mode, row.scenario), {})[row.shield] = row
    return COLUMNS, [_row(evaluation, both) for both in found.values()]


def _row(evaluation: Evaluation, both: dict[bool, Row]) -> tuple[str, ...]:
    row = both.get(True) or both[False]
    bare = both.get(False)
    candidate = evaluation.verdict.candidate
    chosen = candidate is not None and (row.arm, row.mode) == (candidate.arm, candidate.mode)
    return (
        f"{'→ ' if chosen else ''}{row.arm}",
        row.mode or "-",
        row.scenario,
        _cost(row),
        _interval(row),
        "-" if bare is None else _cost(bare),
        str(row.n),
        f"{row.violations.episodes_with} of {row.violations.n}",
        f"{row.interventions_per_100_steps:.3g}",
    )


def _cost(row: Row) -> str:
    return "none" if row.returns.mean is None else f"{-row.returns.mean:.2f}"


def _interval(row: Row) -> str:
    if row.returns.low is None or row.returns.high is None:
        return row.returns.note or "none"
    if row.returns.degenerate:
        return "no spread"
    return f"{-row.returns.high:.2f} to {-row.returns.low:.2f}"
