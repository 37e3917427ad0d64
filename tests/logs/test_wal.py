"""Rows are in a file before the call returns; what cannot be written is refused, and what was written stays."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from fpo_pilot.errors import LogError
from fpo_pilot.logs import wal
from fpo_pilot.logs.reader import read_steps, segments
from fpo_pilot.logs.recovery import read_wal
from fpo_pilot.logs.wal import wal_files
from fpo_pilot.logs.writer import StepLog

SCHEMA = pa.schema([("seq", pa.int64()), ("stage", pa.string()), ("x", pa.float32()), ("note", pa.string())])


@pytest.fixture
def log(tmp_path: Path):
    opened = StepLog(tmp_path, "shadow", SCHEMA)
    yield opened
    opened.abandon()


def waiting(run: Path) -> list[float]:
    (path,) = wal_files(run)
    return [value for table in read_wal(path).tables for value in table["x"].to_pylist()]


def test_every_row_is_in_the_file_before_its_call_returns(log: StepLog, tmp_path: Path) -> None:
    for i in range(5):
        log.append_row({"x": float(i)})
        assert waiting(tmp_path) == [float(k) for k in range(i + 1)]
    log.append({"x": np.arange(5.0, 9.0)})
    assert waiting(tmp_path) == [float(k) for k in range(9)]
    log.close()
    assert wal_files(tmp_path) == ()
    assert read_steps(tmp_path)["x"].to_pylist() == [float(k) for k in range(9)]


def test_rows_are_forced_to_the_disk_within_a_second(log: StepLog, monkeypatch: pytest.MonkeyPatch) -> None:
    forced: list[float] = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: (forced.append(time.monotonic()), real(descriptor)))
    log.append_row({"x": 1.0})
    given = time.monotonic()
    while not any(moment > given for moment in forced) and time.monotonic() < given + 3.0:
        time.sleep(0.02)
    assert 0.0 < forced[-1] - given < 1.0


def test_columns_may_change_between_rows(log: StepLog, tmp_path: Path) -> None:
    log.append_row({"x": 1.0})
    log.append_row({"note": "a", "x": 2.0})
    log.append_row({"x": 3.0})
    (path,) = wal_files(tmp_path)
    tables = read_wal(path).tables
    assert [value for table in tables for value in table["note"].to_pylist()] == [None, "a", None]
    log.close()
    assert read_steps(tmp_path)["note"].to_pylist() == [None, "a", None]


def full(after: int, real=os.write):
    """A disk that takes ``after`` bytes more, and then none."""
    room = [after]

    def write(descriptor: int, data: memoryview) -> int:
        if room[0] == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        size = min(room[0], len(data))
        room[0] -= size
        return real(descriptor, data[:size])

    return write


@pytest.mark.parametrize("after", [0, 1, 25])
def test_a_full_disk_refuses_the_row_whole_and_keeps_those_before(
    log: StepLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    log.append_row({"x": 1.0})
    (path,) = wal_files(tmp_path)
    before = path.read_bytes()
    with monkeypatch.context() as broken:
        broken.setattr(os, "write", full(after))
        with pytest.raises(LogError, match=r"shadow-00000\.wal: found .*No space left.*no log, no authority"):
            log.append_row({"x": 2.0})
    assert path.read_bytes() == before
    assert log.next_seq == 1
    log.append_row({"x": 3.0})  # there is room again
    assert waiting(tmp_path) == [1.0, 3.0]


def test_a_disk_that_is_nearly_full_refuses_before_it_is(
    log: StepLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.append_row({"x": 1.0})
    real = os.statvfs(tmp_path)
    few = wal.RESERVE // 2 // real.f_frsize
    monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result((*real[:4], few, *real[5:])))
    with pytest.raises(LogError, match="MiB free on its disk"):
        log.append_row({"x": 2.0})
    log.close()  # what was taken still becomes a segment: that is what the reserve is for
    assert read_steps(tmp_path)["x"].to_pylist() == [1.0]


def test_after_a_failed_fsync_no_row_is_taken_whatever_a_second_try_says(
    log: StepLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.append_row({"x": 1.0})
    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError(errno.EIO, "Input/output error")))
        with pytest.raises(LogError, match="the disk did not take it"):
            log.sync()
    for again in (lambda: log.append_row({"x": 2.0}), log.sync):
        with pytest.raises(LogError, match="the disk did not take it"):
            again()
    log.close()  # a segment is written, forced and read back by itself
    assert read_steps(tmp_path)["x"].to_pylist() == [1.0]


def test_a_failed_fsync_in_the_background_stops_the_next_row(log: StepLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wal, "SYNC_SECONDS", 0.01)
    log.append_row({"x": 1.0})
    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError(errno.EIO, "Input/output error")))
        refused: list[LogError] = []
        until = time.monotonic() + 3.0
        while not refused and time.monotonic() < until:
            time.sleep(0.01)
            try:
                log.append_row({"x": 2.0})
            except LogError as problem:
                refused.append(problem)
    assert "Input/output error" in str(refused[0])


def test_a_log_that_cannot_be_made_takes_no_row_without_its_head(
    log: StepLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken_folder(folder: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(wal, "sync_folder", broken_folder)
        for _ in range(2):
            with pytest.raises(LogError, match="could not be made"):
                log.append_row({"x": 1.0})
    assert wal_files(tmp_path) == ()
    log.append_row({"x": 2.0})
    assert waiting(tmp_path) == [2.0]


def test_a_log_that_lies_there_already_is_never_written_over(log: StepLog, tmp_path: Path) -> None:
    other = wal.wal_path(tmp_path, "shadow", 0)
    other.write_bytes(b"rows of somebody else")
    with pytest.raises(LogError, match="could not be made"):
        log.append_row({"x": 1.0})
    assert other.read_bytes() == b"rows of somebody else"
    other.unlink()


def test_an_interrupted_write_is_not_written_behind(
    log: StepLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.append_row({"x": 1.0})
    with monkeypatch.context() as broken:
        broken.setattr(os, "write", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            log.append_row({"x": 2.0})
    with pytest.raises(LogError, match="interrupted"):
        log.append_row({"x": 3.0})
    log.close()
    assert read_steps(tmp_path)["x"].to_pylist() == [1.0]


def test_a_log_of_many_bytes_becomes_a_segment_however_few_its_rows(
    log: StepLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fpo_pilot.logs.writer.WAL_SIZE", 2000)
    for i in range(3):
        log.append({"x": np.full(10, float(i)), "note": "n" * 1000 * i})
    assert len(segments(tmp_path, "shadow")) >= 1
    log.close()
    assert read_steps(tmp_path).num_rows == 30


@pytest.mark.parametrize("lost", [0, 1])
def test_one_copy_of_the_head_is_enough(log: StepLog, tmp_path: Path, lost: int) -> None:
    log.append_row({"x": 1.0})
    (path,) = wal_files(tmp_path)
    data = bytearray(path.read_bytes())
    places = [i for i in range(len(data)) if data[i : i + 9] == b'{"version']
    data[places[lost] + 3] ^= 1
    path.write_bytes(data)
    assert waiting(tmp_path) == [1.0]
    for place in places:
        data[place + 4] ^= 1
    path.write_bytes(data)
    with pytest.raises(LogError, match=r"shadow-00000\.wal: found no whole head"):
        read_wal(path)


def test_rows_whose_names_are_lost_are_not_read_under_other_names(log: StepLog, tmp_path: Path) -> None:
    log.append_row({"x": 1.0, "note": "a"})
    log.append_row({"note": "b", "x": 2.0})
    (path,) = wal_files(tmp_path)
    data = bytearray(path.read_bytes())
    name = b'[2, "note", "x"]'
    for place in [i for i in range(len(data)) if data[i : i + len(name)] == name]:
        data[place] ^= 1
    path.write_bytes(data)
    content = read_wal(path)
    assert [table["note"].to_pylist() for table in content.tables] == [["a"]]
    assert any("rows 1 to 1 have lost the names of their columns" in note for note in content.notes)
