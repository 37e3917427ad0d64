"""What a crash leaves is made whole: each row once, in order, and what cannot be read is said and kept."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fpo_pilot.errors import LogError
from fpo_pilot.logs import protocol
from fpo_pilot.logs.reader import read_steps, segments
from fpo_pilot.logs.recovery import DAMAGED, read_wal, recover, recover_all
from fpo_pilot.logs.wal import wal_files
from fpo_pilot.logs.writer import StepLog, rewrite_stage

SCHEMA = pa.schema(
    [("seq", pa.int64()), ("stage", pa.string()), ("t", pa.timestamp("ns", tz="UTC")), ("x", pa.float32())]
)


def crashed(run: Path, rows: int = 10, stage: str = "shadow") -> Path:
    """Leave the write-ahead log of a writer that ended without closing; rows singly, then a batch of four."""
    log = StepLog(run, stage, SCHEMA)
    for i in range(rows):
        log.append_row({"t": i, "x": float(i)})
    log.append({"t": np.arange(rows, rows + 4), "x": np.arange(float(rows), rows + 4)})
    log.abandon()
    (path,) = wal_files(run)
    return path


def values(run: Path) -> list[float]:
    table = read_steps(run)
    assert table["seq"].to_pylist() == list(range(table.num_rows))
    return table["x"].to_pylist()


def test_a_log_that_is_opened_again_has_every_row_and_goes_on(tmp_path: Path) -> None:
    crashed(tmp_path)
    with StepLog(tmp_path, "shadow", SCHEMA) as log:
        assert (log.recovered.rows, log.next_seq) == (14, 14)
        assert any("14 rows recovered into seg-00000.parquet" in note for note in log.notes)
        log.append_row({"t": 99, "x": 14.0})
    assert values(tmp_path) == [float(i) for i in range(15)]
    assert wal_files(tmp_path) == ()
    marks = [b"recovered" in pq.read_metadata(path).metadata for path in segments(tmp_path, "shadow")]
    assert marks == [True, False]


def test_recovered_rows_are_those_that_a_close_would_have_written(tmp_path: Path) -> None:
    crashed(tmp_path / "a")
    recover(tmp_path / "a")
    crashed(tmp_path / "b", rows=0)
    recover(tmp_path / "b")
    with StepLog(tmp_path / "c", "shadow", SCHEMA) as log:
        for i in range(10):
            log.append_row({"t": i, "x": float(i)})
        log.append({"t": np.arange(10, 14), "x": np.arange(10.0, 14.0)})
    assert read_steps(tmp_path / "a").equals(read_steps(tmp_path / "c"))
    assert values(tmp_path / "b") == [0.0, 1.0, 2.0, 3.0]


def test_cut_at_any_byte_of_its_last_batch_every_row_before_is_read(tmp_path: Path) -> None:
    path = crashed(tmp_path)
    data = path.read_bytes()
    log = StepLog(tmp_path / "longer", "shadow", SCHEMA)
    for i in range(10):
        log.append_row({"t": i, "x": float(i)})
    (singles,) = wal_files(tmp_path / "longer")
    start = singles.stat().st_size
    log.abandon()
    assert data[:start] == singles.read_bytes()
    for cut in range(start, len(data)):
        path.write_bytes(data[:cut])
        content = read_wal(path)
        assert (content.rows, content.damaged) == (10, False)
        assert len(content.notes) == (cut > start)
        if cut % 211 == 0:  # and the whole way: a segment, and a writer that goes on
            with StepLog(tmp_path, "shadow", SCHEMA) as again:
                assert again.next_seq == 10
            assert values(tmp_path) == [float(i) for i in range(10)]
            segments(tmp_path, "shadow")[0].unlink()


def test_a_changed_bit_anywhere_costs_one_record_and_keeps_the_file(tmp_path: Path) -> None:
    path = crashed(tmp_path)
    data = path.read_bytes()
    for place in range(0, len(data), 41):
        changed = bytearray(data)
        changed[place] ^= 4
        path.write_bytes(changed)
        content = read_wal(path)
        assert content.damaged
        assert content.rows in (14, 13, 10)  # of the head, of a row, of the batch
        assert any(f"byte {offset}," in content.notes[0] for offset in range(place + 1))
    path.write_bytes(changed)
    found = recover(tmp_path)
    assert found.kept == (path.with_name(path.name + DAMAGED),)
    assert found.kept[0].read_bytes() == changed
    assert wal_files(tmp_path) == ()
    assert read_steps(tmp_path).num_rows == found.rows == 10


def test_rows_behind_a_damaged_one_become_a_segment_of_their_own(tmp_path: Path) -> None:
    path = crashed(tmp_path)
    data = bytearray(path.read_bytes())
    data[data.index(b"[5,1,") + 6] ^= 1
    path.write_bytes(data)
    found = recover(tmp_path)
    assert found.rows == 13
    assert [pq.read_metadata(one).num_rows for one in found.segments] == [5, 8]
    assert read_steps(tmp_path)["seq"].to_pylist() == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13]
    assert any("are no record" in note for note in found.notes)


def test_what_was_kept_is_never_overwritten(tmp_path: Path) -> None:
    for _ in range(2):
        path = crashed(tmp_path, rows=0)
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
        recover(tmp_path)
    assert len(list((tmp_path / "wal").glob(f"*{DAMAGED}"))) == 2


def test_doing_it_twice_changes_nothing(tmp_path: Path) -> None:
    path = crashed(tmp_path)
    data = path.read_bytes()
    recover(tmp_path)
    before = {one: one.read_bytes() for one in segments(tmp_path, "shadow")}
    path.write_bytes(data)  # as if the recovery had been killed before it took the log away
    again = recover(tmp_path)
    assert (again.rows, again.segments, again.removed) == (0, (), (path,))
    assert {one: one.read_bytes() for one in segments(tmp_path, "shadow")} == before
    assert recover(tmp_path).removed == ()


def test_of_a_number_that_comes_twice_the_later_row_counts(tmp_path: Path) -> None:
    path = crashed(tmp_path, rows=3)
    other = crashed(tmp_path / "other", rows=2)
    head = other.read_bytes()
    rows = head[head.index(b"\xf5PW\x01R") :]
    path.write_bytes(path.read_bytes() + rows)  # rows 0 to 5 behind rows 0 to 6
    content = read_wal(path)
    assert content.rows == 6
    assert any("row 0 comes again after 6" in note for note in content.notes)


def test_a_log_without_its_head_or_of_another_release_is_refused_and_stays(tmp_path: Path) -> None:
    path = crashed(tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[data.index(b"\xf5PW\x01R") :])
    with pytest.raises(LogError, match=r"shadow-00000\.wal: found no whole head.*Nothing was changed"):
        StepLog(tmp_path, "shadow", SCHEMA)
    assert path.exists()
    path.write_bytes(data[:30])
    assert any("nothing was in it" in note for note in recover(tmp_path).notes)
    assert not path.exists()


def test_the_logs_of_drills_are_recovered_with_their_run(tmp_path: Path) -> None:
    crashed(tmp_path)
    crashed(tmp_path / "drills" / "random-actions")
    assert recover_all(tmp_path).rows == 28
    assert list(tmp_path.rglob("*.wal")) == []


def test_a_recovery_waits_for_no_writer(tmp_path: Path) -> None:
    with StepLog(tmp_path, "shadow", SCHEMA) as log:
        log.append_row({"t": 0, "x": 1.0})
        for other in (recover, lambda run: rewrite_stage(run, "shadow", pa.table({"t": [1], "x": [1.0]}), SCHEMA)):
            with pytest.raises(LogError, match=r"writes there now.*writing the step log of stage shadow"):
                other(tmp_path)
    assert values(tmp_path) == [1.0]


def test_a_clock_that_goes_back_loses_nothing_and_is_said(tmp_path: Path) -> None:
    with StepLog(tmp_path, "shadow", SCHEMA) as log:
        for i, t in enumerate((10**9, 2 * 10**9, 10**9 // 2, 3 * 10**9)):
            log.append_row({"t": t, "x": float(i)})
        assert [note.partition(": ")[2] for note in log.notes] == [
            "the clock went back at row 2; rows stand in the order of seq, by 1.5 s"
        ]
    assert values(tmp_path) == [0.0, 1.0, 2.0, 3.0]
    plain = pq.read_metadata(segments(tmp_path, "shadow")[0]).metadata
    assert (plain[b"clock_back"], plain[b"clock_back_count"]) == (b"2", b"1")


def test_a_clock_that_goes_back_between_batches_segments_and_writers_is_said(tmp_path: Path) -> None:
    second = 10**9
    with StepLog(tmp_path, "shadow", SCHEMA, rows_per_segment=2) as log:
        for times in ((5, 6), (4,), (5,)):  # back at row 2, with a new batch and a new segment
            log.append({"t": np.array(times) * second, "x": np.zeros(len(times))})
        log.append_row({"t": 3 * second, "x": 0.0})  # back at row 4, after batches
        assert [note.partition(" row ")[2].partition(";")[0] for note in log.notes] == ["2", "4"]
    with StepLog(tmp_path, "shadow", SCHEMA) as log:
        log.append({"t": np.array([2, 9]) * second, "x": np.zeros(2)})  # back at row 5, since the writer before
        assert "at row 5" in log.notes[0]
    told = [pq.read_metadata(path).metadata.get(b"clock_back") for path in segments(tmp_path, "shadow")]
    assert told == [None, b"2", b"4", b"5"]


KILLED = """
import os, signal, sys
from pathlib import Path
import pyarrow as pa
from fpo_pilot.logs import protocol
from fpo_pilot.logs.writer import StepLog

schema = pa.schema([("seq", pa.int64()), ("stage", pa.string()), ("t", pa.timestamp("ns", tz="UTC")), ("x", pa.float32())])


def child(run, step, after):
    acknowledged = os.open(run / "acknowledged", os.O_WRONLY | os.O_CREAT)
    seen = []

    def listen(name):
        if name == step:
            seen.append(name)
            if len(seen) > after:
                os.kill(os.getpid(), signal.SIGKILL)

    if step.startswith("recovery"):
        log = StepLog(run, "shadow", schema)
        for i in range(9):
            log.append_row({"t": i, "x": float(i)})
            os.pwrite(acknowledged, b"%4d" % (i + 1), 0)
        log.abandon()
        protocol.listen(listen)
        StepLog(run, "shadow", schema)
    protocol.listen(listen)
    log = StepLog(run, "shadow", schema, rows_per_segment=20)
    for i in range(10):
        log.append_row({"t": i, "x": float(i)})
        os.pwrite(acknowledged, b"%4d" % (i + 1), 0)
    log.sync()
    log.flush()
    os._exit(3)


for step in protocol.STEPS:
    run = Path(sys.argv[1]) / step.replace(" ", "-")
    run.mkdir()
    after = 4 if step == "rows appended" else 0
    pid = os.fork()
    if pid == 0:
        child(run, step, after)
    status = os.waitpid(pid, 0)[1]
    print(step, os.WTERMSIG(status) if os.WIFSIGNALED(status) else -os.WEXITSTATUS(status), sep=":")
"""


def test_killed_at_any_step_it_comes_back_with_every_acknowledged_row_once(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == [f"{step}:9" for step in protocol.STEPS], done.stderr
    for step in protocol.STEPS:
        run = tmp_path / step.replace(" ", "-")
        text = (run / "acknowledged").read_text()
        acknowledged = int(text) if text else 0
        with StepLog(run, "shadow", SCHEMA) as log:
            assert log.next_seq in (acknowledged, acknowledged + 1), step  # one was under way
            assert any("ended without giving it back" in note for note in log.notes), step
            log.append_row({"t": 0, "x": float(log.next_seq)})
        assert values(run) == [float(i) for i in range(log.next_seq)], step
        assert list(run.rglob("*.wal")) == []


class Killed(BaseException):
    """Stands for a kill inside of a recovery: what runs on the way out is little, and harmless."""


@pytest.mark.parametrize(
    "step", ["file written", "file synced", "file checked", "file moved", "folder synced", "recovery read"]
)
def test_a_recovery_that_is_killed_is_repeated_without_a_row_twice(tmp_path: Path, step: str) -> None:
    crashed(tmp_path)

    def listen(name: str) -> None:
        if name == step:
            raise Killed

    protocol.listen(listen)
    try:
        with pytest.raises(Killed):
            recover(tmp_path)
        with contextlib.suppress(Killed):  # the second finds the rows in their place, if the first came so far
            recover(tmp_path)
    finally:
        protocol.listen(None)
    recover(tmp_path)
    assert values(tmp_path) == [float(i) for i in range(14)]
    assert wal_files(tmp_path) == ()
