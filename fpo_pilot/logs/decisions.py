"""Decisions of a roll-out as lines of the ledger: a gate's verdict, a transition, a guard, an approval, each with a hash.

A decision is a row of an ``events.parquet`` whose kind is one of :data:`DECISIONS`; remarks are none. The text that its hash
covers is JSON: keys sorted, no spaces, UTF-8, texts as they are. It has those of :data:`COLUMNS` that the row has; what is
null is left out. Whole numbers are in decimal, times whole nanoseconds since 1970 in UTC, other numbers the shortest text
that reads back as the same double (Python's ``repr``; ``NaN`` and ``Infinity`` as they are named). It is made from the Arrow table,
so that whoever has the file makes the same text. A column that is added to :data:`COLUMNS` later changes no text of before.

A line has the number of the event as ``seq_first`` and ``seq_last``, and the path that the file had then. The lines behind one
begin are those of one roll-out; its events file, which may have been moved to ``earlier/`` since, has all of them in their order.

Which events owe a line is told by the ledger alone. Since this release every begin is marked (``decisions``). A file whose
content was in the ledger before the first mark is of an earlier release and owes none; any other does. So a roll-out
of before goes on to verify, and a file that is changed now is not of before. To take lines or marks out of a ledger breaks its
chain; who makes the whole chain anew is told by a signature, or by a root that was printed, as for files.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import zip_longest
from pathlib import Path
from typing import TypeVar

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
_MOVED = re.compile(r"earlier/rollout-[0-9]+/(?=[^/]+$)")
"""What a path has more once its roll-out was set aside."""


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
    misplaced: tuple[str, ...] = ()
    """Events files whose decisions are all known, but not in this order or at this place."""


@dataclass(frozen=True)
class DecisionLine:
    """A line of a decision, with its event."""

    record: Record
    path: str
    """Where the event is now; where it was, if it is nowhere."""
    decision: Decision | None


def decisions_of(table: pa.Table) -> list[Decision]:
    """Return the decisions of an events table, in its order.

    Raises:
        LogError: a column is of a type that no events file has.
    """
    if "kind" not in table.schema.names:
        return []
    columns = {name: _plain(name, table[name]) for name in COLUMNS if name in table.schema.names}
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

    The lines behind one begin are those of one roll-out, and its events file has them all, in their order and no others. Files
    and roll-outs follow each other: the newest in its own place, those before it under ``earlier/``, which only a later begin moves.

    Args:
        run_dir: the run folder.
        records: of its ledger.
        names: paths of events files.
    """
    files: dict[str, list[_File]] = defaultdict(list)
    before, unreadable = [], []
    for name in sorted(names, key=lambda one: (one == place_of(one), len(one), one)):  # the newest comes last
        if _is_of_before(run_dir / name, records):
            before.append(name)
            continue
        try:
            decisions = decisions_of(read_parquet(run_dir / name))
        except LogError:
            unreadable.append(name)
            continue
        if decisions:
            files[place_of(name)].append(_File(name, decisions))
    rolled = _roll_outs(records)
    lines, events, misplaced = list[Record](), list[tuple[str, Decision]](), list[str]()
    for place in sorted({*files, *rolled}):
        for one, file in _paired(rolled.get(place, []), files.get(place, [])):
            if one is not None and file is not None and one.digests == file.digests:
                moved = one.is_newest if file.name != place else _is_followed(records, place, one, run_dir)
                misplaced += [file.name] if moved else []
                continue
            own, theirs = Counter(() if one is None else one.digests), Counter(() if file is None else file.digests)
            if file is not None and own == theirs:
                misplaced.append(file.name)
                continue
            lines += _surplus(() if one is None else one.lines, theirs)
            events += [(file.name, decision) for decision in _surplus(file.decisions, own)] if file is not None else []
    return Unmatched(
        tuple(sorted(lines, key=lambda record: record.i)),
        tuple(events),
        tuple(before),
        tuple(unreadable),
        tuple(misplaced),
    )


def _is_followed(records: Sequence[Record], place: str, one: _RollOut, run_dir: Path) -> bool:
    """Tell whether a later roll-out had an events file at this place, such as one of remarks alone: then this one was set aside."""
    digest, _ = file_hash(run_dir / place)
    begin = -1
    for record in records:
        begin = record.i if record.kind == "begin" else begin
        if record.kind == "events" and record.path == place and record.sha256 != digest and begin > one.begin:
            return True
    return False


def missing_lines(run_dir: Path, records: Sequence[Record], name: str) -> list[Decision]:
    """Return the decisions of an events file that the last begin has no line of, in their order.

    Those behind a begin of an earlier release have none: what it left is of before decisions were lines.

    Raises:
        LogError: the file cannot be read.
    """
    rolled = _roll_outs(records).get(name, [])
    last = next((record for record in reversed(records) if record.kind == "begin"), None)
    if last is None or not last.decisions:
        return []
    have = Counter(digest for one in rolled if one.begin == last.i for digest in one.digests)
    return _surplus(decisions_of(read_parquet(run_dir / name)), have)


@dataclass(frozen=True)
class _RollOut:
    """The lines of decisions behind one begin."""

    begin: int
    lines: tuple[Record, ...]
    is_newest: bool
    """Whether its command did not begin again afterwards."""

    @property
    def digests(self) -> tuple[str, ...]:
        """Hashes of its decisions."""
        return tuple(line.sha256 or "" for line in self.lines)


@dataclass(frozen=True)
class _File:
    """An events file with decisions."""

    name: str
    decisions: list[Decision]

    @property
    def digests(self) -> tuple[str, ...]:
        """Hashes of its decisions."""
        return tuple(decision.sha256 for decision in self.decisions)


def place_of(name: str) -> str:
    """Return where an events file lay when it was the newest of its place."""
    return _MOVED.sub("", name)


def _roll_outs(records: Sequence[Record]) -> dict[str, list[_RollOut]]:
    """Return the roll-outs of each place that decided something, the oldest first."""
    begin, last = -1, dict[str, int]()
    commands: dict[int, str] = {}
    lines: dict[tuple[str, int], list[Record]] = defaultdict(list)
    for record in records:
        if record.kind == "begin":
            begin, commands[record.i], last[record.path] = record.i, record.path, record.i
        elif record.kind in DECISIONS:
            lines[record.path, begin].append(record)
    found: dict[str, list[_RollOut]] = defaultdict(list)
    for (place, start), own in lines.items():
        command = commands.get(start, "")
        found[place].append(_RollOut(start, tuple(own), last.get(command, start) == start))
    return found


def _paired(rolled: Sequence[_RollOut], files: Sequence[_File]) -> Iterator[tuple[_RollOut | None, _File | None]]:
    """Lay roll-outs and files beside each other in their order: those that are alike, and between them from the newest on."""
    ours, theirs = rolled[::-1], files[::-1]
    alike = SequenceMatcher(None, [one.digests for one in ours], [one.digests for one in theirs], autojunk=False)
    for _, first, until, start, stop in alike.get_opcodes():
        yield from zip_longest(ours[first:until], theirs[start:stop])


_Hashed = TypeVar("_Hashed", Record, Decision)


def _surplus(items: Iterable[_Hashed], have: Counter[str]) -> list[_Hashed]:
    """Return the items of which there are more than ``have`` counts, in their order."""
    left = Counter(have)
    found = []
    for item in items:
        digest = item.sha256 or ""
        if left[digest] > 0:
            left[digest] -= 1
        else:
            found.append(item)
    return found


def decision_faults(found: Unmatched) -> list[Fault]:
    """Say what differs between lines and events, once for an event that was altered."""
    lines = list(found.lines)
    faults = [Fault(name, "no events that can be read", "a whole table") for name in found.unreadable]
    faults += [
        Fault(
            name,
            "decisions in another order or place than they were entered in",
            "those of one roll-out as it made them",
        )
        for name in found.misplaced
    ]
    for name, decision in found.events:
        where = f"{name}: {decision.kind} at seq {decision.seq}"
        line = next((one for one in lines if (one.kind, one.seq_first) == (decision.kind, decision.seq)), None)
        if line is None:
            faults.append(Fault(where, "an event without a line in the ledger", "one that was entered as it happened"))
            continue
        lines.remove(line)
        if line.sha256 == decision.sha256:
            faults.append(Fault(where, "an event of another roll-out", f"it in the events of {FILE}:{line.i + 1}"))
            continue
        digests = f"SHA-256 {decision.sha256[:16]}…", f"{(line.sha256 or '')[:16]}… of {FILE}:{line.i + 1}"
        faults.append(Fault(where, f"an event that was altered ({digests[0]})", digests[1]))
    for line in lines:
        where = f"{line.path}: {line.kind} at seq {line.seq_first}"
        faults.append(Fault(where, "no such event in the events of its roll-out", f"the one of {FILE}:{line.i + 1}"))
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


def _plain(name: str, column: pa.ChunkedArray) -> list[object]:
    """Return values that JSON has: times as nanoseconds, since Python's own have no more than microseconds.

    Raises:
        LogError: they are of a type that no events file has.
    """
    kind = column.type
    types = pa.types
    try:
        if types.is_timestamp(kind):
            column = pc.cast(pc.cast(column, pa.timestamp("ns", tz=kind.tz)), pa.int64())
        elif not any(
            ask(kind) for ask in (types.is_integer, types.is_floating, types.is_boolean, types.is_string, types.is_null)
        ):
            raise pa.ArrowInvalid(f"type {kind}")
        values: list[object] = column.to_pylist()
    except pa.ArrowException as problem:
        raise LogError(
            f"events.parquet: column {name}: found {str(problem).splitlines()[0]}, expected numbers, texts or times as a "
            "roll-out writes them. Restore the file from a copy."
        ) from problem
    return values
