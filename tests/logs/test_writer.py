from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fpo_pilot.errors import LogError
from fpo_pilot.logs.reader import read_steps, segments, stages
from fpo_pilot.logs.schema import step_schema
from fpo_pilot.logs.writer import StepLog, rewrite_stage
from fpo_pilot.specs.plant import PlantSpec
from fpo_pilot.specs.safety import SafetySpec


@pytest.fixture
def schema(tank_plant: PlantSpec, tank_safety: SafetySpec) -> pa.Schema:
    return step_schema(tank_plant, tank_safety)


def rows(count: int, **more: object) -> dict[str, object]:
    steps = np.arange(count)
    return {
        "t": (steps * 2_000_000_000).astype("datetime64[ns]"),
        "episode_id": 7,
        "step": steps,
        "arm": "flow",
        "obs.level": np.linspace(1.0, 2.0, count),
        "quality.level": np.zeros(count, np.uint8),
        "shield.reasons": [["rate"] if i % 2 else [] for i in range(count)],
        "terminated": False,
        "truncated": steps == count - 1,
        **more,
    }


def test_what_is_appended_is_read_back(tmp_path: Path, schema: pa.Schema) -> None:
    with StepLog(tmp_path, "offline", schema) as log:
        log.append(rows(3))
        log.append(rows(2, arm="hold", authority=0.5))
    table = read_steps(tmp_path, "offline")
    assert table["seq"].to_pylist() == [0, 1, 2, 3, 4]
    assert table["obs.level"].to_pylist() == [1.0, 1.5, 2.0, 1.0, 2.0]
    assert table["arm"].to_pylist() == ["flow"] * 3 + ["hold"] * 2
    assert table["stage"].to_pylist() == ["offline"] * 5
    assert table["shield.reasons"].to_pylist() == [[], ["rate"], [], [], ["rate"]]
    assert table["authority"].to_pylist() == [None, None, None, 0.5, 0.5]
    assert table["act.proposed.inflow"].null_count == 5
    assert str(table["t"].to_pylist()[1]) == "1970-01-01 00:00:02+00:00"


def test_units_ranges_and_labels_are_in_the_fields_and_in_plain_key_values(tmp_path: Path, schema: pa.Schema) -> None:
    with StepLog(tmp_path, "offline", schema, metadata={"plant_hash": "abc"}) as log:
        log.append(rows(1))
    field = pq.read_schema(segments(tmp_path, "offline")[0]).field("obs.level")
    assert field.metadata[b"unit"] == b"m"
    assert field.metadata[b"label.ja"].decode() == "液位"
    plain = pq.read_metadata(segments(tmp_path, "offline")[0]).metadata
    assert plain[b"obs.level:unit"] == b"m"
    assert (plain[b"obs.level:low"], plain[b"obs.level:high"]) == (b"0.0", b"3.0")
    assert plain[b"obs.level:tag"] == b"T1.LI01;PV=1"
    assert (plain[b"act.applied.inflow:unit"], plain[b"margin.overflow:unit"]) == (b"m3/s", b"m")
    assert (plain[b"plant"], plain[b"period_s"], plain[b"plant_hash"], plain[b"stage"]) == (
        b"tank",
        b"2.0",
        b"abc",
        b"offline",
    )


def test_single_rows_make_the_same_log_as_columns(tmp_path: Path, schema: pa.Schema) -> None:
    columns = rows(5)
    with StepLog(tmp_path / "a", "shadow", schema) as log:
        log.append(columns)
    with StepLog(tmp_path / "b", "shadow", schema) as log:
        for i in range(5):
            row = {k: v[i] if isinstance(v, np.ndarray | list) else v for k, v in columns.items()}
            log.append_row(row)
        assert log.next_seq == 5
    assert read_steps(tmp_path / "a").equals(read_steps(tmp_path / "b"))


def test_a_reopened_log_goes_on_counting(tmp_path: Path, schema: pa.Schema) -> None:
    for _ in range(2):
        with StepLog(tmp_path, "offline", schema) as log:
            log.append(rows(2))
    assert [path.name for path in segments(tmp_path, "offline")] == ["seg-00000.parquet", "seg-00001.parquet"]
    assert read_steps(tmp_path)["seq"].to_pylist() == [0, 1, 2, 3]


def test_a_full_segment_is_written_at_once(tmp_path: Path, schema: pa.Schema) -> None:
    log = StepLog(tmp_path, "offline", schema, rows_per_segment=4)
    log.append(rows(3))
    assert segments(tmp_path, "offline") == ()
    log.append(rows(3))
    assert read_steps(tmp_path).num_rows == 6
    log.close()
    assert len(segments(tmp_path, "offline")) == 1


@pytest.mark.parametrize("seq", [[0, 2], [0, 0], [1, 2]])
def test_a_gap_or_repetition_in_seq_is_refused(tmp_path: Path, schema: pa.Schema, seq: list[int]) -> None:
    log = StepLog(tmp_path, "offline", schema)
    with pytest.raises(LogError, match="no gap, no repetition"):
        log.append(rows(2, seq=np.array(seq)))


def test_a_stage_that_comes_back_resumes_at_a_later_number(tmp_path: Path, schema: pa.Schema) -> None:
    with StepLog(tmp_path, "shadow", schema) as log:
        log.append(rows(2))
        log.resume_at(10)
        log.append(rows(2))
        with pytest.raises(LogError, match="seq 3 after 11"):
            log.resume_at(3)
    assert read_steps(tmp_path)["seq"].to_pylist() == [0, 1, 10, 11]


def test_a_missing_segment_between_two_is_no_excuse_for_a_segment_out_of_order(
    tmp_path: Path, schema: pa.Schema
) -> None:
    for _ in range(2):
        with StepLog(tmp_path, "offline", schema) as log:
            log.append(rows(2))
    first, second = segments(tmp_path, "offline")
    first.rename(tmp_path / "aside")
    second.rename(first)
    (tmp_path / "aside").rename(second)
    with pytest.raises(LogError, match="found seq 0 after 3"):
        read_steps(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"obs.nothing": 1.0}, "obs.nothing"),
        ({"step": np.arange(3)}, "columns of one length"),
        ({"step": np.array([0, 2**40])}, "column step"),
        ({"arm": None}, "column arm: found no value"),
        ({"obs.level": ["low", "high"]}, "column obs.level"),
    ],
)
def test_what_does_not_fit_the_schema_is_refused(
    tmp_path: Path, schema: pa.Schema, change: dict[str, object], message: str
) -> None:
    with pytest.raises(LogError, match=message):
        StepLog(tmp_path, "offline", schema).append(rows(2, **change))
    assert segments(tmp_path, "offline") == ()


def test_a_disk_that_fails_stops_the_log(tmp_path: Path, schema: pa.Schema, monkeypatch: pytest.MonkeyPatch) -> None:
    log = StepLog(tmp_path, "offline", schema)
    log.append(rows(2))

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", full)
        with pytest.raises(LogError, match="No space left"):
            log.flush()
    assert list((tmp_path / "steps" / "stage=offline").iterdir()) == []
    log.close()  # the rows were kept, and are written once the disk is well again
    assert read_steps(tmp_path).num_rows == 2


KILLED = """
    import os, sys
    from pathlib import Path
    import numpy as np
    import pyarrow as pa
    from fpo_pilot.logs.writer import StepLog, rewrite_stage

    schema = pa.schema([("seq", pa.int64()), ("stage", pa.string()), ("x", pa.float64())])
    log = StepLog(Path(sys.argv[1]), "offline", schema)
    log.append({"x": np.arange(100.0)})
    log.flush()
    log.append({"x": np.arange(100.0)})
    setattr(os, sys.argv[2], lambda *args: os.kill(os.getpid(), 9))
    log.flush()
"""


@pytest.mark.parametrize("failpoint", ["fsync", "replace"])
def test_a_kill_while_a_segment_is_written_loses_no_row(tmp_path: Path, failpoint: str) -> None:
    code = textwrap.dedent(KILLED)
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path), failpoint], check=False).returncode == -9
    assert read_steps(tmp_path, "offline").num_rows == 100
    schema = pa.schema([("seq", pa.int64()), ("stage", pa.string()), ("x", pa.float64())])
    with StepLog(tmp_path, "offline", schema) as log:
        log.append({"x": np.zeros(5)})
        assert log.recovered.rows == 100
    table = read_steps(tmp_path)
    assert table["seq"].to_pylist() == list(range(205))
    assert table["x"].to_pylist() == [*map(float, range(100))] * 2 + [0.0] * 5


def test_no_log_at_all_says_how_to_get_one(tmp_path: Path) -> None:
    assert stages(tmp_path) == ()
    with pytest.raises(LogError, match="fpo-pilot evaluate"):
        read_steps(tmp_path)


def test_a_segment_whose_rows_are_not_those_it_claims_is_refused(tmp_path: Path, schema: pa.Schema) -> None:
    with StepLog(tmp_path, "offline", schema) as log:
        log.append(rows(3))
    path = segments(tmp_path, "offline")[0]
    table = pq.read_table(path, partitioning=None)
    pq.write_table(table.take([0, 2]), path)
    with pytest.raises(LogError, match="without a gap"):
        read_steps(tmp_path)


def test_a_rewritten_stage_is_numbered_anew_and_leaves_nothing_of_the_old_one(
    tmp_path: Path, schema: pa.Schema, monkeypatch: pytest.MonkeyPatch
) -> None:
    with StepLog(tmp_path, "offline", schema, rows_per_segment=2) as log:
        for _ in range(4):
            log.append(rows(2))
    assert len(segments(tmp_path, "offline")) == 4
    kept = read_steps(tmp_path).slice(3, 3)
    monkeypatch.setattr("fpo_pilot.logs.writer.ROWS_PER_SEGMENT", 2)
    rewrite_stage(tmp_path, "offline", kept, schema)
    table = read_steps(tmp_path)
    assert len(segments(tmp_path, "offline")) == 2
    assert table["seq"].to_pylist() == [0, 1, 2]
    assert table["step"].to_pylist() == kept["step"].to_pylist()
