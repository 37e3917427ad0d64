"""Segments of the step log: whole Parquet files with the numbers of their rows, written atomically."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fpo_pilot.logs.tables import write_table_atomic

LastRow = tuple[Any, int]
"""Episode, and time in nanoseconds since 1970, of the last row before a table."""
CLOCK_JUMPS_NAMED = 100
"""More than so many are counted, not listed."""


def segment_path(folder: Path, index: int) -> Path:
    """Return the place of a segment in the folder of its stage."""
    return folder / f"seg-{index:05d}.parquet"


def index_of(path: Path) -> int:
    """Return the number of a segment."""
    return int(path.stem.removeprefix("seg-"))


def write_segment(
    folder: Path,
    index: int,
    table: pa.Table,
    schema: pa.Schema,
    seq_first: int,
    metadata: Mapping[str, str] | None = None,
    before: LastRow | None = None,
) -> Path:
    """Write one segment, whole or not at all; return where.

    Args:
        folder: of the stage.
        index: number of the segment.
        table: its rows, numbered from ``seq_first`` without a gap.
        schema: gives the metadata.
        seq_first: number of the first row.
        metadata: further key-values of the file.
        before: the row before its first one, in an earlier segment.

    Raises:
        LogError: it could not be written; what was there before is untouched.
    """
    numbers = {"seq_first": str(seq_first), "seq_last": str(seq_first + table.num_rows - 1)}
    jumps = clock_jumps(table, before)
    if len(jumps):
        numbers["clock_back"] = ",".join(str(seq_first + int(row)) for row in jumps[:CLOCK_JUMPS_NAMED])
        numbers["clock_back_count"] = str(len(jumps))
    path = segment_path(folder, index)
    write_table_atomic(path, table.replace_schema_metadata({**schema.metadata, **numbers, **(metadata or {})}))
    return path


def clock_jumps(table: pa.Table, before: LastRow | None = None) -> np.ndarray:
    """Return the rows ``[n]`` whose time lies before that of the row before, within an episode; ``before`` is the row before the first.

    The order of a log is that of ``seq``; a clock that goes back changes no order and loses no row, but it is said.
    """
    if not _has_times(table) or not table.num_rows:
        return np.empty(0, np.int64)
    times = table["t"].cast(pa.int64()).to_numpy()
    back = times[1:] < times[:-1]
    episodes = table["episode_id"].to_numpy() if "episode_id" in table.schema.names else None
    if episodes is not None:
        back &= episodes[1:] == episodes[:-1]
    follows = before is not None and (episodes is None or episodes[0] == before[0])
    first = follows and before is not None and times[0] < before[1]
    return np.flatnonzero(np.concatenate(([first], back)))


def last_row(table: pa.Table) -> LastRow | None:
    """Return episode and time of the last row; None where there is no row, or no time."""
    if not _has_times(table) or not table.num_rows:
        return None
    last = table.slice(table.num_rows - 1)
    time = last["t"].cast(pa.int64())[0].as_py()
    return (
        None if time is None else (last["episode_id"][0].as_py() if "episode_id" in last.schema.names else None, time)
    )


def last_row_of(path: Path) -> LastRow | None:
    """As :func:`last_row`, of a segment."""
    file = pq.ParquetFile(path)
    names = [name for name in ("t", "episode_id") if name in file.schema_arrow.names]
    return last_row(file.read_row_group(file.num_row_groups - 1, columns=names)) if file.num_row_groups else None


def _has_times(table: pa.Table) -> bool:
    return "t" in table.schema.names and pa.types.is_timestamp(table.schema.field("t").type)
