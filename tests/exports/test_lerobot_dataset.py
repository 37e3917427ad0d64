"""LeRobot's layout: rows, places of episodes, tasks and statistics, read back with pyarrow and pandas alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fpo_pilot.exports.choice import Choice, Observations
from fpo_pilot.exports.episodes import read_log
from fpo_pilot.exports.lerobot_dataset import frames_per_second, stats_of, write_lerobot
from tests.exports.conftest import Make, logged

SIGNALS = Choice(observations=Observations.SIGNALS)


def info_of(folder: Path) -> dict:
    return json.loads((folder / "meta" / "info.json").read_text("utf-8"))


def test_rows_are_those_of_the_log_and_done_is_a_termination_alone(run, tmp_path) -> None:
    write_lerobot(read_log(run, SIGNALS), tmp_path / "cstr")
    data, log = pd.read_parquet(tmp_path / "cstr" / "data" / "chunk-000" / "file-000.parquet"), logged(run).loc[:9]
    np.testing.assert_array_equal(np.stack(data["observation.state"]), log[["obs.Ca", "obs.T", "ref.Ca_sp"]].to_numpy())
    np.testing.assert_array_equal(data["action"], log["act.applied.Tc"])
    np.testing.assert_array_equal(data["next.reward"], log["reward.total"])
    assert np.flatnonzero(data["next.done"]).tolist() == [2]
    assert np.flatnonzero(data["next.truncated"]).tolist() == [6, 9]
    assert data["episode_index"].tolist() == [0, 0, 0, 1, 1, 1, 1, 2, 2, 2]
    assert data["frame_index"].tolist() == [0, 1, 2, 0, 1, 2, 3, 0, 1, 2]
    assert data["index"].tolist() == list(range(10))
    assert data["timestamp"].tolist() == [0, 26, 52, 0, 26, 52, 78, 0, 26, 52]


def test_columns_have_the_types_that_info_declares(run, tmp_path) -> None:
    write_lerobot(read_log(run, SIGNALS), tmp_path / "cstr")
    schema = pq.read_schema(tmp_path / "cstr" / "data" / "chunk-000" / "file-000.parquet")
    info = info_of(tmp_path / "cstr")
    assert schema.names == list(info["features"])
    assert schema.field("observation.state").type.list_size == 3
    assert schema.field("action").type == pa.float32()  # one number is no list in LeRobot
    assert schema.field("next.done").type == pa.bool_()
    assert schema.field("index").type == pa.int64()
    assert info["features"]["observation.state"] == {"dtype": "float32", "shape": [3], "names": ["Ca", "T", "Ca_sp"]}
    assert (info["codebase_version"], info["total_episodes"], info["total_frames"]) == ("v3.0", 3, 10)
    assert info["fps"] == pytest.approx(1 / 26)
    assert info["splits"] == {"train": "0:3"}
    assert info["video_path"] is None


def test_each_episode_is_found_by_its_record_also_over_several_files(run, tmp_path) -> None:
    write_lerobot(read_log(run, SIGNALS), tmp_path / "cstr", file_mib=1e-6)
    info = info_of(tmp_path / "cstr")
    records = pd.read_parquet(tmp_path / "cstr" / "meta" / "episodes" / "chunk-000" / "file-000.parquet")
    assert records["data/file_index"].tolist() == [0, 1, 2]
    assert records["length"].tolist() == [3, 4, 3]
    assert list(zip(records["dataset_from_index"], records["dataset_to_index"], strict=True)) == [
        (0, 3),
        (3, 7),
        (7, 10),
    ]
    for _, record in records.iterrows():
        place = {"chunk_index": record["data/chunk_index"], "file_index": record["data/file_index"]}
        rows = pd.read_parquet(tmp_path / "cstr" / info["data_path"].format(**place))
        assert set(rows["episode_index"]) == {record["episode_index"]}
        assert rows["index"].tolist() == list(range(record["dataset_from_index"], record["dataset_to_index"]))
        assert record["stats/next.reward/mean"].tolist() == [rows["next.reward"].mean()]
    facts = [json.loads(one) for one in records["fpo_pilot"]]
    assert [(one["arm"], one["end"]) for one in facts] == [
        ("incumbent", "termination"),
        ("incumbent", "truncation"),
        ("flow", "cut"),
    ]


def test_a_file_takes_episodes_until_it_is_full(run, tmp_path) -> None:
    log = read_log(run, SIGNALS)
    write_lerobot(log, tmp_path / "one")
    row = pq.read_table(tmp_path / "one" / "data" / "chunk-000" / "file-000.parquet").nbytes / 10
    write_lerobot(log, tmp_path / "two", file_mib=7.5 * row / 2**20)  # of 3, 4 and 3 rows
    found = [pq.read_metadata(path).num_rows for path in sorted((tmp_path / "two" / "data").rglob("*.parquet"))]
    assert found == [7, 3]


def test_each_scenario_is_a_task(make: Make, tmp_path) -> None:
    def measured(rows: dict) -> None:
        rows["obs.T"][11] = 331.0

    write_lerobot(read_log(make(change=measured), Choice(scenarios=("all",))), tmp_path / "cstr")
    tasks = pd.read_parquet(tmp_path / "cstr" / "meta" / "tasks.parquet")
    nominal = "Exothermic reactor near runaway"
    assert tasks["task_index"].to_dict() == {nominal: 0, f"{nominal}, scenario dead_thermometer": 1}
    data = pd.read_parquet(tmp_path / "cstr" / "data" / "chunk-000" / "file-000.parquet")
    assert data["task_index"].tolist() == [0] * 10 + [1] * 2
    records = pd.read_parquet(tmp_path / "cstr" / "meta" / "episodes" / "chunk-000" / "file-000.parquet")
    assert [one.tolist() for one in records["tasks"]][2:] == [[nominal], [f"{nominal}, scenario dead_thermometer"]]


def test_statistics_are_over_all_rows(run, tmp_path) -> None:
    write_lerobot(read_log(run, SIGNALS), tmp_path / "cstr")
    stats = json.loads((tmp_path / "cstr" / "meta" / "stats.json").read_text("utf-8"))
    assert stats["next.reward"]["mean"] == [-5.5]  # -1 to -10
    assert stats["next.reward"]["std"][0] == pytest.approx(8.25**0.5)
    assert (stats["next.reward"]["min"], stats["next.reward"]["max"]) == ([-10.0], [-1.0])
    assert stats["next.reward"]["q50"] == [-5.5]
    assert stats["next.reward"]["q10"][0] == pytest.approx(-9.1)
    assert stats["next.done"]["mean"] == [0.1]
    assert stats["action"]["count"] == [10]
    assert len(stats["observation.state"]["mean"]) == 3


def test_statistics_of_a_vector_are_by_its_numbers() -> None:
    found = stats_of({"action": np.array([[1.0, 10.0], [3.0, 10.0]], np.float32)})["action"]
    assert found["mean"] == [2.0, 10.0]
    assert found["std"] == [1.0, 0.0]
    assert found["count"] == [2]


@pytest.mark.parametrize(("period", "wanted"), [(0.1, 10), (0.02, 50), (1.0, 1), (26.0, 1 / 26)])
def test_a_whole_number_of_rows_a_second_is_written_as_one(period: float, wanted: float) -> None:
    assert frames_per_second(period) == pytest.approx(wanted)
    assert isinstance(frames_per_second(period), int if wanted >= 1 else float)
