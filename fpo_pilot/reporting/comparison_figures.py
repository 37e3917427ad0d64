"""Figures that compare algorithms over tasks and seeds: intervals, profiles, scores over steps and over time.

They draw the tables of :mod:`fpo_pilot.evidence.comparison_tables` and compute nothing. An algorithm keeps its colour,
dash and marker in all of them if all are given the same order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import get_args

import pandas as pd

from fpo_pilot.errors import ReportError
from fpo_pilot.reporting.drawing import IntervalRow, Intervals, Panel, Panels, Role, Series
from fpo_pilot.reporting.labels import arm_label
from fpo_pilot.reporting.page import Figure, Source
from fpo_pilot.reporting.phrases import Message, Phrase, declared, say

ROLES: tuple[Role, ...] = tuple(role for role in get_args(Role) if role.startswith("algorithm_"))
LONGEST = 32
"""Characters of a name; with the words around it a longer one would leave the canvas."""
_FACTS = ("algorithm", "low", "high", "runs", "tasks", "confidence")


def interval_figure(
    table: pd.DataFrame,
    *,
    order: Sequence[str] | None = None,
    sources: tuple[Source, ...] = (),
    notes: tuple[Phrase, ...] = (),
) -> Figure:
    """Draw the interquartile mean of each algorithm with its interval.

    Args:
        table: of ``interval_table``: columns ``algorithm``, ``score``, ``low``, ``high``, ``runs``, ``tasks``,
            ``confidence``; one row an algorithm.
        order: of the algorithms, for lines and legend; that of the table if left out.
        sources: where the numbers come from.
        notes: more to say below, such as policy mode and shield.
    """
    names = _names(table, order, ("score",))
    labels = _labels(names)
    rows = []
    for name, role in zip(names, ROLES, strict=False):
        found = table[table["algorithm"] == name].iloc[0]
        rows.append(IntervalRow(labels[name], float(found["score"]), float(found["low"]), float(found["high"]), role))
    return Figure(
        id="comparison-intervals",
        caption=_with_facts("comparison.intervals_caption", table),
        description=say("comparison.intervals_description", count=len(rows)),
        drawing=Intervals(say("comparison.score"), tuple(rows)),
        sources=sources,
        notes=(say("comparison.note_scale"), *_missing(table, labels), *notes),
    )


def profile_figure(
    table: pd.DataFrame,
    *,
    order: Sequence[str] | None = None,
    sources: tuple[Source, ...] = (),
    notes: tuple[Phrase, ...] = (),
) -> Figure:
    """Draw performance profiles: the share of runs above each score.

    Args:
        table: of ``profile_table``: columns ``algorithm``, ``threshold``, ``share``, ``low``, ``high``, ``runs``,
            ``tasks``, ``confidence``.
        order: see :func:`interval_figure`.
        sources: where the numbers come from.
        notes: more to say below.
    """
    labels = _labels(_names(table, order, ("threshold", "share")))
    series = _series(table, labels, "threshold", "share", held=True)
    return Figure(
        id="comparison-profile",
        caption=_with_facts("comparison.profile_caption", table),
        description=say("comparison.profile_description", count=len(series)),
        drawing=Panels(say("comparison.threshold"), (Panel(say("comparison.share"), series),)),
        sources=sources,
        # at its ends a profile is 1 and 0 in every bootstrap sample: only the one-seed note says anything here
        notes=(say("comparison.note_scale"), say("comparison.note_pointwise"), *_one_seed(table, labels), *notes),
    )


def sample_efficiency_figure(
    table: pd.DataFrame,
    *,
    order: Sequence[str] | None = None,
    sources: tuple[Source, ...] = (),
    notes: tuple[Phrase, ...] = (),
) -> Figure:
    """Draw the interquartile mean over training steps.

    Args:
        table: of ``sample_efficiency``: columns ``algorithm``, ``steps``, ``score``, ``low``, ``high``, ``runs``,
            ``tasks``, ``confidence``.
        order: see :func:`interval_figure`.
        sources: where the numbers come from.
        notes: more to say below.
    """
    labels = _labels(_names(table, order, ("steps", "score")))
    series = _series(table, labels, "steps", "score", scale=1e-3)
    return _learning_figure("samples", table, labels, series, say("figure.steps"), sources, notes)


def wall_clock_figure(
    table: pd.DataFrame,
    *,
    order: Sequence[str] | None = None,
    sources: tuple[Source, ...] = (),
    notes: tuple[Phrase, ...] = (),
) -> Figure:
    """Draw the interquartile mean over the time of training.

    Args:
        table: of ``wall_clock_efficiency``: columns ``algorithm``, ``seconds``, ``score``, ``low``, ``high``,
            ``runs``, ``tasks``, ``confidence``.
        order: see :func:`interval_figure`.
        sources: where the numbers come from.
        notes: more to say below, such as the machine.
    """
    labels = _labels(_names(table, order, ("seconds", "score")))
    unit, seconds = _time_unit(float(table["seconds"].max()))
    series = _series(table, labels, "seconds", "score", scale=1.0 / seconds)
    return _learning_figure("clock", table, labels, series, say("comparison.seconds", unit=unit), sources, notes)


def _learning_figure(
    name: str,
    table: pd.DataFrame,
    labels: dict[str, Phrase],
    series: tuple[Series, ...],
    axis: Phrase,
    sources: tuple[Source, ...],
    notes: tuple[Phrase, ...],
) -> Figure:
    """A figure of scores over ``axis``, whose texts are under ``comparison.NAME_…``."""
    return Figure(
        id=f"comparison-{name}",
        caption=_with_facts(f"comparison.{name}_caption", table),
        description=say(f"comparison.{name}_description", count=len(series)),
        drawing=Panels(axis, (Panel(say("comparison.score"), series),)),
        sources=sources,
        notes=(*_curve_notes(), *_one_seed(table, labels), *notes),
    )


def _names(table: pd.DataFrame, order: Sequence[str] | None, needed: Sequence[str]) -> tuple[str, ...]:
    """The algorithms in their order.

    Raises:
        ReportError: a column is missing, there is no row, or there are more algorithms than can be told apart.
    """
    missing = [name for name in (*_FACTS, *needed) if name not in table.columns]
    if missing or table.empty:
        found = f"no column {', '.join(missing)}" if missing else "no row"
        raise ReportError(
            f"comparison: found {found}, expected a table of fpo_pilot.evidence.comparison_tables. Make it there."
        )
    present = [str(name) for name in table["algorithm"].unique()]
    names = tuple(present if order is None else (name for name in order if name in present))
    unnamed = [name for name in present if name not in names]
    if unnamed:
        raise ReportError(
            f"comparison: found {', '.join(unnamed)} in the table but not in the order, expected all of them. Add them."
        )
    if len(names) > len(ROLES):
        raise ReportError(
            f"comparison: found {len(names)} algorithms, expected {len(ROLES)} or fewer: more lines cannot be told "
            "apart. Draw them in several figures."
        )
    return names


def _labels(names: Sequence[str]) -> dict[str, Phrase]:
    """Labels of algorithms, short enough for the canvas and each once."""
    labels: dict[str, Phrase] = {}
    taken: list[str] = []
    for name in names:
        short = name if len(name) <= LONGEST else f"{name[: LONGEST - 10]}…{name[-9:]}"
        taken.append(short)
        labels[name] = arm_label(short if taken.count(short) == 1 else f"{short} ({taken.count(short)})")
    return labels


def _series(
    table: pd.DataFrame, labels: dict[str, Phrase], x: str, y: str, *, scale: float = 1.0, held: bool = False
) -> tuple[Series, ...]:
    """A line for each algorithm, with its band where it has limits."""
    lines = []
    for (name, label), role in zip(labels.items(), ROLES, strict=False):
        rows = table[table["algorithm"] == name].sort_values(x)
        places, values, low, high = (tuple(rows[column].astype(float)) for column in (x, y, "low", "high"))
        band = all(math.isfinite(limit) for limit in (*low, *high))
        lines.append(
            Series(
                label,
                tuple(scale * place for place in places),
                values,
                role,
                held=held,
                points=True,
                low=low if band else (),
                high=high if band else (),
            )
        )
    return tuple(lines)


def _with_facts(key: str, table: pd.DataFrame) -> Phrase:
    """A caption with the confidence and what it all stands on."""
    runs = table.groupby("algorithm")["runs"].first()
    least, most = int(runs.min()), int(runs.max())
    said = (
        say("comparison.runs_equal", count=least)
        if least == most
        else say("comparison.runs_differ", least=least, most=most)
    )
    confidence = declared(round(100.0 * float(table["confidence"].iloc[0]), 6), "%")
    return Message(key, {"confidence": confidence, "runs": said, "tasks": declared(int(table["tasks"].iloc[0]))})


def _curve_notes() -> tuple[Phrase, ...]:
    return say("comparison.note_scale"), say("comparison.note_last"), say("comparison.note_pointwise")


def _one_seed(table: pd.DataFrame, labels: dict[str, Phrase]) -> tuple[Phrase, ...]:
    """Say of which algorithms no limits can be had."""
    absent = table[table["low"].isna()]["algorithm"].unique()
    return tuple(say("comparison.note_one_seed", algorithm=label) for name, label in labels.items() if name in absent)


def _missing(table: pd.DataFrame, labels: dict[str, Phrase]) -> tuple[Phrase, ...]:
    """Say of which algorithms the interval is absent, and of which it is a point."""
    flat = table[(table["high"] - table["low"]) <= 1e-9 * table["score"].abs().clip(lower=1.0)]["algorithm"].unique()
    points = tuple(say("comparison.note_no_spread", algorithm=label) for name, label in labels.items() if name in flat)
    return _one_seed(table, labels) + points


def _time_unit(longest: float) -> tuple[str, float]:
    """Unit of time and its seconds, for an axis that ends at ``longest`` seconds."""
    if longest < 600.0:
        return "s", 1.0
    return ("min", 60.0) if longest < 3.0 * 3600.0 else ("h", 3600.0)
