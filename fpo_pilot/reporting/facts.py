"""Figures that several sections need, each computed once: violations, least margins, interventions, faults tested."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from functools import reduce
from operator import and_
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from numpy.typing import NDArray

from fpo_pilot.reporting.labels import candidate_of, candidate_row, judged_shield
from fpo_pilot.reporting.run_folder import Run, numbers, strings
from fpo_pilot.reporting.spec_views import LimitView
from fpo_pilot.reporting.views import EvaluationRowView

RANDOM_ACTIONS = "random-actions"
CHOOSING = ("choice", "choose", "choosing", "selection", "deployment")


@dataclass(frozen=True)
class LeastMargin:
    """The smallest distance to a limit that was seen, and the span it is judged against."""

    limit: LimitView
    value: float
    fraction: float


def worst_candidate_row(run: Run) -> EvaluationRowView | None:
    """The candidate's row (behind the shield, if any) with most violations: the one a decision must rest on."""
    if run.evaluation is None or candidate_of(run.evaluation) is None:
        return None
    arm, mode = candidate_of(run.evaluation) or ("", "")
    on = judged_shield(run.evaluation)
    rows = [row for row in run.evaluation.rows if (row.arm, row.mode, row.shield) == (arm, mode, on)]
    return max(rows, key=lambda row: row.violations.episodes_with, default=candidate_row(run.evaluation))


def least_margins(run: Run) -> tuple[LeastMargin, ...]:
    """For each limit the candidate's least margin behind the shield, smallest share of the signal's range first."""
    evaluation, safety, plant = run.evaluation, run.manifest.safety_spec, run.manifest.plant_spec
    candidate = candidate_of(evaluation) if evaluation is not None else None
    if evaluation is None or safety is None or candidate is None:
        return ()
    found = []
    for limit in safety.limits:
        seen = [
            row.margins_min.get(limit.id)
            for row in evaluation.rows
            if (row.arm, row.mode, row.shield) == (*candidate, judged_shield(evaluation))
        ]
        values = [value for value in seen if value is not None and math.isfinite(value)]
        signal = plant.signals.get(limit.signal)
        if values and signal is not None:
            span = signal.range[1] - signal.range[0]
            found.append(LeastMargin(limit, min(values), min(values) / span if span > 0 else math.nan))
    return tuple(sorted(found, key=lambda margin: (margin.limit.kind != "hard", margin.fraction)))


def has_sensor_fault(run: Run) -> bool:
    """Whether a scenario of the evaluation, its step log, or a drill of the roll-out had a faulty sensor."""
    if run.evaluation is not None and run.evaluation.faulty_scenarios:
        return True
    return any(drill.name != RANDOM_ACTIONS for drill in run.drills) or _bad_quality_logged(run)


def _bad_quality_logged(run: Run) -> bool:
    columns = [f"quality.{name}" for name in run.manifest.plant_spec.signals]
    log = run.steps("offline", columns)
    return log is not None and any((pc.max(column).as_py() or 0) > 0 for column in log.columns)


def scenario_names(run: Run) -> tuple[str, ...]:
    """Conditions that were evaluated, in order."""
    if run.evaluation is None:
        return ()
    return tuple(dict.fromkeys(row.scenario or "nominal" for row in run.evaluation.rows))


def guard_reasons(run: Run) -> tuple[str, ...]:
    """Reasons of the guards that fired in the roll-out, in order."""
    if run.events is None:
        return ()
    kinds, reasons = strings(run.events, "kind"), strings(run.events, "reason")
    return tuple(reason for kind, reason in zip(kinds, reasons, strict=True) if kind == "guard")


def candidate_returns(run: Run) -> NDArray[np.float64]:
    """The candidate's returns behind the shield, all scenarios, from episodes.parquet."""
    if run.episodes is None or run.evaluation is None or candidate_of(run.evaluation) is None:
        return np.array([])
    candidate = candidate_of(run.evaluation)
    arms, modes = strings(run.episodes, "arm"), strings(run.episodes, "mode")
    shields = run.episodes["shield"].to_pylist()
    counted = judged_rows(run.episodes)
    rows = zip(arms, modes, shields, counted, strict=True)
    shield = judged_shield(run.evaluation)
    keep = [(arm, mode) == candidate and bool(on) == shield and judged for arm, mode, on, judged in rows]
    returns = np.array(numbers(run.episodes, "return"), dtype=np.float64)
    chosen: NDArray[np.float64] = returns[np.array(keep, dtype=bool)]
    return chosen


def judged_rows(episodes: pa.Table) -> list[bool]:
    """Which episodes the verdict rests on: those of the offline stage that were not spent on choosing a setting."""
    stages, purposes = strings(episodes, "stage"), strings(episodes, "purpose")
    return [s in ("", "offline") and p not in CHOOSING for s, p in zip(stages, purposes, strict=True)]


def reasons_of_stage(run: Run, stage: str) -> tuple[dict[tuple[str, str], Counter[str]], dict[tuple[str, str], int]]:
    """Count logged steps with each shield reason, and all logged steps, for each (arm, mode) behind the shield."""
    table = run.steps(stage, ["arm", "mode", "shield", "shield.reasons"], None)
    counts: dict[tuple[str, str], Counter[str]] = {}
    steps: dict[tuple[str, str], int] = {}
    if table is None or "shield.reasons" not in table.schema.names:
        return counts, steps
    shields = table["shield"].to_pylist() if "shield" in table.schema.names else [True] * table.num_rows
    rows = zip(strings(table, "arm"), strings(table, "mode"), shields, table["shield.reasons"].to_pylist(), strict=True)
    for arm, mode, on, reasons in rows:
        if not on:
            continue
        steps[arm, mode] = steps.get((arm, mode), 0) + 1
        counter = counts.setdefault((arm, mode), Counter())
        counter.update(sorted({_code(reason) for reason in reasons or ()}))
    return counts, steps


def _code(reason: Any) -> str:
    """A reason is a code, or a record whose first text is the code."""
    if isinstance(reason, dict):
        return next((str(value) for value in reason.values() if value), "?")
    return str(reason)


def only_rows(**equal: object) -> ds.Expression:
    """A filter for a step log: every named column equals its value."""
    return reduce(and_, (ds.field(name) == value for name, value in equal.items()))
