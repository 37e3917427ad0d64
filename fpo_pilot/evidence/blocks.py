"""The unit of evidence of a roll-out: a block, here one episode, and what the gates of a stage make of blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import fields as dataclass_fields
from typing import Any

import pyarrow as pa

from fpo_pilot.evidence.gates import GateResult, difference_gate_on_blocks, rate_gate_on_blocks
from fpo_pilot.evidence.statistics import bootstrap_interval
from fpo_pilot.specs.safety import RateGate, Stage

EVENTS = {
    "hard_violation": "violations_hard",
    "outside_band": "outside_band",
    "intervention": "interventions",
    "infeasible": "infeasible",
}
"""What a rate gate counts, and the attribute of a block that has it."""


@dataclass(frozen=True)
class Block:
    """One finished episode. Counts are of control cycles, unless they say otherwise."""

    seq: int
    stage: str
    rung: int
    authority: float
    arm: str
    """Who drove: ``incumbent`` or ``policy``."""
    pair: int | None
    """Number of the switchback pair, where there is one."""
    episode: int
    steps: int
    returned: float
    violations_hard: int
    interventions: int
    """Cycles in which the shield altered the policy's proposal, whoever drove."""
    distance: float
    """Root mean square over the block of the distance between proposal and incumbent, in spans."""
    outside_band: int
    """1 if that distance is beyond the agreement band of the stage, or is not a number."""
    infeasible: int
    latency_us_p99: float

    def had(self, event: str) -> bool:
        """Say whether the event of a rate gate happened in this block."""
        return bool(getattr(self, EVENTS[event]) > 0)


def blocks_table(blocks: Sequence[Block]) -> pa.Table:
    """Return blocks.parquet."""
    columns = {
        "seq": pa.array([b.seq for b in blocks], pa.int64()),
        "stage": pa.array([b.stage for b in blocks], pa.string()),
        "rung": pa.array([b.rung for b in blocks], pa.int32()),
        "authority": pa.array([b.authority for b in blocks], pa.float64()),
        "arm": pa.array([b.arm for b in blocks], pa.string()),
        "pair": pa.array([b.pair for b in blocks], pa.int64()),
        "episode_id": pa.array([b.episode for b in blocks], pa.int64()),
        "steps": pa.array([b.steps for b in blocks], pa.int32()),
        "return": pa.array([b.returned for b in blocks], pa.float64()),
    }
    for name in ("violations_hard", "interventions", "outside_band", "infeasible"):
        columns[name] = pa.array([getattr(b, name) for b in blocks], pa.int32())
    columns["distance"] = pa.array([b.distance for b in blocks], pa.float64())
    columns["latency_us_p99"] = pa.array([b.latency_us_p99 for b in blocks], pa.float64())
    return pa.table(columns)


def read_blocks(table: pa.Table) -> list[Block]:
    """Return the blocks of blocks.parquet."""
    names = {"returned": "return", "episode": "episode_id"}
    fields = [field.name for field in dataclass_fields(Block)]
    columns = [table[names.get(name, name)].to_pylist() for name in fields]
    return [Block(**dict(zip(fields, row, strict=True))) for row in zip(*columns, strict=True)]


def judge(stage: Stage, blocks: Sequence[Block]) -> list[GateResult]:
    """Judge all gates of a stage on the blocks of one rung.

    A rate is counted over the blocks of the policy (in shadow all blocks are); a difference over switchback pairs. None passes
    on blocks that hang together (:mod:`fpo_pilot.evidence.gates`).
    """
    policy = [block for block in blocks if block.arm == "policy" or stage.name == "shadow"]
    results: list[GateResult] = []
    for gate in stage.gates:
        if isinstance(gate, RateGate):
            results.append(rate_gate_on_blocks(gate, [block.had(gate.event) for block in policy]))
        else:
            results.append(difference_gate_on_blocks(gate, pair_differences(blocks)))
    return results


def pair_differences(blocks: Sequence[Block]) -> list[float]:
    """Return policy minus incumbent for every whole switchback pair."""
    returns: dict[int, dict[str, float]] = {}
    for block in blocks:
        if block.pair is not None:
            returns.setdefault(block.pair, {})[block.arm] = block.returned
    return [both["policy"] - both["incumbent"] for both in returns.values() if len(both) == 2]


def key_figures(blocks: Sequence[Block]) -> dict[str, dict[str, Any] | None]:
    """Return of each arm, and the difference over switchback pairs, with 95 % bootstrap intervals over blocks.

    None where there are fewer than two values.
    """
    values = {arm: [block.returned for block in blocks if block.arm == arm] for arm in ("incumbent", "policy")}
    values["difference"] = pair_differences(blocks)
    return {name: _interval(row) for name, row in values.items()}


def _interval(values: Sequence[float]) -> dict[str, Any] | None:
    if len(values) < 2:
        return None
    found = bootstrap_interval(values)
    return {"mean": found.mean, "low": found.low, "high": found.high, "n": found.n}
