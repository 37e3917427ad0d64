"""What tables a run has: rows, sequence numbers and times of each file, from their footers alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from fpo_pilot.errors import LogError
from fpo_pilot.logs.reader import segments, stages
from fpo_pilot.logs.recovery import read_wal
from fpo_pilot.logs.wal import wal_files

STEPS = "steps"
WAL = "wal"


@dataclass(frozen=True)
class TableFile:
    """One file of a table."""

    table: str
    """``steps``, ``wal``, or the name of the file without its ending."""
    path: str
    """In the run folder."""
    rows: int
    size: int
    """Bytes."""
    seq_first: int | None = None
    seq_last: int | None = None
    first: str | None = None
    """Least time in it, ISO 8601, UTC; None where there is no column ``t``."""
    last: str | None = None
    recovered: bool = False
    clock_back: int = 0
    """How many rows lie before the one before them, by their clock."""
    stage: str | None = None


def table_files(run_dir: Path) -> tuple[TableFile, ...]:
    """List the tables of a run: its Parquet tables, the segments of each stage, and rows that still wait for one.

    Raises:
        LogError: there is no table, or one that cannot be read.
    """
    found = (*_tables(run_dir), *_segments(run_dir), *_waiting(run_dir))
    if not found:
        raise LogError(
            f"{run_dir}: found no table, expected a run folder with metrics, episodes or a step log. "
            "Name a run folder, such as runs/cstr-fpo-0."
        )
    return found


def _tables(run_dir: Path) -> Iterator[TableFile]:
    for path in sorted(run_dir.glob("*.parquet")):
        yield _described(run_dir, path, path.stem)


def _segments(run_dir: Path) -> Iterator[TableFile]:
    for stage in stages(run_dir):
        for path in segments(run_dir, stage):
            yield _described(run_dir, path, STEPS, stage)


def _waiting(run_dir: Path) -> Iterator[TableFile]:
    for path in wal_files(run_dir):
        content = read_wal(path)
        numbers = [table["seq"] for table in content.tables]
        first, last = (numbers[0][0].as_py(), numbers[-1][-1].as_py()) if numbers else (None, None)
        name = path.relative_to(run_dir).as_posix()
        yield TableFile(WAL, name, content.rows, path.stat().st_size, first, last, stage=content.stage or None)


def _described(run_dir: Path, path: Path, table: str, stage: str | None = None) -> TableFile:
    try:
        footer = pq.read_metadata(path)
    except (OSError, pa.ArrowException) as problem:
        raise LogError(
            f"{path}: found no readable table ({str(problem).splitlines()[0]}), expected a whole Parquet file. "
            "Restore it from a copy, or run the command that writes it again."
        ) from problem
    plain = footer.metadata or {}
    first, last = _times(footer)
    return TableFile(
        table,
        path.relative_to(run_dir).as_posix(),
        footer.num_rows,
        path.stat().st_size,
        int(plain[b"seq_first"]) if b"seq_first" in plain else None,
        int(plain[b"seq_last"]) if b"seq_last" in plain else None,
        None if first is None else first.isoformat(),
        None if last is None else last.isoformat(),
        b"recovered" in plain,
        int(plain.get(b"clock_back_count", b"0")),
        stage,
    )


def _times(footer: pq.FileMetaData) -> tuple[datetime | None, datetime | None]:
    """Return least and greatest time from the statistics of the row groups, without reading a row."""
    names = [footer.schema.column(i).path for i in range(footer.num_columns)]
    if "t" not in names:
        return None, None
    groups = [footer.row_group(i).column(names.index("t")) for i in range(footer.num_row_groups)]
    ends = [one.statistics for one in groups if one.is_stats_set and one.statistics.has_min_max]
    times = [time for one in ends for time in (one.min, one.max) if isinstance(time, datetime)]
    return (min(times), max(times)) if times else (None, None)
