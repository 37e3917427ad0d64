"""A command enters what it did, and nothing that somebody else did."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from fpo_pilot.commands.logs import run_logs
from fpo_pilot.errors import LogError
from fpo_pilot.logs import protocol
from fpo_pilot.logs.ledger import FILE, read_ledger
from fpo_pilot.logs.recovery import DAMAGED
from fpo_pilot.logs.tables import write_table_atomic
from fpo_pilot.logs.verify import verify_run
from fpo_pilot.logs.wal import wal_files
from fpo_pilot.logs.writer import StepLog
from fpo_pilot.logs.writing import REPORT, ROLLOUT, TRAINING, writing

SCHEMA = pa.schema(
    [("seq", pa.int64()), ("stage", pa.string()), ("t", pa.timestamp("ns", tz="UTC")), ("x", pa.float32())]
)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    with writing(folder, "train", TRAINING):
        (folder / "manifest.json").write_text("{}", "utf-8")
        write_table_atomic(folder / "metrics.parquet", pa.table({"update": [0, 1]}))
    report(folder)
    return folder


def report(run: Path, text: str = "<p>") -> None:
    with writing(run, "report", REPORT):
        (run / "report.en.html").write_text(text, "utf-8")


def kinds(run: Path) -> list[str]:
    return [record.kind for record in read_ledger(run)[0]]


def places(run: Path) -> list[str]:
    return [fault.where for fault in verify_run(run).faults]


def test_a_run_whose_ledger_was_taken_away_gets_no_new_one_by_itself(run) -> None:
    (run / FILE).unlink()
    with pytest.raises(LogError, match=r"found no ledger beside a manifest.*--begin-ledger"):
        report(run)
    assert not (run / FILE).exists()
    options = {"sql": None, "limit": 1, "recover": False, "as_json": True}
    assert run_logs(run, **options, begin_ledger=True) == 0
    found = verify_run(run)
    assert (found.intact, found.recovered) == (True, 3)
    with pytest.raises(LogError, match="never begun again"):
        run_logs(run, **options, begin_ledger=True)


def test_a_file_that_nobody_recorded_is_not_entered_as_the_work_of_a_command(run) -> None:
    (run / "report.evil.html").write_text("forged", "utf-8")
    before = kinds(run)
    with pytest.raises(LogError, match=r"report.evil.html: found a file that no command has recorded"):
        report(run)
    assert kinds(run) == before
    assert places(run) == ["report.evil.html"]
    (run / "report.evil.html").unlink()
    report(run)
    assert places(run) == []


def test_what_a_killed_command_left_is_entered_as_recovered_and_its_temporary_files_go(run) -> None:
    half = writing(run, "report", REPORT)
    half.__enter__()
    (run / "report.ja.html").write_text("half", "utf-8")
    (run / "report.ja.pdf.tmp").write_text("half", "utf-8")
    assert not half.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert "report.ja.pdf.tmp" in places(run)
    report(run, "<b>")
    assert places(run) == []
    assert verify_run(run).recovered == 1
    assert not (run / "report.ja.pdf.tmp").exists()


def test_what_is_only_missing_is_written_again_and_that_it_was_missing_is_on_record(run) -> None:
    (run / "report.en.html").unlink()
    report(run)
    assert places(run) == []
    assert kinds(run)[-4:] == ["gone", "begin", "report", "end"]
    assert verify_run(run).recovered == 1
    (run / "manifest.json").unlink()
    with pytest.raises(LogError, match=r"manifest.json: found a file that is not as the ledger"):
        report(run)
    with writing(run, "train", TRAINING):  # whose own it is
        (run / "manifest.json").write_text("{}", "utf-8")


@pytest.mark.parametrize(
    "name",
    ["evil.tmp", "attestations/evil.txt", "attestations/0000.json/evil", "sub/ledger.jsonl", "sub/writing.lock.tmp"],
)
def test_nothing_hides_behind_a_name(run, name) -> None:
    path = run / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("evil", "utf-8")
    assert name in places(run)


def test_a_folder_that_is_elsewhere_does_not_hide_behind_a_link(run, tmp_path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (run / "steps").symlink_to(tmp_path / "elsewhere")
    assert places(run) == ["steps"]


def test_bytes_behind_the_last_line_are_told_and_cut_by_the_next_command(run) -> None:
    whole = (run / FILE).read_bytes()
    (run / FILE).write_bytes(whole + b'{"evil":1}')
    (fault,) = verify_run(run).faults
    assert fault.where == f"{FILE}:{len(kinds(run)) + 1}"
    assert fault.found == "10 bytes without an end of line"
    with writing(run, "report", REPORT) as held:
        assert held.notes == (f"{run / FILE}: 10 bytes of a line without its end cut",)
    assert places(run) == []


def test_a_hole_in_the_step_log_is_a_fault_for_good(run) -> None:
    half = writing(run, "rollout", ROLLOUT)
    half.__enter__()
    log = StepLog(run, "shadow", SCHEMA)
    for i in range(4):
        log.append_row({"t": i, "x": float(i)})
    log.abandon()
    assert not half.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    (path,) = wal_files(run)
    data = bytearray(path.read_bytes())
    data[-3] ^= 1  # in the last record: no row behind it makes a gap
    path.write_bytes(data)
    report(run, "<b>")
    (fault,) = verify_run(run).faults
    assert fault.where == f"wal/{path.name}{DAMAGED}"
    assert "rows of it may be lost" in fault.found


def test_a_recovery_that_is_cut_short_is_closed_by_the_next_command(run) -> None:
    log = StepLog(run, "shadow", SCHEMA)
    log.append({"t": np.arange(4), "x": np.arange(4.0)})
    log.abandon()  # by someone who wrote without a begin

    class Killed(BaseException):
        pass

    def kill(step: str) -> None:
        if step == "recovery done":
            raise Killed

    protocol.listen(kill)
    try:
        with pytest.raises(Killed):
            report(run)
    finally:
        protocol.listen(None)
    assert kinds(run)[-1] == "begin"
    report(run, "<b>")
    assert places(run) == []
    assert kinds(run)[-6:] == ["begin", "segment", "end", "begin", "report", "end"]


def test_a_folder_that_is_no_run_yet_gets_a_ledger_of_all_that_is_there(tmp_path) -> None:
    log = StepLog(tmp_path, "shadow", SCHEMA)
    log.append({"t": np.arange(4), "x": np.arange(4.0)})
    log.abandon()
    (tmp_path / "remarks.txt").write_text("mine", "utf-8")
    report(tmp_path)
    found = verify_run(tmp_path)
    assert (found.faults, found.recovered) == ((), 2)
