"""Decisions of a roll-out as lines of the ledger: a gate's verdict, a transition, a guard, an approval, each with a hash.

A decision is a row of an ``events.parquet`` whose kind is one of :data:`DECISIONS`; remarks are none. The text that its hash
covers is JSON: keys sorted, no spaces, UTF-8, texts as they are. It has those of :data:`COLUMNS` that the row has; what is
null is left out. Whole numbers are in decimal, times whole nanoseconds since 1970 in UTC, other numbers the shortest text
that reads back as the same double (Python's ``repr``; ``NaN`` and ``Infinity`` as they are named). It is made from the Arrow table,
so that whoever has the file makes the same text. A column that is added to :data:`COLUMNS` later changes no text of before.

A line has the number of the event as ``seq_first`` and ``seq_last``, and the path that the file had then: an earlier
roll-out is moved, so lines and events are matched by their hashes over all events files of a run, each line with one event.

Which events owe a line is told by the ledger alone. Since this release every begin is marked (``decisions``). A file whose
content was in the ledger before the first mark is of an earlier release and owes none; any other does. So a roll-out
of before goes on to verify, and a file that is changed now is not of before. To take lines or marks out of a ledger breaks its
chain; who makes the whole chain anew is told by a signature, or by a root that was printed, as for files.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from fpo_pilot.errors import LogError
from fpo_pilot.logs.fault import Fault
from fpo_pilot.logs.ledger import DECISIONS, FILE, Record, file_hash, kind_of, read_ledger
from fpo_pilot.logs.tables import read_parquet

COLUMNS = (
    "t",
    "seq",
    "step",
    "episode",
    "kind",
    "from_stage",
    "to_stage",
    "authority_from",
    "authority_to",
    "reason",
    "detail",
    "model_hash",
    "plant_hash",
    "safety_hash",
)
"""What a hash covers, where the row has it."""


@dataclass(frozen=True)
class Decision:
    """One decision, as an events file has it."""

    kind: str
    seq: int | None
    """Control cycle in which it was made; several may be made in one."""
    text: str
    """What the hash covers."""

    @property
    def sha256(self) -> str:
        """Return the hash of the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()


Enter = Callable[[Path, Sequence[Decision]], object]
"""Enters decisions that are in an events file on the disk; it returns when their lines are, too."""


@dataclass(frozen=True)
class Unmatched:
    """Lines and events that have no counterpart."""

    lines: tuple[Record, ...]
    events: tuple[tuple[str, Decision], ...]
    """With the path of their file."""
    before: tuple[str, ...]
    """Events files of before decisions were lines."""
    unreadable: tuple[str, ...]


@dataclass(frozen=True)
class DecisionLine:
    """A line of a decision, with its event."""

    record: Record
    path: str
    """Where the event is now; where it was, if it is nowhere."""
    decision: Decision | None


def decisions_of(table: pa.Table) -> list[Decision]:
    """Return the decisions of an events table, in its order."""
    if "kind" not in table.schema.names:
        return []
    columns = {name: _plain(table[name]) for name in COLUMNS if name in table.schema.names}
    found = []
    for values in zip(*columns.values(), strict=True):
        row = {name: value for name, value in zip(columns, values, strict=True) if value is not None}
        if row.get("kind") in DECISIONS:
            text = json.dumps(row, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
            found.append(Decision(row["kind"], row.get("seq"), text))
    return found


def events_files(names: Iterable[str]) -> list[str]:
    """Return those paths of a run that are of events."""
    return sorted(name for name in names if kind_of(name) == "events")


def unmatched(run_dir: Path, records: Sequence[Record], names: Iterable[str]) -> Unmatched:
    """Match the lines of decisions with the events of some files of a run.

    Args:
        run_dir: the run folder.
        records: of its ledger.
        names: paths of events files.
    """
    lines: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if record.kind in DECISIONS:
            lines[record.sha256 or ""].append(record)
    loose, before, unreadable = [], [], []
    for name in names:
        if _is_of_before(run_dir / name, records):
            before.append(name)
            continue
        try:
            decisions = decisions_of(read_parquet(run_dir / name))
        except LogError:
            unreadable.append(name)
            continue
        for decision in decisions:
            same = lines[decision.sha256]
            if same:
                same.pop(0)
            else:
                loose.append((name, decision))
    left = sorted((record for same in lines.values() for record in same), key=lambda record: record.i)
    return Unmatched(tuple(left), tuple(loose), tuple(before), tuple(unreadable))


def decision_faults(found: Unmatched) -> list[Fault]:
    """Say what differs between lines and events, once for an event that was altered."""
    lines = list(found.lines)
    faults = [Fault(name, "no events that can be read", "a whole table") for name in found.unreadable]
    for name, decision in found.events:
        where = f"{name}: {decision.kind} at seq {decision.seq}"
        line = next((one for one in lines if (one.kind, one.seq_first) == (decision.kind, decision.seq)), None)
        if line is None:
            faults.append(Fault(where, "an event without a line in the ledger", "one that was entered as it happened"))
            continue
        lines.remove(line)
        digests = f"SHA-256 {decision.sha256[:16]}…", f"{(line.sha256 or '')[:16]}… of {FILE}:{line.i + 1}"
        faults.append(Fault(where, f"an event that was altered ({digests[0]})", digests[1]))
    for line in lines:
        where = f"{line.path}: {line.kind} at seq {line.seq_first}"
        faults.append(Fault(where, "no such event in any events file of the run", f"the one of {FILE}:{line.i + 1}"))
    return faults


def decision_lines(run_dir: Path) -> tuple[DecisionLine, ...]:
    """List the lines of decisions with their events.

    Raises:
        LogError: the ledger is not sound, or an events file cannot be read.
    """
    records, problem = read_ledger(run_dir)
    if problem is not None:
        raise LogError(f"{problem}, expected a sound ledger. Run `fpo-pilot verify {run_dir}`.")
    events: dict[str, list[tuple[str, Decision]]] = defaultdict(list)
    for name in events_files(path.relative_to(run_dir).as_posix() for path in run_dir.rglob("*.parquet")):
        for decision in decisions_of(read_parquet(run_dir / name)):
            events[decision.sha256].append((name, decision))
    found = []
    for record in (one for one in records if one.kind in DECISIONS):
        same = events[record.sha256 or ""]
        path, own = same.pop(0) if same else (record.path, None)
        found.append(DecisionLine(record, path, own))
    return tuple(found)


def _is_of_before(path: Path, records: Sequence[Record]) -> bool:
    """Tell whether the content of a file was in the ledger before decisions were lines; then it owes none."""
    mark = next((record.i for record in records if record.kind == "begin" and record.decisions), None)
    if mark is None:
        return True
    digest, _ = file_hash(path)
    first = next((record.i for record in records if record.sha256 == digest), len(records))
    return first < mark


def _plain(column: pa.ChunkedArray) -> list[object]:
    """Return values that JSON has: times as nanoseconds, since Python's own have no more than microseconds."""
    if pa.types.is_timestamp(column.type):
        column = pc.cast(pc.cast(column, pa.timestamp("ns", tz=column.type.tz)), pa.int64())
    values: list[object] = column.to_pylist()
    return values
