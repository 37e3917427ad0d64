"""Recomputes what a run says of itself from its own Parquet files: blocks from steps, gates and transitions from blocks.

It needs neither torch nor the plant: the limits and gates are those of the safety spec that the manifest carries, checked
against its hash.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ValidationError

from fpo_pilot.errors import LogError
from fpo_pilot.evidence.blocks import Block, read_blocks
from fpo_pilot.evidence.interval import Floats
from fpo_pilot.evidence.recompute_stages import stage_faults
from fpo_pilot.evidence.rollout import FILE, RolloutRecord, read_rollout
from fpo_pilot.logs.fault import Fault
from fpo_pilot.logs.ledger import file_hash
from fpo_pilot.logs.manifest import FILE as MANIFEST
from fpo_pilot.logs.manifest import Manifest
from fpo_pilot.logs.reader import read_events, read_steps, read_table, stages
from fpo_pilot.specs.identity import spec_hash
from fpo_pilot.specs.safety import SafetySpec, StageName

BLOCKS = "blocks.parquet"
WEIGHTS = "checkpoints/best.safetensors"
_TOLERANCE = 1e-5
"""Relative; the step log has rewards and actions in float32, a block sums them in float64."""
_SPANS = 1e-4
"""Of a distance in spans of an actuator, for the same reason."""


def recompute_weights(run_dir: Path) -> list[Fault]:
    """Compare the deployed weights with the hash that the manifest has of them."""
    path = run_dir / WEIGHTS
    if not (run_dir / MANIFEST).exists():
        return [Fault(MANIFEST, "no file", "the manifest of the run")] if path.exists() else []
    try:
        told = Manifest.read(run_dir).hashes.get("model")
    except LogError as problem:
        return [Fault(MANIFEST, str(problem), "a manifest that can be read")]
    if not path.exists():
        return [] if told is None else [Fault(WEIGHTS, "no file", f"weights of SHA-256 {told[:16]}…")]
    digest, _ = file_hash(path)
    if digest == told:
        return []
    return [Fault(WEIGHTS, f"SHA-256 {digest[:16]}…", f"{(told or 'none')[:16]}… as the manifest says")]


def recompute_rollouts(run_dir: Path) -> list[Fault]:
    """Recompute the roll-out of a run and each of its drills; return what does not come out as it was written."""
    folders = sorted({path.parent for name in (FILE, BLOCKS) for path in run_dir.rglob(name)})
    if not folders:
        return []
    try:
        manifest = Manifest.read(run_dir)
        safety = SafetySpec.model_validate(manifest.safety_spec)
    except LogError as problem:
        return [Fault(MANIFEST, str(problem), "a manifest that can be read")]
    except ValidationError as problem:
        return [Fault(MANIFEST, f"no safety spec ({problem.error_count()} errors)", "that of the roll-out")]
    faults: list[Fault] = []
    if spec_hash(safety) != manifest.hashes.get("safety"):
        faults.append(Fault(MANIFEST, "a safety spec of another hash", "the one that its hash names"))
    for folder in folders:
        place = folder.relative_to(run_dir)
        is_earlier = place.parts[:1] == ("earlier",)
        try:
            found = [*_recompute(folder, safety, manifest, is_earlier=is_earlier)]
        except (LogError, KeyError, ValueError, TypeError, pa.ArrowException) as problem:
            told = f"what cannot be recomputed ({type(problem).__name__}: {str(problem).splitlines()[0]})"
            faults.append(Fault(place.as_posix(), told, "a roll-out of this release"))
            continue
        faults += [Fault((place / f.where).as_posix(), f.found, f.expected) for f in found]
    return faults


def _recompute(folder: Path, safety: SafetySpec, manifest: Manifest, *, is_earlier: bool) -> Iterator[Fault]:
    path = folder / FILE
    if not path.exists():  # a crash cut it short: it claims nothing, but its blocks must be what the steps say
        yield from _blocks(folder, read_blocks(read_table(folder, BLOCKS)), safety)
        return
    if not (folder / BLOCKS).exists():
        yield Fault(BLOCKS, "no file", f"the blocks on which {FILE} rests")
        return
    record = read_rollout(path)
    blocks = read_blocks(read_table(folder, BLOCKS))
    events = read_events(folder)
    if not is_earlier:
        for name in ("model", "plant", "safety"):
            known = manifest.hashes.get(name)
            if known is not None and record.hashes.get(name) != known:
                told = f"a roll-out with {name} {(record.hashes.get(name) or 'none')[:16]}…"
                yield Fault(FILE, told, f"{known[:16]}… as in the manifest")
    own = safety
    if record.hashes.get("safety") != spec_hash(safety):  # of an earlier training of this run, or of no one's
        if record.safety_spec is None or spec_hash(record.safety_spec) != record.hashes.get("safety"):
            yield Fault(FILE, "gates of a safety spec that is not here", "the spec that its hash names")
            return
        own = record.safety_spec
    yield from _blocks(folder, blocks, own)
    yield from _whole(folder, blocks, record)
    yield from stage_faults(record, blocks, events, own)


def _whole(folder: Path, blocks: Sequence[Block], record: RolloutRecord) -> Iterator[Fault]:
    """Check that blocks follow each other without a gap, and that every step is of one of them and of the same specs."""
    if [block.episode for block in blocks] != list(range(record.episodes)):
        yield Fault(BLOCKS, f"{len(blocks)} blocks", f"{record.episodes} without a gap, as {FILE} says")
    cycle = 0
    for block in blocks:
        if block.seq != cycle:
            yield Fault(f"{BLOCKS}: block {block.episode}", f"a start at cycle {block.seq}", f"{cycle}")
            break
        cycle += block.steps
    known = {(block.stage, block.episode) for block in blocks}
    for stage in (one for one in stages(folder) if one in get_args(StageName)):
        steps = read_steps(folder, stage)
        loose = [number for number in pc.unique(steps["block_id"]).to_pylist() if (stage, number) not in known]
        if loose:
            yield Fault(f"steps/stage={stage}", f"steps of block {loose[0]}", f"one of {BLOCKS}")
        for name, told in record.hashes.items():
            found = set(pc.unique(steps[f"{name}_hash"]).to_pylist())
            if found - {told}:
                yield Fault(f"steps/stage={stage}", f"steps with another {name}", f"{told[:16]}… as {FILE} says")


def _blocks(folder: Path, blocks: Sequence[Block], safety: SafetySpec) -> Iterator[Fault]:
    """Compare each block with its steps: number, return, violations, interventions, authority, agreement."""
    bands: dict[str, float] = {stage.name: stage.agreement_band for stage in safety.stages}
    for stage in dict.fromkeys(block.stage for block in blocks):
        steps = read_steps(folder, stage)
        for block in (one for one in blocks if one.stage == stage):
            rows = steps.filter(pc.equal(steps["block_id"], block.episode))
            trouble = _block_trouble(block, _facts(rows, safety), bands.get(stage, 1.0))
            if trouble is not None:
                yield Fault(f"{BLOCKS}: block {block.episode}", *trouble)


def _block_trouble(block: Block, found: dict[str, Any], band: float) -> tuple[str, str] | None:
    """Return what the steps say and what the block says, of the first thing that differs."""
    if found["steps"] != block.steps:
        return f"{found['steps']} logged steps", f"{block.steps} as the block says"
    if not _close(found["return"], block.returned, _TOLERANCE):
        return f"return {found['return']:.6g} over its steps", f"{block.returned:.6g} as it says"
    if found["hard"] > block.violations_hard:
        return f"{found['hard']} steps beyond a hard limit", f"{block.violations_hard} as it says"
    if found["altered"] != block.interventions:
        return f"{found['altered']} altered proposals", f"{block.interventions} as it says"
    if found["arms"] != {block.arm}:
        return f"steps driven by {', '.join(sorted(found['arms']))}", f"{block.arm} as it says"
    allowed = block.authority if block.arm == "policy" else 0.0
    if found["authority"] > allowed + 1e-6:
        return f"authority {found['authority']:g} in a step", f"at most {allowed:g}"
    distance, told = found["distance"], block.distance
    if not _close(distance, told, _SPANS):
        return f"a distance of {distance:.6g} spans over its steps", f"{told:.6g} as it says"
    if block.outside_band != int(not told <= band):
        return f"outside_band {block.outside_band}", f"{int(not told <= band)} for a distance of {told:.6g}"
    return None


def _close(first: float, second: float, slack: float) -> bool:
    """Tell whether two numbers are one; NaN is NaN."""
    lost = math.isnan(first) and math.isnan(second)
    return lost or math.isclose(first, second, rel_tol=_TOLERANCE, abs_tol=slack)


def _facts(rows: pa.Table, safety: SafetySpec) -> dict[str, Any]:
    beyond = np.zeros(rows.num_rows, dtype=bool)
    for limit in (one for one in safety.limits if one.kind == "hard"):
        name = f"margin.{limit.id}"
        if name in rows.schema.names:
            beyond |= rows[name].to_numpy() < 0.0
    return {
        "steps": rows.num_rows,
        "return": float(rows["reward.total"].to_numpy().astype(np.float64).sum()),
        "hard": int(beyond.sum()),
        "altered": int(np.asarray(rows["shield.active"].to_pylist(), dtype=bool).sum()),
        "arms": set(pc.unique(pc.cast(rows["arm"], pa.string())).to_pylist()),
        "authority": float(np.max(_floats(rows, "authority"), initial=0.0)),
        "distance": _distance(rows, safety),
    }


def _distance(rows: pa.Table, safety: SafetySpec) -> float:
    """Return how far the proposals, cut to the limits, were from the incumbent: root mean square over the rows, in spans."""
    squares = []
    for name, action in safety.actions.items():
        asked, proposed = _floats(rows, f"act.incumbent.{name}"), _floats(rows, f"act.proposed.{name}")
        squares.append(np.square((np.clip(proposed, action.low, action.high) - asked) / (action.high - action.low)))
    return float(np.sqrt(np.mean(np.stack(squares)))) if rows.num_rows else math.nan


def _floats(rows: pa.Table, name: str) -> Floats:
    return np.asarray(rows[name].to_numpy(), dtype=np.float64)
