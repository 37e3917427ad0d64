"""Questions are answered from the files as they lie there; nothing can be changed by one, and nothing else be read."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from fpo_pilot.errors import LogError
from fpo_pilot.logs.query import query, tables_of
from fpo_pilot.logs.tables import write_table_atomic
from fpo_pilot.logs.writer import StepLog

SCHEMA = pa.schema(
    [
        ("t", pa.timestamp("ns", tz="UTC")),
        ("seq", pa.int64()),
        ("stage", pa.dictionary(pa.int32(), pa.string())),
        ("obs.T", pa.float32()),
    ]
)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    for number, stage in enumerate(("shadow", "full")):
        with StepLog(tmp_path, stage, SCHEMA) as log:
            log.resume_at(10 * number)
            log.append({"t": [i * 10**9 for i in range(10)], "obs.T": [350.0 + number + i for i in range(10)]})
    write_table_atomic(tmp_path / "events.parquet", pa.table({"kind": ["guard", "note"]}))
    return tmp_path


def digest(run: Path) -> str:
    files = sorted(path for path in run.rglob("*") if path.is_file())
    return hashlib.sha256(b"".join(str(path).encode() + path.read_bytes() for path in files)).hexdigest()


def test_stages_and_tags_are_asked_for_by_name(run: Path) -> None:
    found = query(run, 'SELECT stage, count(*) AS n, max("obs.T") FROM steps GROUP BY stage ORDER BY stage', limit=10)
    assert found.columns[:2] == ("stage", "n")
    assert found.rows == (("full", 10, 360.0), ("shadow", 10, 359.0))
    assert not found.more
    assert query(run, "SELECT kind FROM events ORDER BY kind", limit=1).rows == (("guard",),)
    assert query(run, "SELECT kind FROM events", limit=1).more
    assert tables_of(run) == ("steps", "events")


def test_common_table_expressions_and_time_are_answered_too(run: Path) -> None:
    sql = "WITH late AS (SELECT * FROM steps WHERE t >= TIMESTAMPTZ '1970-01-01 00:00:08+00') SELECT count(*) FROM late"
    assert query(run, sql, limit=1).rows == ((4,),)
    (row,) = query(run, "SELECT max(t), sum(seq), avg(seq) FROM steps WHERE stage = 'full'", limit=1).rows
    assert (row[0].isoformat(), row[1], row[2]) == ("1970-01-01T00:00:09+00:00", 145, 14.5)
    assert {one[0] for one in query(run, "DESCRIBE steps", limit=9).rows} == set(SCHEMA.names)


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("DELETE FROM steps", "found DELETE"),
        ("CREATE TABLE mine AS SELECT 1", "found CREATE"),
        ("COPY steps TO '{run}/out.csv'", "found COPY"),
        ("ATTACH '{run}/out.db'", "found ATTACH"),
        ("SET enable_external_access = true", "expected one SELECT"),
        ("INSTALL httpfs", "expected one SELECT"),
        ("SELECT 1; SELECT 2", "found SELECT, SELECT"),
        ("", "found nothing"),
        ("SELEC 1", "syntax error"),
        ("SELECT * FROM read_text('{run}/manifest.json')", "disabled"),
        ("SELECT * FROM '{run}/events.parquet'", "disabled"),
        ("SELECT * FROM pg_read_file('x')", "found"),
        ("SELECT TIMESTAMP 'infinity'", r"found a value that cannot be told .*CAST"),
        ("SELECT Tc FROM steps", r"Tables: steps, events; columns with a dot stand in double quotes"),
    ],
)
def test_what_is_no_question_to_this_run_is_refused_and_changes_nothing(run: Path, sql: str, message: str) -> None:
    (run / "manifest.json").write_text("{}")
    before = digest(run)
    with pytest.raises(LogError, match=message):
        query(run, sql.format(run=run), limit=5)
    assert digest(run) == before


def test_a_flipped_bit_is_no_answer(run: Path) -> None:
    path = run / "steps" / "stage=full" / "seg-00000.parquet"
    data = bytearray(path.read_bytes())
    for place in range(40, 400, 7):
        data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(LogError):
        query(run, 'SELECT sum("obs.T"), min(t), max(seq) FROM steps', limit=1)


def test_without_duckdb_the_extra_is_named(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(LogError, match=r"fpo-pilot\[sql\]"):
        query(run, "SELECT 1", limit=1)
