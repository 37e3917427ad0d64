"""``fpo-pilot ingest`` from end to end: a run folder that verifies, and errors with exit code 2 that leave nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from fpo_pilot.learn.logged import read_logged
from fpo_pilot.logs.reader import read_steps
from fpo_pilot.logs.writer import StepLog
from fpo_pilot.plants.load import load_plant
from fpo_pilot.plants.observations import observation_layout
from fpo_pilot.specs.training import WarmStart
from tests.ingestion.conftest import frame, logged, write  # noqa: F401  # fixtures
from tests.test_cli import call


@pytest.fixture
def run(tmp_path: Path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    return lambda *words: call(monkeypatch, capfd, *words)


def test_an_export_becomes_a_run_that_verifies(run, tmp_path, frame, write) -> None:  # noqa: F811
    path, mapped = write(frame)
    code, out, err = run("ingest", str(path), "--plant", "cstr", "--map", str(mapped), "--out", "runs/h")
    assert code == 0, err
    assert "60 steps, 1 episodes, 0 gaps" in out
    table = read_steps(tmp_path / "runs" / "h", "history")
    assert table.num_rows == 60
    assert set(table["arm"].to_pylist()) == {"incumbent"}
    assert (table.schema.metadata or {})[b"behavior_density"] == b"none"
    facts = json.loads((tmp_path / "runs/h/ingestion.json").read_text())
    assert facts["sources"][0]["name"] == "export.csv"
    assert len(facts["sources"][0]["sha256"]) == 64
    assert "データ品質" in (tmp_path / "runs/h/data_quality.ja.md").read_text("utf-8")
    assert run("verify", "runs/h", "--deep")[0] == 0
    again = run("ingest", str(path), "--plant", "cstr", "--map", str(mapped), "--out", "runs/h")
    assert again[0] == 2
    assert "History is never overwritten" in again[2]


def test_a_broken_export_leaves_nothing_and_json_is_one_document(run, tmp_path, frame, write) -> None:  # noqa: F811
    path, mapped = write(frame)
    code, out, _ = run("ingest", str(path), "--plant", "cstr", "--map", str(mapped), "--out", "runs/j", "--json")
    assert code == 0
    assert json.loads(out)["rows"] == 60
    frame.loc[4, "反応器温度"] = "warm"
    path, mapped = write(frame)
    code, _, err = run("ingest", str(path), "--plant", "cstr", "--map", str(mapped), "--out", "runs/k")
    assert code == 2
    assert "row 6, column 反応器温度" in err
    assert not (tmp_path / "runs" / "k").exists()


@pytest.mark.parametrize("out", ["export.csv", "export.csv/deeper"])
def test_a_run_folder_that_is_a_file_is_refused(run, frame, write, out) -> None:  # noqa: F811
    path, mapped = write(frame)
    before = path.read_bytes()
    code, _, err = run("ingest", str(path), "--plant", "cstr", "--map", str(mapped), "--out", out)
    assert code == 2
    assert "export.csv: found a file, expected a folder for the run" in err
    assert path.read_bytes() == before


def test_what_a_killed_ingestion_left_is_not_taken_for_history(run, tmp_path, frame, write, monkeypatch) -> None:  # noqa: F811
    path, mapped = write(frame)
    words = ("ingest", str(path), "--plant", "cstr", "--map", str(mapped), "--out", "runs/h")

    def killed(log: StepLog) -> None:
        log.abandon()
        raise KeyboardInterrupt

    with monkeypatch.context() as dying:
        dying.setattr(StepLog, "close", killed)
        assert run(*words)[0] not in (0, 2)
    assert not (tmp_path / "runs/h/manifest.json").exists()
    code, _, err = run(*words)
    assert code == 2
    assert "found 60 rows of an ingestion that was cut short" in err
    assert read_steps(tmp_path / "runs" / "h", "history").num_rows == 60


def test_a_log_with_bad_readings_can_be_learned_from_behind_and_before_the_hole(run, tmp_path, frame, write) -> None:  # noqa: F811
    """The set points after the hole are those of the schedule at the steps since the episode began."""
    frame.loc[15:24, "反応器温度_状態"] = "異常"  # no value at 18 to 24; the set point of the reactor changes at 20
    path, mapped = write(frame)
    code, _, err = run("ingest", str(path), "--plant", "cstr", "--map", str(mapped), "--out", "runs/h")
    assert code == 0, err
    read = read_logged(tmp_path / "runs" / "h", load_plant("cstr"), WarmStart(least_episodes=1))
    back = observation_layout(load_plant("cstr"), device=torch.device("cpu"), dtype=torch.float64).history
    # Steps 0 to 16 and 25 to 59; the last of each is what came of the one before, and the first ones after the hole are history.
    assert read.kept.sum(dim=0).tolist() == [16, 35 - back - 1]
    assert read.step[0].tolist() == [0, 25 + back]
