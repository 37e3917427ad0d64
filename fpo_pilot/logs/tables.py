"""Parquet tables of a run: how they are encoded, and how they are written, extended and partly replaced.

zstd-3 with BYTE_STREAM_SPLIT on float columns halves a log of process values against zstd alone. Page checksums are
written, since a flipped bit is read silently otherwise, and statistics, so that readers can skip row groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from fpo_pilot.errors import LogError
from fpo_pilot.logs.atomic import write_atomic

ROW_GROUP = 131_072
"""Rows; large enough to compress, small enough to skip."""


def write_table_atomic(path: Path, table: pa.Table, *, durable: bool = True) -> None:
    """Write ``table`` to ``path`` as Parquet, whole or not at all.

    Args:
        path: where the file shall be.
        table: what it shall hold.
        durable: force it to the disk, as in :func:`fpo_pilot.logs.atomic.write_atomic`.

    Raises:
        LogError: it could not be written, or did not read back with as many rows.
    """

    def write(file: object) -> None:
        pq.write_table(
            table,
            file,
            row_group_size=ROW_GROUP,
            compression="zstd",
            compression_level=3,
            use_dictionary=_texts(table.schema),
            use_byte_stream_split=_floats(table.schema),
            write_statistics=True,
            write_page_checksum=True,
        )

    def check(written: Path) -> None:
        rows = pq.read_metadata(written).num_rows
        if rows != table.num_rows:
            raise ValueError(f"{rows} rows read back of {table.num_rows}")

    write_atomic(path, write, check, durable=durable)


def append_rows(path: Path, rows: pa.Table) -> None:
    """Add ``rows`` after those of the table at ``path``; columns that one side lacks become null there."""
    write_table_atomic(path, _joined([_existing(path), rows]))


def replace_rows(path: Path, rows: pa.Table, keys: Sequence[str]) -> None:
    """Put ``rows`` in the place of all rows of the table at ``path`` that have the same values in ``keys``.

    Args:
        path: a Parquet table, which may not exist yet.
        rows: the new rows; they come after the rows that stay.
        keys: columns that tell which old rows go.
    """
    old = _existing(path)
    if old is not None:
        missing = [key for key in keys if key not in old.schema.names]
        gone = set(_key_values(rows, keys))
        stay = [False] * old.num_rows if missing else [value not in gone for value in _key_values(old, keys)]
        old = old.filter(pa.array(stay, pa.bool_()))
    write_table_atomic(path, _joined([old, rows]))


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read one Parquet file, or some of its columns, with its page checksums verified.

    Raises:
        LogError: it is missing, cut short or damaged.
    """
    try:
        return pq.read_table(path, columns=columns, page_checksum_verification=True, partitioning=None)
    except (OSError, pa.ArrowException) as problem:
        raise _unreadable(path, problem) from problem


def read_names(path: Path) -> list[str]:
    """Return the names of the columns of a Parquet file, also of one that holds a name twice, which cannot be read as a whole.

    Raises:
        LogError: it is missing, cut short or damaged.
    """
    try:
        return list(pq.read_schema(path).names)
    except (OSError, pa.ArrowException) as problem:
        raise _unreadable(path, problem) from problem


def _unreadable(path: Path, problem: Exception) -> LogError:
    return LogError(
        f"{path}: found no readable table ({str(problem).splitlines()[0]}), expected a whole Parquet file. "
        "Restore it from a copy, or run the command that writes it again."
    )


def _existing(path: Path) -> pa.Table | None:
    return read_parquet(path) if path.exists() else None


def _joined(tables: Sequence[pa.Table | None]) -> pa.Table:
    present = [table for table in tables if table is not None]
    if len(present) == 1:
        return present[0]
    try:
        return pa.concat_tables(present, promote_options="default")
    except pa.ArrowException as problem:
        raise LogError(
            f"table: found columns of another type ({problem}), expected those of the table that is there. "
            "Columns are never retyped: start a new run folder."
        ) from problem


def _key_values(table: pa.Table, keys: Sequence[str]) -> list[tuple[object, ...]]:
    return list(zip(*(table[key].to_pylist() for key in keys), strict=True))


def _floats(schema: pa.Schema) -> list[str]:
    return [field.name for field in schema if pa.types.is_floating(field.type)]


def _texts(schema: pa.Schema) -> list[str]:
    """Parquet paths of the columns that repeat a few values."""
    lists = [f"{field.name}.list.element" for field in schema if pa.types.is_list(field.type)]
    plain = [f.name for f in schema if pa.types.is_string(f.type) or pa.types.is_dictionary(f.type)]
    return plain + lists
