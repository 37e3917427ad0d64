"""Recomputes what an evaluation chose and kept: the deployment from selection.parquet, and the worst episodes with their steps."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from fpo_pilot.errors import LogError
from fpo_pilot.evidence.choice import Scored, best_of
from fpo_pilot.evidence.episodes import LOGGED, alike, column, estimate_of, same_estimate, texts, violated
from fpo_pilot.evidence.evaluation import Choice, ChosenDeployment, Estimate, Evaluation
from fpo_pilot.evidence.worst import FILE as WORST
from fpo_pilot.evidence.worst import STEPS, Worst, read_worst, worst_of
from fpo_pilot.logs.fault import Fault
from fpo_pilot.logs.reader import read_table

SELECTION = "selection.parquet"


def choice_faults(evaluation: Evaluation, run_dir: Path) -> Iterator[Fault]:
    """Compare every deployment that was tried with its episodes, and choose again.

    Raises:
        LogError: a table cannot be read.
    """
    modes: dict[str, set[str]] = {}
    for row in evaluation.rows:
        if row.arm in evaluation.deployments:
            modes.setdefault(row.arm, set()).add(row.mode)
    tried = {arm: {one.label for one in chosen.chosen_from} for arm, chosen in evaluation.deployments.items()}
    for arm, chosen in evaluation.deployments.items():
        reported = modes.get(arm, set())
        if len(reported) > 1 and tried[arm] != reported:
            found = f"{arm} chosen from {', '.join(sorted(tried[arm])) or 'nothing'}"
            yield Fault("evaluation.json: deployments", found, f"from {', '.join(sorted(reported))}, which have rows")
        if reported and chosen.label not in reported:
            yield Fault("evaluation.json: deployments", f"{arm} with {chosen.label}", "one that has rows")
    if not any(tried.values()):
        return
    selection = read_table(run_dir, SELECTION)
    known = {(arm, label) for arm, labels in tried.items() for label in labels}
    for arm, label in sorted(set(zip(texts(selection, "arm"), texts(selection, "mode"), strict=True)) - known):
        yield Fault(SELECTION, f"episodes of {arm} with {label}", "those of deployments in evaluation.json")
    for chosen in evaluation.deployments.values():
        yield from _one_choice(evaluation, chosen, selection)


def _one_choice(evaluation: Evaluation, chosen: ChosenDeployment, selection: pa.Table) -> Iterator[Fault]:
    scored = []
    for one in chosen.chosen_from:
        where = f"evaluation.json: deployments: {chosen.arm} with {one.label}"
        own = selection.filter(pc.and_(_is(selection, "arm", chosen.arm), _is(selection, "mode", one.label)))
        scenarios = set(texts(own, "scenario"))
        if scenarios != set(evaluation.scenarios) or own.num_rows != one.n:
            found = f"{own.num_rows} episodes in {', '.join(sorted(scenarios)) or 'no scenario'}"
            yield Fault(where, found, f"{one.n} in {', '.join(evaluation.scenarios)}")
            return
        values = column(own, "return")
        told = _estimate(one)
        certain = told.low == told.high and all(
            alike(column(own.filter(_is(own, "scenario", name)), "return")) for name in scenarios
        )
        again = estimate_of(values, evaluation.confidence, evaluation.seed, certain=certain)
        if not same_estimate(again, told):
            found, recorded = (f"{each.mean} ({each.low} to {each.high})" for each in (again, told))
            yield Fault(where, f"a return of {found}", f"{recorded} as recorded")
        scored.append(Scored(float(values.mean()), violated(own), one.noise_scale))
    if scored:
        best = chosen.chosen_from[best_of(scored).index]
        if (best.label, best.noise_scale) != (chosen.label, chosen.noise_scale):
            where = f"evaluation.json: deployments: {chosen.arm}"
            yield Fault(where, f"{best.label}, by its episodes", f"{chosen.label} as recorded")


def worst_faults(evaluation: Evaluation, episodes: pa.Table, run_dir: Path) -> Iterator[Fault]:
    """Look for the worst episodes again, and compare with worst.json and with the steps in worst.parquet.

    Raises:
        LogError: a table cannot be read.
    """
    chosen = evaluation.deployment
    own = episodes.slice(0, 0)
    if chosen is not None:
        keep = pc.and_(_is(episodes, "arm", chosen.arm), _is(episodes, "mode", chosen.label))
        own = episodes.filter(pc.and_(keep, episodes["shield"]))
    again = worst_of([own])
    try:
        told = read_worst(run_dir).episodes
    except LogError as problem:
        yield Fault(WORST, str(problem), "the worst episodes")
        return
    if [_facts(one) for one in again] != [_facts(one) for one in told]:
        ids = ", ".join(one.id for one in again) or "none"
        yield Fault(WORST, f"{ids}, by the episodes", f"{', '.join(one.id for one in told) or 'none'} as recorded")
        return
    steps = read_table(run_dir, STEPS)
    if steps.num_rows != sum(one.steps for one in told):
        yield Fault(STEPS, f"{steps.num_rows} steps", f"{sum(one.steps for one in told)} of {len(told)} episodes")
        return
    for one in told:
        rows = steps.filter(pc.and_(_is(steps, "cell", one.cell), pc.equal(steps["episode_id"], one.episode)))
        total = float(column(rows, "reward.total").sum())
        if rows.num_rows != one.steps:
            yield Fault(f"{STEPS}: {one.id}", f"{rows.num_rows} steps", f"{one.steps} as the episode says")
        elif not math.isclose(total, one.returned, rel_tol=LOGGED, abs_tol=LOGGED):
            yield Fault(f"{STEPS}: {one.id}", f"return {total:.6g} over its steps", f"{one.returned:.6g}")


def _facts(one: Worst) -> tuple[object, ...]:
    return tuple(one.model_dump().values())


def _estimate(one: Choice) -> Estimate:
    return Estimate(mean=one.mean, low=one.low, high=one.high, n=one.n)


def _is(table: pa.Table, name: str, value: str) -> pa.ChunkedArray:
    return pc.equal(pa.array(texts(table, name), pa.string()), value)
