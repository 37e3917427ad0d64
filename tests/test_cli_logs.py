"""``fpo-pilot logs`` as one types it: what there is, what is asked, and what a crash left."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from fpo_pilot import cli
from fpo_pilot.logs.decisions import decisions_of
from fpo_pilot.logs.ledger import FILE, Ledger
from fpo_pilot.logs.tables import write_table_atomic
from fpo_pilot.logs.writer import StepLog
from fpo_pilot.logs.writing import ROLLOUT, writing

SCHEMA = pa.schema(
    [("t", pa.timestamp("ns", tz="UTC")), ("seq", pa.int64()), ("stage", pa.string()), ("obs.T", pa.float32())]
)


@pytest.fixture
def call(monkeypatch, capfd):
    def typed(*words: str) -> tuple[object, str, str]:
        monkeypatch.setattr(sys, "argv", ["fpo-pilot", *words])
        with pytest.raises(SystemExit) as left:
            cli.main()
        captured = capfd.readouterr()
        return left.value.code, captured.out, captured.err

    return typed


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run whose roll-out was killed: a segment of shadow, and two rows that wait."""
    with writing(tmp_path, "rollout", ROLLOUT):
        with StepLog(tmp_path, "shadow", SCHEMA) as log:
            log.append({"t": [0, 10**9], "obs.T": [350.0, 351.0]})
        write_table_atomic(tmp_path / "events.parquet", pa.table({"kind": ["note"]}))
    with pytest.raises(KeyboardInterrupt):
        killed(tmp_path)
    return tmp_path


def killed(run: Path) -> None:
    with writing(run, "rollout", ROLLOUT):
        log = StepLog(run, "shadow", SCHEMA)
        log.append_row({"t": 2 * 10**9, "obs.T": 352.0})
        log.append_row({"t": 3 * 10**9, "obs.T": 353.0})
        log.abandon()
        raise KeyboardInterrupt


def test_the_tables_are_listed_with_rows_numbers_and_times(call, run: Path) -> None:
    code, out, _ = call("logs", str(run), "--json")
    assert code == 0
    tables = {one["path"]: one for one in json.loads(out)["tables"]}
    assert set(tables) == {"events.parquet", "steps/stage=shadow/seg-00000.parquet", "wal/shadow-00001.wal"}
    segment = tables["steps/stage=shadow/seg-00000.parquet"]
    assert [segment[name] for name in ("rows", "seq_first", "seq_last", "stage")] == [2, 0, 1, "shadow"]
    assert (segment["first"], segment["last"]) == ("1970-01-01T00:00:00+00:00", "1970-01-01T00:00:01+00:00")
    waiting = tables["wal/shadow-00001.wal"]
    assert [waiting[name] for name in ("rows", "seq_first", "seq_last")] == [2, 2, 3]
    code, out, _ = call("logs", str(run), "--limit", "1")
    assert "2 more files; --limit 3 shows all" in out
    assert "2 rows wait in a write-ahead log" in out


def test_listing_and_asking_change_nothing(call, run: Path) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    call("logs", str(run))
    call("logs", str(run), "--sql", "SELECT 1")
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_rows_that_wait_fail_the_verification_until_they_are_recovered(call, run: Path) -> None:
    code, out, _ = call("verify", str(run), "--json")
    assert code == 1
    found = {fault["where"]: fault["found"] for fault in json.loads(out)["faults"]}
    assert found["wal/shadow-00001.wal"] in ("2 rows that are in no segment", "a file without a line in the ledger")
    code, out, err = call(
        "logs", str(run), "--recover", "--sql", 'SELECT sum("obs.T") AS total, max(t) FROM steps', "--json"
    )
    assert code == 0
    assert "2 rows recovered into seg-00001.parquet" in err
    assert json.loads(out)["rows"] == [{"total": 1406.0, "max(t)": "1970-01-01 00:00:03+00:00"}]
    assert call("verify", str(run), "--deep", "--json")[0] == 0
    lines = (run / FILE).read_bytes()
    assert "nothing to recover" in call("logs", str(run), "--recover")[2]
    assert (run / FILE).read_bytes() == lines


def test_a_folder_that_is_no_run_is_left_alone(call, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("private")
    code, _, err = call("logs", str(tmp_path), "--recover")
    assert code == 2
    assert "found no table" in err
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]
    code, _, err = call("logs", str(tmp_path / "none"))
    assert (code, "found no such folder" in err) == (2, True)


def test_answers_are_shown_and_cut_where_asked(call, run: Path) -> None:
    code, out, _ = call("logs", str(run), "--sql", 'SELECT seq, "obs.T" FROM steps ORDER BY seq', "--limit", "1")
    assert code == 0
    assert "350" in out
    assert "there are more rows; --limit 1 was shown" in out
    code, _, err = call("logs", str(run), "--sql", "DROP TABLE steps")
    assert (code, "a log is read here, never changed" in err) == (2, True)


def test_decisions_are_listed_from_the_ledger_and_counted_by_verify(call, tmp_path: Path) -> None:
    events = pa.table({"seq": [0, 40, 41], "kind": ["note", "gate", "guard"], "reason": ["", "band: pass", "late"]})
    with writing(tmp_path, "rollout", ROLLOUT) as held:
        write_table_atomic(tmp_path / "events.parquet", events)
        held.decide(tmp_path / "events.parquet", decisions_of(events[:2]))
    code, out, _ = call("logs", str(tmp_path), "--decisions", "--json")
    told = json.loads(out)
    assert (code, told["more"]) == (0, False)
    assert [(one["line"], one["kind"], one["seq"], one["recovered"]) for one in told["decisions"]] == [
        (2, "gate", 40, False),
        (3, "guard", 41, True),  # whose line was missing when the command ended
    ]
    for one in told["decisions"]:
        assert hashlib.sha256(one["event"].encode()).hexdigest() == one["sha256"]
    code, out, _ = call("logs", str(tmp_path), "--decisions", "--limit", "1")
    assert "band: pass" in out
    assert "1 more decisions; --limit 2 shows all" in out
    code, out, _ = call("verify", str(tmp_path))
    assert (code, "decisions: 2 lines (1 gate, 1 guard)\n" in out) == (0, True)
    assert json.loads(call("verify", str(tmp_path), "--json")[1])["decisions"] == {"gate": 1, "guard": 1}
    write_table_atomic(tmp_path / "events.parquet", events[:2])
    Ledger(tmp_path).enter([tmp_path / "events.parquet"])
    code, out, _ = call("verify", str(tmp_path), "--json")
    assert (code, [one["where"] for one in json.loads(out)["faults"]]) == (1, ["events.parquet: guard at seq 41"])
    assert "its event is not there" in " ".join(call("logs", str(tmp_path), "--decisions")[1].split())
