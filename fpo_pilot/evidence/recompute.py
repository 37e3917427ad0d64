"""Recomputes what a run says of itself from its own Parquet files: blocks from steps, verdicts of gates from blocks.

It needs neither torch nor the plant: the limits and gates are those of the safety spec that the manifest carries, checked
against its hash.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ValidationError

from fpo_pilot.errors import LogError
from fpo_pilot.evidence.blocks import Block, judge, read_blocks
from fpo_pilot.logs.fault import Fault
from fpo_pilot.logs.manifest import Manifest
from fpo_pilot.logs.reader import read_steps, read_table
from fpo_pilot.specs.identity import spec_hash
from fpo_pilot.specs.safety import SafetySpec

_TOLERANCE = 1e-5
"""Relative; the step log has rewards in float32, a block sums them in float64."""


def recompute_rollouts(run_dir: Path) -> list[Fault]:
    """Recompute the roll-out of a run and each of its drills; return what does not come out as it was written."""
    folders = [
        path.parent for path in sorted(run_dir.rglob("rollout.json")) if (path.parent / "blocks.parquet").exists()
    ]
    if not folders:
        return []
    manifest = Manifest.read(run_dir)
    try:
        safety = SafetySpec.model_validate(manifest.safety_spec)
    except ValidationError as problem:
        return [Fault("manifest.json", f"no safety spec ({problem.error_count()} errors)", "that of the roll-out")]
    faults: list[Fault] = []
    if spec_hash(safety) != manifest.hashes.get("safety"):
        faults.append(Fault("manifest.json", "a safety spec of another hash", "the one that its hash names"))
    for folder in folders:
        place = folder.relative_to(run_dir)
        try:
            faults += [Fault((place / f.where).as_posix(), f.found, f.expected) for f in _recompute(folder, safety)]
        except LogError as problem:
            faults.append(Fault(place.as_posix(), str(problem), "a roll-out that can be read"))
    return faults


def _recompute(folder: Path, safety: SafetySpec) -> Iterator[Fault]:
    document = json.loads((folder / "rollout.json").read_text("utf-8"))
    blocks = read_blocks(read_table(folder, "blocks.parquet"))
    if document["hashes"]["safety"] != spec_hash(safety):
        # an earlier roll-out, or one of another spec: its gates are not those that are known here
        yield from _blocks(folder, blocks, safety)
        return
    yield from _blocks(folder, blocks, safety)
    yield from _gates(document["gates"], blocks, safety)


def _blocks(folder: Path, blocks: Sequence[Block], safety: SafetySpec) -> Iterator[Fault]:
    """Compare each block with its steps: their number, the return, the steps beyond a hard limit, the interventions."""
    hard = [limit.id for limit in safety.limits if limit.kind == "hard"]
    for stage in dict.fromkeys(block.stage for block in blocks):
        steps = read_steps(folder, stage)
        for block in (one for one in blocks if one.stage == stage):
            rows = steps.filter(pc.equal(steps["block_id"], block.episode))
            where = f"blocks.parquet: block {block.episode}"
            found = _facts(rows, hard)
            if found["steps"] != block.steps:
                yield Fault(where, f"{found['steps']} logged steps", f"{block.steps} as the block says")
            elif not math.isclose(found["return"], block.returned, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE):
                yield Fault(where, f"return {found['return']:.6g} over its steps", f"{block.returned:.6g} as it says")
            elif found["hard"] > block.violations_hard:
                yield Fault(where, f"{found['hard']} steps beyond a hard limit", f"{block.violations_hard} as it says")
            elif found["altered"] != block.interventions:
                yield Fault(where, f"{found['altered']} altered proposals", f"{block.interventions} as it says")


def _facts(rows: pa.Table, hard: Sequence[str]) -> dict[str, Any]:
    beyond = np.zeros(rows.num_rows, dtype=bool)
    for limit in hard:
        name = f"margin.{limit}"
        if name in rows.schema.names:
            beyond |= rows[name].to_numpy() < 0.0
    return {
        "steps": rows.num_rows,
        "return": float(rows["reward.total"].to_numpy().astype(np.float64).sum()),
        "hard": int(beyond.sum()),
        "altered": int(np.asarray(rows["shield.active"].to_pylist(), dtype=bool).sum()),
    }


def _gates(recorded: Sequence[dict[str, Any]], blocks: Sequence[Block], safety: SafetySpec) -> Iterator[Fault]:
    """Judge each rung again on its blocks, and compare with what was recorded when it was left."""
    stages = {stage.name: stage for stage in safety.stages}
    rungs = dict.fromkeys((entry["stage"], float(entry["authority"])) for entry in recorded)
    for name, authority in rungs:
        told = [e for e in recorded if e["stage"] == name and float(e["authority"]) == authority]
        own = [block for block in blocks if block.stage == name and block.authority == authority]
        if name not in stages:
            yield Fault("rollout.json: gates", f"gates of a stage {name!r}", "a stage of the safety spec")
            continue
        again = {result.name: result for result in judge(stages[name], own)}
        for entry in told:
            result = again.get(entry["name"])
            where = f"rollout.json: gates: {entry['name']} ({name} {authority:g})"
            if result is None:
                yield Fault(where, "a gate", "one of the safety spec")
            elif (result.verdict, result.n) != (entry["verdict"], entry["n"]):
                yield Fault(
                    where, f"{result.verdict} on {result.n} blocks", f"{entry['verdict']} on {entry['n']} as recorded"
                )
            elif not _same(result.low, entry["low"]) or not _same(result.high, entry["high"]):
                yield Fault(
                    where, f"limits {result.low} and {result.high}", f"{entry['low']} and {entry['high']} as recorded"
                )


def _same(first: float | None, second: float | None) -> bool:
    if first is None or second is None:
        return first is second
    return math.isclose(first, second, rel_tol=1e-9, abs_tol=1e-12)
