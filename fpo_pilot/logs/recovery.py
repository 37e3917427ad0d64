"""What a crash left: rows of a write-ahead log that no segment has become segments, each once and in order."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from fpo_pilot.errors import LogError
from fpo_pilot.logs.atomic import sync_folder
from fpo_pilot.logs.columns import to_table
from fpo_pilot.logs.frames import Damage, Frame, scan
from fpo_pilot.logs.lock import Lock
from fpo_pilot.logs.protocol import reached
from fpo_pilot.logs.reader import segment_rows, segments, stage_folder
from fpo_pilot.logs.rows import decode_row
from fpo_pilot.logs.segments import index_of, last_row, last_row_of, write_segment
from fpo_pilot.logs.wal import BATCH, ENDING, FOLDER, HEADER, LOCK, NAMES, ROW, SCHEMA, VERSION, wal_files

DAMAGED = ".damaged"
"""Ending of a write-ahead log with damage in its middle: kept, for whoever wants to look."""


@dataclass(frozen=True)
class WalContent:
    """What a write-ahead log holds."""

    stage: str
    schema: pa.Schema
    tables: tuple[pa.Table, ...]
    """Runs of rows, each numbered without a gap; from one to the next ``seq`` grows."""
    notes: tuple[str, ...]
    """What was cut or passed over, by file, byte and row."""
    damaged: bool
    """Whether something else than the end is no record."""

    @property
    def rows(self) -> int:
        """Rows that can be read."""
        return sum(table.num_rows for table in self.tables)


@dataclass(frozen=True)
class Recovered:
    """What a recovery did."""

    rows: int = 0
    segments: tuple[Path, ...] = ()
    removed: tuple[Path, ...] = ()
    """Write-ahead logs that are no longer there under their name."""
    kept: tuple[Path, ...] = ()
    """Damaged ones, under their new name."""
    notes: tuple[str, ...] = ()


def recover(run_dir: Path) -> Recovered:
    """Turn every write-ahead log of a run folder into segments, and take it away.

    Rows that a segment has already are dropped by their number; doing it twice, or being killed in it, changes nothing.

    Raises:
        LogError: a writer is at work, a log without a readable head, a damaged segment, or a disk that does not take the
            rows. Nothing is removed.
    """
    if not wal_files(run_dir):
        return Recovered()
    lock = Lock(run_dir / FOLDER / LOCK, "recovering the step log")
    try:
        taken_over = () if lock.taken_over is None else (lock.taken_over,)
        return _joined(Recovered(notes=taken_over), replay(run_dir))
    finally:
        lock.release()


def recover_all(run_dir: Path) -> Recovered:
    """Recover a run folder and the folders of its drills, as :func:`recover` does."""
    found = Recovered()
    for folder in waiting(run_dir):
        found = _joined(found, recover(folder))
    return found


def waiting(run_dir: Path) -> tuple[Path, ...]:
    """List the folders, of a run and its drills, in which rows wait for a recovery."""
    return tuple(sorted({path.parent.parent for path in run_dir.rglob(f"{FOLDER}/*{ENDING}")}))


def replay(run_dir: Path) -> Recovered:
    """Recover as :func:`recover` does, for a caller that holds the lock."""
    found = Recovered()
    for path in wal_files(run_dir):
        found = _joined(found, _recover_one(run_dir, path))
    return found


def read_wal(path: Path) -> WalContent:
    """Read a write-ahead log as far as it can be read; changes nothing.

    Raises:
        LogError: it cannot be read, or no copy of its head is whole.
    """
    try:
        data = path.read_bytes()
    except OSError as problem:
        raise _error(path, f"that it cannot be read ({problem.strerror})") from problem
    frames = list(scan(data))
    damages = [one for one in frames if isinstance(one, Damage)]
    whole = [one for one in frames if isinstance(one, Frame)]
    header = next((one for one in whole if one.kind == HEADER), None)
    schema = next((one for one in whole if one.kind == SCHEMA), None)
    if header is None or schema is None:
        if len(data) == 0 or (not any(one.kind in (ROW, BATCH) for one in whole) and all(one.torn for one in damages)):
            note = f"{path}: {len(data)} bytes of a log that a crash left before its first row; nothing was in it"
            return WalContent("", pa.schema([]), (), (note,), damaged=False)
        raise _error(path, "no whole head, so that its rows cannot be read")
    facts = json.loads(header.payload)
    if facts.get("version") != VERSION:
        raise _error(path, f"version {facts.get('version')!r}")
    fields = pa.ipc.read_schema(pa.py_buffer(schema.payload))
    notes = [_damage_note(path, one) for one in damages]
    tables = _tables(path, whole, fields, str(facts["stage"]), notes)
    damaged = any(not one.torn for one in damages)
    return WalContent(str(facts["stage"]), fields, tuple(tables), tuple(notes), damaged)


def _recover_one(run_dir: Path, path: Path) -> Recovered:
    content = read_wal(path)
    reached("recovery read")
    notes, made, rows = list(content.notes), [], 0
    if content.tables:
        there = segments(run_dir, content.stage)
        last = segment_rows(there[-1]).seq_last if there else -1
        index = 1 + index_of(there[-1]) if there else 0
        before = last_row_of(there[-1]) if there else None
        for table in content.tables:
            fresh = table.slice(int(np.searchsorted(table["seq"].to_numpy(), last, side="right")))
            if fresh.num_rows == 0:
                continue
            first = fresh["seq"][0].as_py()
            folder = stage_folder(run_dir, content.stage)
            made.append(write_segment(folder, index, fresh, content.schema, first, {"recovered": "true"}, before))
            before = last_row(fresh)
            index, rows = index + 1, rows + fresh.num_rows
            last = first + fresh.num_rows - 1
        notes.append(f"{path}: {rows} rows recovered into {', '.join(one.name for one in made) or 'no new segment'}")
    kept = _free_name(path) if content.damaged else None
    try:
        path.unlink() if kept is None else path.rename(kept)
        sync_folder(path.parent)
    except OSError as problem:
        raise _error(path, f"that it could not be removed ({problem})") from problem
    reached("recovery done")
    return Recovered(rows, tuple(made), (path,), () if kept is None else (kept,), tuple(notes))


def _tables(path: Path, whole: Sequence[Frame], schema: pa.Schema, stage: str, notes: list[str]) -> list[pa.Table]:
    """Return runs of rows without a gap, in the order of ``seq``; what comes again is dropped."""
    pieces: list[pa.Table] = []
    names: dict[int, list[str]] = {}
    pending: list[tuple[int, list[Any]]] = []
    current = 0

    def settle() -> None:
        if pending and current in names:
            pieces.extend(_from_rows(path, pending, names[current], schema, stage, notes))
        elif pending:
            notes.append(
                f"{path}: rows {pending[0][0]} to {pending[-1][0]} have lost the names of their columns; not read"
            )
        pending.clear()

    for frame in whole:
        if frame.kind == NAMES:
            number, *listed = json.loads(frame.payload)
            names[number] = listed
        elif frame.kind == ROW:
            seq, number, values = decode_row(frame.payload)
            if number != current:
                settle()
                current = number
            pending.append((seq, values))
        elif frame.kind == BATCH:
            settle()
            with pa.ipc.open_stream(frame.payload) as stream:
                pieces.append(stream.read_all().cast(schema))
    settle()
    return _runs(path, pieces, notes)


def _runs(path: Path, pieces: Sequence[pa.Table], notes: list[str]) -> list[pa.Table]:
    """Join pieces that follow each other. Of a number that comes twice the later row counts: the writer took that one."""
    runs: list[list[pa.Table]] = []
    last = -2
    for piece in pieces:
        first, end = piece["seq"][0].as_py(), piece["seq"][-1].as_py()
        if first <= last:
            notes.append(f"{path}: row {first} comes again after {last}; what was written first is passed over")
            runs = [kept for run in runs if (kept := _before(run, first))]
            last = runs[-1][-1]["seq"][-1].as_py() if runs else -2
        if first != last + 1 or not runs:
            runs.append([])
        runs[-1].append(piece)
        last = end
    return [pa.concat_tables(run).unify_dictionaries() for run in runs]


def _before(run: Sequence[pa.Table], seq: int) -> list[pa.Table]:
    kept = [piece.slice(0, int(np.searchsorted(piece["seq"].to_numpy(), seq))) for piece in run]
    return [piece for piece in kept if piece.num_rows]


def _free_name(path: Path) -> Path:
    """Return a name for a damaged log that no earlier one has: what is kept is never overwritten."""
    names = [
        path.with_name(path.name + DAMAGED),
        *(path.with_name(f"{path.name}.{i}{DAMAGED}") for i in range(1, 1000)),
    ]
    return next(name for name in names if not name.exists())


def _from_rows(
    path: Path, rows: Sequence[tuple[int, list[Any]]], names: list[str], schema: pa.Schema, stage: str, notes: list[str]
) -> list[pa.Table]:
    """Make tables of rows numbered without a gap; a row that does not fit is passed over, and said."""
    numbers = [seq for seq, _ in rows]
    breaks = [i for i in range(1, len(rows)) if numbers[i] != numbers[i - 1] + 1]
    tables: list[pa.Table] = []
    for start, end in zip([0, *breaks], [*breaks, len(rows)], strict=True):
        part = rows[start:end]
        columns = dict(zip(names, map(list, zip(*(values for _, values in part), strict=True)), strict=False))
        filled = {"stage": stage, **columns, "seq": np.array([seq for seq, _ in part], np.int64)}
        try:
            tables.append(to_table(schema, filled, len(part)))
        except LogError as problem:
            if len(part) == 1:
                notes.append(f"{path}: row {part[0][0]} passed over: {problem}")
                continue
            for one in part:  # find the one that does not fit; the others are kept
                tables.extend(_from_rows(path, [one], names, schema, stage, notes))
    return tables


def _damage_note(path: Path, damage: Damage) -> str:
    where = f"{path}: {damage.size} bytes from byte {damage.offset}, after record {damage.index},"
    return f"{where} are the torn end of a crash; cut" if damage.torn else f"{where} are no record; passed over"


def _joined(a: Recovered, b: Recovered) -> Recovered:
    return Recovered(
        a.rows + b.rows, a.segments + b.segments, a.removed + b.removed, a.kept + b.kept, a.notes + b.notes
    )


def _error(path: Path, found: str) -> LogError:
    return LogError(
        f"{path}: found {found}, expected the write-ahead log of this release. Nothing was changed. "
        "Restore it from a copy, or move it out of the run folder to go on without its rows."
    )
