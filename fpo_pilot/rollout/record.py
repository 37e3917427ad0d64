"""What a roll-out writes: steps, blocks, events and rollout.json. A write that fails raises: no log, no authority."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from fpo_pilot.errors import LogError
from fpo_pilot.evidence import GateResult
from fpo_pilot.evidence.blocks import Block, blocks_table, key_figures
from fpo_pilot.learn.step_record import end_reasons
from fpo_pilot.logs.atomic import write_json_atomic
from fpo_pilot.logs.decisions import Enter, decisions_of
from fpo_pilot.logs.ledger import EVENTS
from fpo_pilot.logs.recovery import recover
from fpo_pilot.logs.schema import step_schema
from fpo_pilot.logs.tables import write_table_atomic
from fpo_pilot.logs.writer import StepLog
from fpo_pilot.plants.plant import Plant
from fpo_pilot.rollout.cycle import Cycle
from fpo_pilot.rollout.machine import Transition
from fpo_pilot.specs import spec_hash

STAGES = ("shadow", "bounded", "full", "hold", "rolled_back")
FILES = ("rollout.json", EVENTS, "blocks.parquet")


def set_aside(run_dir: Path) -> tuple[str, ...]:
    """Move an earlier roll-out of this run to ``earlier/``: evidence is never overwritten.

    Rows that a crash left in its write-ahead log are recovered first; what there is to say of that is returned.
    """
    notes = recover(run_dir).notes
    found = [run_dir / name for name in FILES if (run_dir / name).exists()]
    found += [folder for stage in STAGES if (folder := run_dir / "steps" / f"stage={stage}").exists()]
    if not found:
        return notes
    number = sum(1 for _ in (run_dir / "earlier").glob("rollout-*"))
    target = run_dir / "earlier" / f"rollout-{number:03d}"
    for path in found:
        place = target / path.relative_to(run_dir)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(path, place)
    return notes


class Recorder:
    """Keeps what happened. A cycle is in the write-ahead log before the next; blocks and events follow when a block ends.

    Args:
        run_dir: the folder.
        plant: gives the columns.
        hashes: of model, plant and safety spec.
        enter: enters decisions in the ledger of the run; None where there is none.
        mode: how the policy is deployed.
    """

    def __init__(
        self, run_dir: Path, plant: Plant, hashes: dict[str, str], enter: Enter | None = None, mode: str = ""
    ) -> None:
        self.run_dir, self.plant, self.hashes, self.enter, self.mode = run_dir, plant, hashes, enter, mode
        self.schema = step_schema(plant.spec, plant.safety)
        self.blocks: list[Block] = []
        self.events: list[dict[str, Any]] = []
        self.gates: list[dict[str, Any]] = []
        self.clock = 0
        self._entered = 0
        """Events whose decisions are in the ledger: the first so many."""
        self._log: StepLog | None = None
        self._started = time.time_ns()

    def cycle(self, cycle: Cycle, *, stage: str, arm: str, episode: int, step: int) -> None:
        """Log one control cycle."""
        log = self._log_of(stage)
        seen = cycle.transition
        terminated, truncated = bool(seen.terminated), bool(seen.truncated)
        row: dict[str, Any] = {
            "t": self._time(),
            "episode_id": episode,
            "block_id": episode,
            "step": step,
            "arm": arm,
            "mode": self.mode if arm == "policy" else "",
            "shield": True,
            "scenario": "nominal",
            "authority": cycle.authority,
            "shield.active": cycle.altered,
            "shield.reasons": list(cycle.reasons),
            "reward.total": float(seen.reward),
            "terminated": terminated,
            "truncated": truncated,
            "end_reason": end_reasons(np.array([terminated]), np.array([truncated]), np.array([bool(seen.tripped)]))[0],
            "latency_us": cycle.latency_us,
            "deadline_miss": cycle.deadline_miss,
            **{f"{name}_hash": value for name, value in self.hashes.items()},
        }
        names = (self.plant.measured_names, self.plant.measured_names, self.plant.reference_names)
        values = (cycle.measurement, cycle.quality, cycle.reference)
        for prefix, columns, vector in zip(("obs", "quality", "ref"), names, values, strict=True):
            row |= {f"{prefix}.{name}": v for name, v in zip(columns, vector[0].tolist(), strict=True)}
        for prefix in ("incumbent", "proposed", "shielded", "applied"):
            vector = getattr(cycle, prefix)[0].tolist()
            row |= {f"act.{prefix}.{name}": v for name, v in zip(self.plant.action_names, vector, strict=True)}
        row |= {f"reward.{name}": float(value) for name, value in seen.terms.items()}
        row |= {f"margin.{name}": float(value) for name, value in seen.margins.items()}
        log.append_row(row)
        self.clock += 1

    def block(self, block: Block) -> None:
        """Keep a finished block, and put steps, blocks and events on the disk."""
        self.blocks.append(block)
        if self._log is not None:
            self._log.sync()
        write_table_atomic(self.run_dir / "blocks.parquet", blocks_table(self.blocks))
        self._write_events()

    def transition(self, change: Transition, *, episode: int, step: int) -> None:
        """Keep a transition."""
        self._event("transition", change.reason, episode=episode, step=step, change=change)

    def guard(
        self,
        reason: str,
        *,
        stage: str,
        authority: float,
        episode: int,
        step: int,
        detail: dict[str, Any] | None = None,
    ) -> None:
        """Keep the firing of a guard."""
        change = Transition(stage, stage, authority, 0.0, reason)
        self._event("guard", reason, episode=episode, step=step, change=change, detail=detail)

    def note(self, text: str) -> None:
        """Keep a remark, such as what was recovered."""
        self._event("note", text, episode=len(self.blocks), step=0, change=Transition("", "", 0.0, 0.0, text))

    def abandon(self) -> None:
        """Put what there is on the disk on the way out of an error; rows that it does not take stay in the write-ahead log."""
        if self._log is not None:
            try:
                self._log.close()
            except LogError:
                self._log.abandon()
        try:
            self.commit()
        except LogError:
            return  # the error that is on its way says so already

    def commit(self) -> None:
        """Put the events on the disk now, and their decisions into the ledger.

        Raises:
            LogError: the disk does not take them.
        """
        self._write_events()

    def verdicts(self, results: Sequence[GateResult], *, stage: str, episode: int, authority: float) -> None:
        """Keep what the gates of a rung said when it was left, or in the end."""
        self.gates += [{"stage": stage, "authority": authority, **r.model_dump(mode="json")} for r in results]
        for result in results:
            change = Transition(stage, stage, authority, authority, f"{result.name}: {result.verdict}")
            detail = result.model_dump(mode="json")
            self._event("gate", change.reason, episode=episode, step=0, change=change, detail=detail)

    def finish(self, *, command: str, seed: int, final_stage: str, final_authority: float) -> dict[str, Any]:
        """Write rollout.json; return it."""
        if self._log is not None:
            self._log.close()
        self._write_events()
        stages = _counts([block.stage for block in self.blocks])
        changes = [event for event in self.events if event["kind"] == "transition"]
        keys = ("seq", "episode", "step", "from_stage", "to_stage", "authority_from")
        document = {
            "schema_version": 1,
            "plant": self.plant.name,
            "command": command,
            "seed": seed,
            "final_stage": final_stage,
            "final_authority": final_authority,
            "episodes": len(self.blocks),
            "gates": self.gates,
            "transitions": [
                {**{key: c[key] for key in keys}, "authority": c["authority_to"], "reason": c["reason"]}
                for c in changes
            ],
            "guards": [
                {key: event[key] for key in ("seq", "episode", "step", "from_stage", "reason")}
                for event in self.events
                if event["kind"] == "guard"
            ],
            "blocks": stages,
            "kpi": {stage: key_figures([b for b in self.blocks if b.stage == stage]) for stage in stages},
            "hashes": self.hashes,
            "safety_spec": self._safety_spec(),
        }
        write_json_atomic(self.run_dir / "rollout.json", document)
        return document

    def _safety_spec(self) -> dict[str, Any] | None:
        """Return the spec that the hash names: whoever recomputes the gates of an earlier roll-out needs it."""
        spec = self.plant.safety
        if spec is None or spec_hash(spec) != self.hashes.get("safety"):
            return None
        return spec.model_dump(mode="json", by_alias=True)

    def _event(
        self,
        kind: str,
        reason: str,
        *,
        episode: int,
        step: int,
        change: Transition,
        detail: dict[str, Any] | None = None,
    ) -> None:
        self.events.append(
            {
                "t": self._time(),
                "seq": self.clock,
                "step": step,
                "episode": episode,
                "kind": kind,
                "from_stage": change.from_stage,
                "to_stage": change.to_stage,
                "authority_from": change.authority_from,
                "authority_to": change.authority_to,
                "reason": reason,
                "detail": json.dumps(detail or {}, ensure_ascii=False),
                **{f"{name}_hash": value for name, value in self.hashes.items()},
            }
        )

    def _write_events(self) -> None:
        """Write the events, then the lines of those that are new: a line never speaks of an event that is not there."""
        table, path = self._events_table(), self.run_dir / EVENTS
        write_table_atomic(path, table)
        if self.enter is not None:
            self.enter(path, decisions_of(table.slice(self._entered)))
            self._entered = table.num_rows

    def _events_table(self) -> pa.Table:
        hashes = [(f"{name}_hash", pa.string()) for name in self.hashes]
        texts = [(name, pa.string()) for name in ("kind", "from_stage", "to_stage")]
        schema = pa.schema(
            [
                ("t", pa.timestamp("ns", tz="UTC")),
                *((name, pa.int64()) for name in ("seq", "step", "episode")),
                *texts,
                *((name, pa.float64()) for name in ("authority_from", "authority_to")),
                ("reason", pa.string()),
                ("detail", pa.string()),
                *hashes,
            ]
        )
        return pa.Table.from_pylist(self.events, schema=schema)

    def _log_of(self, stage: str) -> StepLog:
        if self._log is None or self._log.stage != stage:
            if self._log is not None:
                self._log.close()
            self._log = StepLog(self.run_dir, stage, self.schema)
            for text in self._log.notes:
                self.note(text)
            self._log.resume_at(self.clock)
        return self._log

    def _time(self) -> int:
        """Plant time: accelerated, one period a cycle from the start of the roll-out."""
        return self._started + int(self.clock * self.plant.period * 1e9)


def _counts(stages: Sequence[str]) -> dict[str, int]:
    return {stage: stages.count(stage) for stage in dict.fromkeys(stages)}
