"""One writer at a time; a lock outlives neither its process nor its holder's name."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pyarrow as pa
import pytest

from fpo_pilot.errors import LogError
from fpo_pilot.logs.lock import Lock
from fpo_pilot.logs.writer import StepLog

SCHEMA = pa.schema([("seq", pa.int64()), ("stage", pa.string()), ("x", pa.float32())])


def test_a_second_writer_is_refused_and_told_who_holds_it(tmp_path: Path) -> None:
    first = StepLog(tmp_path, "shadow", SCHEMA)
    with pytest.raises(LogError, match=rf"process {os.getpid()}, writing the step log of stage shadow, since .*Wait"):
        StepLog(tmp_path, "full", SCHEMA)
    first.append_row({"x": 1.0})  # and the first is none the worse
    first.close()
    StepLog(tmp_path, "full", SCHEMA).close()


def test_a_lock_that_was_given_back_leaves_no_word_of_its_holder(tmp_path: Path) -> None:
    lock = Lock(tmp_path / "a.lock.tmp", "testing")
    assert json.loads(lock.path.read_bytes())["doing"] == "testing"
    lock.release()
    lock.release()
    assert lock.path.read_bytes() == b""
    again = Lock(lock.path, "testing")
    assert again.taken_over is None
    again.release()


def test_a_holder_that_ended_without_giving_it_back_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.lock.tmp"
    path.write_text('{"pid": 17, "doing": "writing", "since": "2026-01-01"}')
    lock = Lock(path, "testing")
    assert (
        lock.taken_over
        == f"{path}: taken over from process 17, writing, since 2026-01-01, which ended without giving it back"
    )
    lock.release()
    path.write_text("no JSON")
    lock = Lock(path, "testing")
    assert "a process that is not named" in str(lock.taken_over)
    lock.release()


def test_a_folder_that_takes_no_lock_takes_no_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wal").write_text("a file where the folder should be")
    with pytest.raises(LogError, match=r"writer\.lock\.tmp: found that it cannot be locked"):
        StepLog(tmp_path, "shadow", SCHEMA)

    def full(*args: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(os, "pwrite", full)
        with pytest.raises(LogError, match="No space left"):
            StepLog(tmp_path / "run", "shadow", SCHEMA)
    StepLog(tmp_path / "run", "shadow", SCHEMA).close()  # it was not held
