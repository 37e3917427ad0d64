"""The rows of an evaluation as a table for people, who read costs: cost = −return."""

from __future__ import annotations

from fpo_pilot.evidence.evaluation import Evaluation, GoalResult, Row

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
GOAL_COLUMNS = ("controller", "mode", "scenario")


def rows_as_table(evaluation: Evaluation) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return column titles and rows of text, one for each controller, mode and scenario.

    Figures are those behind the shield, where the plant has one. The candidate, in the mode that was chosen, is marked
    with ``→``.
    """
    return COLUMNS, [_row(evaluation, both) for both in _by_controller(evaluation)]


def goals_as_table(evaluation: Evaluation) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return column titles and rows of text: how far each goal of the plant is satisfied, in per cent of its steps.

    Figures are those behind the shield, where the plant has one; no rows for a plant without such goals.
    """
    shown = [both.get(True) or both[False] for both in _by_controller(evaluation)]
    names = tuple(dict.fromkeys(name for row in shown for name in row.goals))
    columns = (*GOAL_COLUMNS, *(f"{name} [%]" for name in names), "episodes")
    if not names:
        return columns, []
    return columns, [
        (*_head(evaluation, row), *(_satisfaction(row.goals.get(name)) for name in names), str(row.n)) for row in shown
    ]


def _by_controller(evaluation: Evaluation) -> list[dict[bool, Row]]:
    found: dict[tuple[str, str, str], dict[bool, Row]] = {}
    for row in evaluation.rows:
        found.setdefault((row.arm, row.mode, row.scenario), {})[row.shield] = row
    return list(found.values())


def _head(evaluation: Evaluation, row: Row) -> tuple[str, str, str]:
    candidate = evaluation.verdict.candidate
    chosen = candidate is not None and (row.arm, row.mode) == (candidate.arm, candidate.mode)
    return f"{'→ ' if chosen else ''}{row.arm}", row.mode or "-", row.scenario


def _satisfaction(goal: GoalResult | None) -> str:
    share = None if goal is None else goal.satisfaction
    if share is None or share.mean is None:
        return "none"
    if share.degenerate or share.low is None or share.high is None:
        return f"{100.0 * share.mean:.1f}"
    return f"{100.0 * share.mean:.1f} ({100.0 * share.low:.1f} to {100.0 * share.high:.1f})"


def _row(evaluation: Evaluation, both: dict[bool, Row]) -> tuple[str, ...]:
    row = both.get(True) or both[False]
    bare = both.get(False)
    return (
        *_head(evaluation, row),
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
