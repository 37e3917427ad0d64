"""Reads what a run left: step log, episodes, events and metrics, with checksums and sequence numbers checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import dataset

from fpo_pilot.errors import LogError
from fpo_pilot.logs.tables import read_parquet

HISTORY = "history"
"""Stage of a log that was ingested."""
TRAINING_STAGE = "training"
"""Stage of a training, where a policy explores and changes with every update: who reads all stages does not mean this one."""
LEARNER = "learner"
"""Who drives there."""


@dataclass(frozen=True)
class SegmentRows:
    """Which rows a segment says it holds."""

    rows: int
    seq_first: int
    seq_last: int


def stage_folder(run_dir: Path, stage: str) -> Path:
    """Return the folder of a stage's step log."""
    return run_dir / "steps" / f"stage={stage}"


def segments(run_dir: Path, stage: str) -> tuple[Path, ...]:
    """List the segments of a stage in order; leftovers of a crash (``*.tmp``) are passed over."""
    return tuple(sorted(stage_folder(run_dir, stage).glob("seg-*.parquet")))


def stages(run_dir: Path) -> tuple[str, ...]:
    """List the stages that have a step log, by name."""
    return tuple(sorted(path.name.removeprefix("stage=") for path in (run_dir / "steps").glob("stage=*")))


def segment_rows(path: Path) -> SegmentRows:
    """Return which rows a segment says it holds, without reading them.

    Raises:
        LogError: the file is damaged, or is no segment.
    """
    try:
        metadata = pq.read_metadata(path)
        plain = metadata.metadata or {}
        return SegmentRows(metadata.num_rows, int(plain[b"seq_first"]), int(plain[b"seq_last"]))
    except (OSError, pa.ArrowException, KeyError, ValueError) as problem:
        raise _error(path, f"no segment of a step log ({problem})") from problem


def read_steps(run_dir: Path, stage: str | None = None) -> pa.Table:
    """Read the step log of one stage, or of all of them in the order of ``seq`` within each.

    Every page's checksum is verified, and that ``seq`` has no gap inside a segment and grows from one to the next.

    Raises:
        LogError: there is no log, a segment is damaged, or rows are missing.
    """
    wanted = stages(run_dir) if stage is None else (stage,)
    tables = [_checked(path) for one in wanted for path in _in_order(run_dir, one)]
    if not tables:
        raise _no_log(run_dir, stage)
    return pa.concat_tables(tables, promote_options="default")


def steps_dataset(run_dir: Path, stage: str | None = None) -> dataset.Dataset:
    """Open the step log for readers that take a part of it: columns, rows, or more of it than memory holds.

    Page checksums are verified as pages are read. Columns that a segment lacks are null there.

    Raises:
        LogError: there is no log, or a segment is damaged or out of order.
    """
    wanted = stages(run_dir) if stage is None else (stage,)
    paths = [path for one in wanted for path in _in_order(run_dir, one)]
    if not paths:
        raise _no_log(run_dir, stage)
    return open_dataset(paths)


def open_dataset(paths: Sequence[Path]) -> dataset.Dataset:
    """Open Parquet files as one table, with their page checksums verified as they are read.

    Raises:
        LogError: a file is damaged, or its columns are of another type than those of the others.
    """
    checked = dataset.ParquetFragmentScanOptions(page_checksum_verification=True)
    form = dataset.ParquetFileFormat(default_fragment_scan_options=checked)
    try:
        schema = pa.unify_schemas([pq.read_schema(path).remove_metadata() for path in paths])
        return dataset.dataset([str(path) for path in paths], schema=schema, format=form)
    except (OSError, pa.ArrowException) as problem:
        raise _error(paths[0].parent, f"tables that cannot be read as one ({problem})") from problem


def read_table(run_dir: Path, name: str) -> pa.Table:
    """Read one Parquet table of the run folder, such as ``blocks.parquet``, with its checksums verified."""
    return read_parquet(run_dir / name)


def read_episodes(run_dir: Path) -> pa.Table:
    """Read episodes.parquet: one row per episode of the offline evaluation."""
    return read_table(run_dir, "episodes.parquet")


def read_events(run_dir: Path) -> pa.Table:
    """Read events.parquet: one row per transition, guard, gate or note of a roll-out."""
    return read_table(run_dir, "events.parquet")


def read_metrics(run_dir: Path) -> pa.Table:
    """Read metrics.parquet: one row per training update."""
    return read_table(run_dir, "metrics.parquet")


def _in_order(run_dir: Path, stage: str) -> tuple[Path, ...]:
    found = segments(run_dir, stage)
    last = -1
    for path in found:
        rows = segment_rows(path)
        if rows.seq_first <= last:
            raise _error(path, f"seq {rows.seq_first} after {last}")
        last = rows.seq_last
    return found


def _checked(path: Path) -> pa.Table:
    table = read_parquet(path)
    said = segment_rows(path)
    seq = table["seq"].to_numpy()
    if not np.array_equal(seq, np.arange(said.seq_first, said.seq_last + 1)):
        raise _error(path, f"sequence numbers that are not {said.seq_first} to {said.seq_last} without a gap")
    return table


def _no_log(run_dir: Path, stage: str | None) -> LogError:
    name = "a step log" if stage is None else f"a step log of stage {stage}"
    return LogError(f"{run_dir}: found no {name}, expected {name}. Run `fpo-pilot evaluate {run_dir}` first.")


def _error(path: Path, found: str) -> LogError:
    return LogError(
        f"{path}: found {found}, expected a whole segment. "
        "Restore it from a copy, or run the command that writes it again."
    )
