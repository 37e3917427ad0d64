"""The step log: one row per control step, in whole Parquet segments, with a sequence number that has no gap.

Rows are gathered in memory and become a segment file at once, so what is on the disk can always be read. A write that
fails raises, and the caller must act on it: no log, no authority.
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
from fpo_pilot.logs.reader import segment_rows, segments, stage_folder
from fpo_pilot.logs.tables import write_table_atomic

ROWS_PER_SEGMENT = 1_048_576
ROWS_BUFFERED = 4_096
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
        written = segments(run_dir, stage)
        self._index = 1 + max((_index_of(path) for path in written), default=-1)
        last = segment_rows(written[-1]) if written else None
        self._next_seq = 0 if last is None else last.seq_last + 1
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
                or a segment that could not be written.
        """
        self._drain()
        self._add(columns, _length(columns))

    def append_row(self, row: Mapping[str, Any]) -> None:
        """Append one row; cheap, for use in a control loop. The rows are checked when they become columns."""
        if self._buffered == 0:
            self._buffer = {name: [] for name in row}
        if row.keys() != self._buffer.keys():
            self._drain()
            self._buffer = {name: [] for name in row}
        for name, value in row.items():
            self._buffer[name].append(value)
        self._buffered += 1
        if self._buffered >= ROWS_BUFFERED:
            self._drain()

    def resume_at(self, seq: int) -> None:
        """Start a new segment whose first row has number ``seq``, after rows that other stages have logged."""
        self.flush()
        if seq < self._next_seq:
            raise self._error(f"seq {seq} after {self._next_seq - 1}", "a number that grows")
        self._next_seq = seq

    def flush(self) -> None:
        """Write the rows gathered so far as a whole segment; does nothing when there are none."""
        self._drain()
        if self._rows == 0:
            return
        table = pa.concat_tables(self._chunks)
        _write_segment(self.folder, self._index, table, self.schema, self._next_seq - self._rows)
        self._index += 1
        self._chunks, self._rows = [], 0

    def close(self) -> None:
        """Write what is left. Rows that were never flushed are lost with the process."""
        self.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _drain(self) -> None:
        if self._buffered == 0:
            return
        columns, rows = self._buffer, self._buffered
        self._buffer, self._buffered = {}, 0
        self._add(columns, rows)

    def _add(self, columns: Mapping[str, Any], rows: int) -> None:
        if rows == 0:
            return
        filled = {"stage": self.stage, **columns, "seq": self._sequence(columns.get("seq"), rows)}
        self._chunks.append(to_table(self.schema, filled, rows))
        self._rows += rows
        self._next_seq += rows
        if self._rows >= self._rows_per_segment:
            self.flush()

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

    Each segment replaces its predecessor whole; those that are left over go last.

    Args:
        run_dir: the run folder.
        stage: the stage.
        table: rows in the columns of ``schema``; ``seq`` and ``stage`` are filled in.
        schema: of the step log.
    """
    folder = stage_folder(run_dir, stage)
    schema = schema.with_metadata({**(schema.metadata or {}), "stage": stage})
    filled = {name: table[name] for name in table.schema.names} | {"seq": np.arange(table.num_rows), "stage": stage}
    whole = to_table(schema, filled, table.num_rows)
    starts = range(0, table.num_rows, ROWS_PER_SEGMENT)
    for index, start in enumerate(starts):
        _write_segment(folder, index, whole.slice(start, ROWS_PER_SEGMENT), schema, start)
    for path in segments(run_dir, stage)[len(starts) :]:
        path.unlink()


def _write_segment(folder: Path, index: int, table: pa.Table, schema: pa.Schema, seq_first: int) -> None:
    numbers = {"seq_first": str(seq_first), "seq_last": str(seq_first + table.num_rows - 1)}
    table = table.replace_schema_metadata({**schema.metadata, **numbers})
    write_table_atomic(folder / f"seg-{index:05d}.parquet", table)


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


def _index_of(path: Path) -> int:
    return int(path.stem.removeprefix("seg-"))
