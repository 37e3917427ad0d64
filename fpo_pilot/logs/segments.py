"""Segments of the step log: whole Parquet files with the numbers of their rows, written atomically."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from fpo_pilot.logs.tables import write_table_atomic

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
) -> Path:
    """Write one segment, whole or not at all; return where.

    Args:
        folder: of the stage.
        index: number of the segment.
        table: its rows, numbered from ``seq_first`` without a gap.
        schema: gives the metadata.
        seq_first: number of the first row.
        metadata: further key-values of the file.

    Raises:
        LogError: it could not be written; what was there before is untouched.
    """
    numbers = {"seq_first": str(seq_first), "seq_last": str(seq_first + table.num_rows - 1)}
    jumps = clock_jumps(table)
    if len(jumps):
        numbers["clock_back"] = ",".join(str(seq_first + int(row)) for row in jumps[:CLOCK_JUMPS_NAMED])
        numbers["clock_back_count"] = str(len(jumps))
    path = segment_path(folder, index)
    write_table_atomic(path, table.replace_schema_metadata({**schema.metadata, **numbers, **(metadata or {})}))
    return path


def clock_jumps(table: pa.Table) -> np.ndarray:
    """Return the rows ``[n]`` whose time lies before that of the row before, within an episode.

    The order of a log is that of ``seq``; a clock that goes back changes no order and loses no row, but it is said.
    """
    if "t" not in table.schema.names or not pa.types.is_timestamp(table.schema.field("t").type) or table.num_rows < 2:
        return np.empty(0, np.int64)
    times = table["t"].cast(pa.int64()).to_numpy()
    back = times[1:] < times[:-1]
    if "episode_id" in table.schema.names:
        episodes = table["episode_id"].to_numpy()
        back &= episodes[1:] == episodes[:-1]
    return np.flatnonzero(back) + 1
