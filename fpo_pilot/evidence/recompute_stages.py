"""Compares what a roll-out decided with what follows from its blocks: gates, transitions, where it ended, and the figures of its report."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from fpo_pilot.evidence.blocks import Block, key_figures
from fpo_pilot.evidence.interval import same
from fpo_pilot.evidence.ladder import Climb, climb
from fpo_pilot.evidence.rollout import FILE, RolloutRecord, ToldGate, ToldInterval
from fpo_pilot.logs.atomic import without_nan
from fpo_pilot.logs.fault import Fault
from fpo_pilot.specs.safety import SafetySpec

EVENTS = "events.parquet"


def stage_faults(
    record: RolloutRecord, blocks: Sequence[Block], events: pa.Table, safety: SafetySpec
) -> Iterator[Fault]:
    """Climb again, and compare with rollout.json and events.parquet.

    Args:
        record: what rollout.json says.
        blocks: that were compared with their steps.
        events: of the roll-out.
        safety: the spec whose gates bind.
    """
    rows = events.to_pylist()
    guarded: dict[int, str] = {}
    for row in rows:
        if row["kind"] == "guard":
            guarded.setdefault(row["episode"], row["reason"])
    again = climb(safety, blocks, guarded)
    for number, found, expected in again.trouble:
        yield Fault(f"blocks.parquet: block {blocks[number].episode}", found, expected)
    yield from _gates(record.gates, again)
    yield from _transitions(record, again)
    yield from _events(record, rows)
    yield from _figures(record, blocks)


def _gates(recorded: Sequence[ToldGate], again: Climb) -> Iterator[Fault]:
    """Compare each gate of each rung that was left, or stood on in the end, with what its blocks say."""
    told = {(one.stage, one.authority, one.name): one for one in recorded}
    due = {(one.stage, one.authority, one.result.name): one.result for one in again.judged}
    if len(told) != len(recorded):
        yield Fault(f"{FILE}: gates", "a gate twice", "each once a rung")
    for (stage, authority, name), result in due.items():
        where = f"{FILE}: gates: {name} ({stage} {authority:g})"
        entry = told.get((stage, authority, name))
        if entry is None:
            yield Fault(where, "no such gate", f"{result.verdict} on {result.n} blocks: the rung was visited")
        elif (result.verdict, result.n) != (entry.verdict, entry.n):
            found = f"{result.verdict} on {result.n} blocks"
            yield Fault(where, found, f"{entry.verdict} on {entry.n} as recorded")
        elif not same(result.low, entry.low) or not same(result.high, entry.high):
            found = f"limits {result.low} and {result.high}"
            yield Fault(where, found, f"{entry.low} and {entry.high} as recorded")
        elif not same(result.value, entry.value) or not same(result.e_value, entry.e_value):
            found = f"a value of {result.value} and evidence {result.e_value}"
            yield Fault(where, found, f"{entry.value} and {entry.e_value} as recorded")
        elif entry.correlation is not None and not same(result.correlation, entry.correlation):
            yield Fault(where, f"neighbours that correlate by {result.correlation}", f"{entry.correlation} as recorded")
        elif (result.kind, result.criterion, result.mode) != (entry.kind, entry.criterion, entry.mode):
            yield Fault(where, f"{result.criterion} ({result.mode})", f"{entry.criterion} ({entry.mode}) as recorded")
    for stage, authority, name in told.keys() - due.keys():
        yield Fault(f"{FILE}: gates: {name} ({stage} {authority:g})", "no blocks for it", "a rung that was visited")


def _transitions(record: RolloutRecord, again: Climb) -> Iterator[Fault]:
    told = [(t.episode, t.from_stage, t.to_stage, t.authority_from, t.authority) for t in record.transitions]
    due = [(c.episode, c.from_stage, c.to_stage, c.authority_from, c.authority_to) for c in again.changes]
    if told != due:
        found = "; ".join(map(str, again.changes)) or "no transition"
        yield Fault(f"{FILE}: transitions", f"{found}, by the blocks", f"the {len(told)} as recorded")
    if (record.final_stage, record.final_authority) != (again.stage, again.authority):
        found = f"an end in {again.stage} with authority {again.authority:g}, by the blocks"
        yield Fault(f"{FILE}: final_stage", found, f"{record.final_stage} with {record.final_authority:g} as recorded")


def _events(record: RolloutRecord, rows: Sequence[dict[str, Any]]) -> Iterator[Fault]:
    """Compare rollout.json with the events: both say what happened, and must say the same."""
    of_kind = {kind: [row for row in rows if row["kind"] == kind] for kind in ("transition", "guard", "gate")}
    changes = [{**t.model_dump(exclude={"authority"}), "authority_to": t.authority} for t in record.transitions]
    pairs = (
        ("transition", changes, of_kind["transition"]),
        ("guard", [guard.model_dump() for guard in record.guards], of_kind["guard"]),
        ("gate", [_gate_event(gate) for gate in record.gates], [_gate_of(row) for row in of_kind["gate"]]),
    )
    for kind, told, found in pairs:
        kept = [{key: row.get(key) for key in mine} for row, mine in zip(found, told, strict=False)]
        if len(found) != len(told) or not all(_equal(a, b) for a, b in zip(kept, told, strict=True)):
            yield Fault(EVENTS, f"{len(found)} events of kind {kind}", f"the {len(told)} of {FILE}")
    for name, value in record.hashes.items():
        if any(row[f"{name}_hash"] != value for row in rows):
            yield Fault(EVENTS, f"events with another {name}", f"{value[:16]}… as {FILE} says")


def _gate_event(gate: ToldGate) -> dict[str, Any]:
    return {"stage": gate.stage, "authority": gate.authority, **gate.model_dump(exclude={"stage", "authority"})}


def _gate_of(row: dict[str, Any]) -> dict[str, Any]:
    detail = json.loads(row["detail"])
    return {"stage": row["from_stage"], "authority": row["authority_from"], **detail}


def _equal(first: dict[str, Any], second: dict[str, Any]) -> bool:
    """Tell whether two records are the same; a number that does not exist is NaN in one file and null in the other."""
    return all(without_nan(first.get(key)) == without_nan(value) for key, value in second.items())


def _figures(record: RolloutRecord, blocks: Sequence[Block]) -> Iterator[Fault]:
    """Compare the key figures of each stage, which a report shows."""
    names = [block.stage for block in blocks]
    counts = {stage: names.count(stage) for stage in dict.fromkeys(names)}
    if record.blocks != counts:
        yield Fault(f"{FILE}: blocks", f"{counts}", f"{record.blocks} as recorded")
    if record.kpi.keys() != counts.keys():
        yield Fault(f"{FILE}: kpi", f"stages {', '.join(counts)}", f"{', '.join(record.kpi)} as recorded")
        return
    for stage in counts:
        for name, figure in key_figures([block for block in blocks if block.stage == stage]).items():
            told = record.kpi[stage].get(name)
            found = None if figure is None else ToldInterval.model_validate(without_nan(figure))
            if not _same_interval(found, told):
                yield Fault(f"{FILE}: kpi: {stage}: {name}", f"{found}", f"{told} as recorded")


def _same_interval(first: ToldInterval | None, second: ToldInterval | None) -> bool:
    if first is None or second is None:
        return first is second
    numbers = ((first.mean, second.mean), (first.low, second.low), (first.high, second.high))
    return first.n == second.n and all(same(*pair) for pair in numbers)
