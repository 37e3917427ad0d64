"""The step log: one row per control step, in whole Parquet segments, with a sequence number that has no gap.

A row is in the write-ahead log before the call that gives it returns, and on the disk within a second; at the end of a
segment the rows become a Parquet file at once. A log that is opened again recovers what the last writer left. A write
that fails raises, and the caller must act on it: no log, no authority.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa

from fpo_pilot.errors import LogError
from fpo_pilot.logs.columns import to_table
from fpo_pilot.logs.lock import Lock
from fpo_pilot.logs.reader import segment_rows, segments, stage_folder
from fpo_pilot.logs.recovery import replay
from fpo_pilot.logs.rows import RowCheck
from fpo_pilot.logs.segments import clock_jumps, index_of, last_row, last_row_of, write_segment
from fpo_pilot.logs.wal import FOLDER, LOCK, WriteAheadLog

ROWS_PER_SEGMENT = 1_048_576
WAL_SIZE = 2**29
"""Bytes of the write-ahead log after which a segment is written, however few rows it has: a recovery reads it whole."""
ROWS_BUFFERED = 1_024
"""Single rows are turned into columns this many at a time."""


class StepLog:
    """Appends to ``steps/stage=<stage>/seg-*.parquet`` of a run folder. One writer at a time.

    ``seq`` goes on where the last segment of the stage ended. A caller that counts by itself gives the column
    ``seq``, and it must go on by one from row to row; :meth:`resume_at` starts a new segment at another number.

    Args:
        run_dir: the run folder.
        stage: the stage, which names the folder and fills the column ``stage``.
        schema: from :func:`fpo_pilot.logs.schema.step_schema`.
        metadata: further key-values of the file.
        rows_per_segment: rows after which a segment is written.

    Raises:
        LogError: another writer is at this run, or what the last one left cannot be read.
    """

    def __init__(
        self,
        run_dir: Path,
        stage: str,
        schema: pa.Schema,
        *,
        metadata: Mapping[str, str] | None = None,
        rows_per_segment: int = ROWS_PER_SEGMENT,
    ) -> None:
        self.folder = stage_folder(run_dir, stage)
        self.stage = stage
        self.schema = schema.with_metadata({**(schema.metadata or {}), **(metadata or {}), "stage": stage})
        self._rows_per_segment = rows_per_segment
        self._lock = Lock(run_dir / FOLDER / LOCK, f"writing the step log of stage {stage}")
        try:
            left = replay(run_dir)
            written = segments(run_dir, stage)
            last = segment_rows(written[-1]) if written else None
            before = last_row_of(written[-1]) if written else None
        except BaseException:
            self._lock.release()
            raise
        taken_over = () if self._lock.taken_over is None else (self._lock.taken_over,)
        self.notes: list[str] = [*taken_over, *left.notes]
        """What is worth a line to whoever runs this: rows recovered, a lock taken over, a clock that went back."""
        self.recovered = left
        self._index = 1 + max((index_of(path) for path in written), default=-1)
        self._next_seq = 0 if last is None else last.seq_last + 1
        self._wal = WriteAheadLog(run_dir, self.schema)
        self._check = RowCheck(self.schema)
        self._before = before  # the newest row of all
        self._ended = before  # the last row of the newest segment
        self._chunks: list[pa.Table] = []
        self._rows = 0
        self._buffer: dict[str, list[Any]] = {}
        self._buffered = 0

    @property
    def next_seq(self) -> int:
        """The sequence number of the next row."""
        return self._next_seq + self._buffered

    def append(self, columns: Mapping[str, Any]) -> None:
        """Append rows, given as columns.

        Args:
            columns: a value for each column: an array ``[rows]``, or one value for all of the rows. Columns that are
                left out are null; ``stage`` and ``seq`` are filled in.

        Raises:
            LogError: an unknown or a needed column, lengths that differ, a type that does not fit, a gap in ``seq``,
                or a disk that does not take them. ``next_seq`` tells what was taken: all of these rows or none.
        """
        self._drain()
        rows = _length(columns)
        if rows == 0:
            return
        table = self._table(columns, rows)
        self._wal.batch(self.stage, self._index, table)
        self._add(table)

    def append_row(self, row: Mapping[str, Any]) -> None:
        """Append one row; cheap, for use in a control loop.

        Raises:
            LogError: it does not fit the schema, or the disk does not take it; it is not logged.
        """
        seq = self.next_seq
        values = self._check(row, seq)
        if "seq" in row and row["seq"] != seq:
            raise self._error(f"seq {row['seq']}", f"{seq}: no gap, no repetition")
        names = tuple(row)
        if self._buffered and names != tuple(self._buffer):
            self._drain()
        self._wal.row(self.stage, self._index, seq, names, values)
        self._note_clock(names, values, seq)
        if self._buffered == 0:
            self._buffer = {name: [] for name in names}
        for column, value in zip(self._buffer.values(), values, strict=True):
            column.append(value)
        self._buffered += 1
        if self._buffered >= ROWS_BUFFERED:
            self._drain()

    def resume_at(self, seq: int) -> None:
        """Start a new segment whose first row has number ``seq``, after rows that other stages have logged."""
        self.flush()
        if seq < self._next_seq:
            raise self._error(f"seq {seq} after {self._next_seq - 1}", "a number that grows")
        self._next_seq = seq

    def sync(self) -> None:
        """Force the rows given so far to the disk now, where they would be within a second anyway."""
        self._wal.sync()

    def flush(self) -> None:
        """Write the rows gathered so far as a whole segment; does nothing when there are none."""
        self._drain()
        if self._rows == 0:
            self._wal.remove()  # it has a head at most
            return
        table = pa.concat_tables(self._chunks)
        write_segment(self.folder, self._index, table, self.schema, self._next_seq - self._rows, before=self._ended)
        self._index += 1
        self._ended = last_row(table)
        self._chunks, self._rows = [], 0
        self._wal.remove()

    def close(self) -> None:
        """Write what is left as a segment, and let the next writer in. If that fails it may be tried again."""
        self.flush()
        self.abandon()

    def abandon(self) -> None:
        """Let the next writer in without writing a segment: it recovers the rows from the write-ahead log."""
        self._wal.close()
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        finally:
            self.abandon()  # what could not become a segment stays in the write-ahead log

    def _drain(self) -> None:
        if self._buffered == 0:
            return
        table = self._table(self._buffer, self._buffered)
        self._buffer, self._buffered = {}, 0
        self._add(table, note_clock=False)

    def _table(self, columns: Mapping[str, Any], rows: int) -> pa.Table:
        filled = {"stage": self.stage, **columns, "seq": self._sequence(columns.get("seq"), rows)}
        return to_table(self.schema, filled, rows)

    def _add(self, table: pa.Table, *, note_clock: bool = True) -> None:
        self._chunks.append(table)
        self._rows += table.num_rows
        self._next_seq += table.num_rows
        if note_clock and "t" in table.schema.names:
            self.notes += [
                self._clock_note(self._next_seq - table.num_rows + int(row))
                for row in clock_jumps(table, self._before)[:1]
            ]
            self._before = last_row(table)
        if self._rows >= self._rows_per_segment or self._wal.size >= WAL_SIZE:
            self.flush()

    def _note_clock(self, names: tuple[str, ...], values: Sequence[Any], seq: int) -> None:
        """Say that the clock went back: the row is logged where it belongs, by its number."""
        if "t" not in names or values[names.index("t")] is None:
            return
        episode = values[names.index("episode_id")] if "episode_id" in names else None
        now = (episode, values[names.index("t")])
        if self._before is not None and now[0] == self._before[0] and now[1] < self._before[1]:
            self.notes.append(f"{self._clock_note(seq)}, by {(self._before[1] - now[1]) / 1e9:g} s")
        self._before = now

    def _clock_note(self, seq: int) -> str:
        return f"{self.folder}: the clock went back at row {seq}; rows stand in the order of seq"

    def _sequence(self, given: Any, rows: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        expected = np.arange(self._next_seq, self._next_seq + rows, dtype=np.int64)
        if given is None:
            return expected
        found = np.broadcast_to(np.asarray(given), (rows,))
        wrong = np.flatnonzero(found != expected)
        if wrong.size:
            first = int(wrong[0])
            raise self._error(f"seq {found[first]} in row {first}", f"{expected[first]}: no gap, no repetition")
        return expected

    def _error(self, found: str, expected: str) -> LogError:
        return LogError(f"{self.folder}: found {found}, expected {expected}. Mend the caller: the log was not written.")


def rewrite_stage(run_dir: Path, stage: str, table: pa.Table, schema: pa.Schema) -> None:
    """Put ``table`` in the place of the whole step log of a stage, numbered from 0 in its own order.

    Each segment replaces its predecessor whole; those that are left over go last. A crash in between leaves segments of
    both: the command that was at it has no end in the ledger then, and is run again.

    Args:
        run_dir: the run folder.
        stage: the stage.
        table: rows in the columns of ``schema``; ``seq`` and ``stage`` are filled in.
        schema: of the step log.

    Raises:
        LogError: another writer is at this run, what the last one left cannot be read, or a segment cannot be written.
    """
    lock = Lock(run_dir / FOLDER / LOCK, f"rewriting the step log of stage {stage}")
    try:
        replay(run_dir)
        _rewrite(run_dir, stage, table, schema)
    finally:
        lock.release()


def _rewrite(run_dir: Path, stage: str, table: pa.Table, schema: pa.Schema) -> None:
    folder = stage_folder(run_dir, stage)
    schema = schema.with_metadata({**(schema.metadata or {}), "stage": stage})
    filled = {name: table[name] for name in table.schema.names} | {"seq": np.arange(table.num_rows), "stage": stage}
    whole = to_table(schema, filled, table.num_rows)
    starts = range(0, table.num_rows, ROWS_PER_SEGMENT)
    for index, start in enumerate(starts):
        before = last_row(whole.slice(start - 1, 1)) if start else None
        write_segment(folder, index, whole.slice(start, ROWS_PER_SEGMENT), schema, start, before=before)
    for path in segments(run_dir, stage)[len(starts) :]:
        path.unlink()


def _length(columns: Mapping[str, Any]) -> int:
    lengths = {name: len(value) for name, value in columns.items() if _is_column(value)}
    if not lengths:
        return 1
    name, rows = next(iter(lengths.items()))
    for other, length in lengths.items():
        if length != rows:
            raise LogError(
                f"step log: found {length} values of {other} beside {rows} of {name}, expected columns of one length. "
                "Give one value for each row, or a single one for all."
            )
    return rows


def _is_column(value: Any) -> bool:
    if isinstance(value, str | bytes):
        return False
    if isinstance(value, Sequence | pa.Array | pa.ChunkedArray):
        return True
    return getattr(value, "ndim", 0) == 1
