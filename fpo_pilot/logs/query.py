"""SQL over the tables of a run, by DuckDB: one question at a time, and nothing can be changed by it."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa

from fpo_pilot.errors import LogError
from fpo_pilot.logs.listing import STEPS
from fpo_pilot.logs.reader import open_dataset, stages, steps_dataset


@dataclass(frozen=True)
class Answer:
    """What a query returned."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    more: bool
    """Whether there were more rows than asked for."""


def tables_of(run_dir: Path) -> tuple[str, ...]:
    """Return the names that a query may use: ``steps``, and each Parquet table of the run."""
    names = tuple(path.stem for path in sorted(run_dir.glob("*.parquet")))
    return (STEPS, *names) if stages(run_dir) else names


def query(run_dir: Path, sql: str, *, limit: int) -> Answer:
    """Ask one question of a run. Columns with a dot in their name are written in double quotes: ``"obs.T"``.

    The tables are given to DuckDB as they lie there, with their checksums verified as they are read; DuckDB itself may
    open no file, load no extension and change no setting. Times are in UTC, to the microsecond.

    Args:
        run_dir: the run folder; rows that still wait in a write-ahead log are not seen.
        sql: a single SELECT (``WITH``, ``DESCRIBE`` and ``SUMMARIZE`` are such, too).
        limit: most rows to return.

    Raises:
        LogError: DuckDB is not installed, the query is none, fails, or is no SELECT, or a table is damaged.
    """
    try:
        import duckdb
    except ImportError as problem:
        raise LogError(
            "--sql: found no DuckDB, expected the extra `sql`. Install it with `pip install 'fpo-pilot[sql]'`; "
            "pandas and pyarrow read the same files without it."
        ) from problem
    try:
        statements = duckdb.extract_statements(sql)
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            kinds = ", ".join(one.type.name for one in statements) or "nothing"
            raise _error(sql, kinds, "one SELECT: a log is read here, never changed", run_dir)
        with duckdb.connect(":memory:", config={"python_enable_replacements": False}) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            for name in tables_of(run_dir):
                _register(connection, run_dir, name)
            connection.execute("SET enable_external_access = false")
            connection.execute("SET lock_configuration = true")
            found = connection.sql(sql).limit(limit + 1).to_arrow_table()
            rows = tuple(tuple(map(_plain, row.values())) for row in found.slice(0, limit).to_pylist())
    except (duckdb.Error, pa.ArrowException, OSError) as problem:
        raise _error(sql, str(problem), "a query that DuckDB can answer", run_dir) from problem
    except (OverflowError, ValueError) as problem:  # times such as 'infinity', which no calendar has
        expected = "an answer that can be shown; CAST(… AS VARCHAR) shows any"
        raise _error(sql, f"a value that cannot be told ({problem})", expected, run_dir) from problem
    return Answer(tuple(found.schema.names), rows, more=found.num_rows > limit)


def _register(connection: Any, run_dir: Path, name: str) -> None:
    """Let a query see a table under its name, with times in the type that DuckDB can compare with its own."""
    table = steps_dataset(run_dir) if name == STEPS else open_dataset([run_dir / f"{name}.parquet"])
    times = [field.name for field in table.schema if pa.types.is_timestamp(field.type)]
    if not times:
        connection.register(name, table)
        return
    connection.register(f"{name} in nanoseconds", table)
    replaced = ", ".join(f"CAST({_quoted(one)} AS TIMESTAMPTZ) AS {_quoted(one)}" for one in times)
    source = _quoted(f"{name} in nanoseconds")
    connection.execute(f"CREATE VIEW {_quoted(name)} AS SELECT * REPLACE ({replaced}) FROM {source}")  # noqa: S608  # names of our own files and columns, quoted


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _plain(value: Any) -> Any:
    """Return sums of whole numbers as such; DuckDB gives them as decimals."""
    if not isinstance(value, Decimal):
        return value
    return int(value) if value == value.to_integral_value() else float(value)


def _error(sql: str, found: str, expected: str, run_dir: Path) -> LogError:
    return LogError(
        f"--sql {sql!r}: found {found}, expected {expected}. Tables: {', '.join(tables_of(run_dir)) or 'none'}; "
        'columns with a dot stand in double quotes, as "obs.T".'
    )
