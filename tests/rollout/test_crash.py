"""A roll-out whose log fails has no authority; one that was killed leaves its rows, and the next begins in shadow."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pandas as pd
import pytest
import torch

from fpo_pilot.errors import RolloutError
from fpo_pilot.logs.reader import read_steps
from fpo_pilot.logs.wal import ENDING, wal_files
from fpo_pilot.plants.load import load_plant
from fpo_pilot.plants.plant import Plant
from fpo_pilot.rollout import run_rollout
from fpo_pilot.rollout.record import Recorder


@pytest.fixture(scope="module")
def plant() -> Plant:
    return load_plant("cstr_safety")


def rollout(plant: Plant, folder: Path):
    assert plant.safety is not None
    return run_rollout(
        plant, plant.safety, lambda obs, generator: (torch.zeros(1, 1), {}), folder, seed=1, max_episodes=2
    )


def test_a_disk_that_takes_no_row_fires_the_guard_and_keeps_what_was_logged(
    plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, rows = os.write, []

    def full(descriptor: int, data: memoryview) -> int:
        if os.readlink(f"/proc/self/fd/{descriptor}").endswith(ENDING):
            rows.append(1)
            if len(rows) > 40:
                raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(RolloutError, match=r"No space left on device.*all authority was taken away"):
        rollout(plant, tmp_path)
    events = pd.read_parquet(tmp_path / "events.parquet")
    assert events[events["kind"] == "guard"]["reason"].tolist() == ["log_unavailable"]
    assert read_steps(tmp_path)["seq"].to_pylist() == list(range(39))  # the first write is of the head
    assert wal_files(tmp_path) == ()


def test_a_killed_roll_out_leaves_every_row_and_the_next_begins_in_shadow(
    plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Recorder.cycle

    def killed(self: Recorder, cycle, **where) -> None:
        if self.clock == 30:
            raise KeyboardInterrupt
        real(self, cycle, **where)

    def gone(self: Recorder) -> None:
        """A kill closes nothing; the lock goes with the process."""
        assert self._log is not None
        self._log.abandon()

    with monkeypatch.context() as dying:
        dying.setattr(Recorder, "cycle", killed)
        dying.setattr(Recorder, "abandon", gone)
        with pytest.raises(KeyboardInterrupt):
            rollout(plant, tmp_path)
    assert not (tmp_path / "rollout.json").exists()
    assert len(wal_files(tmp_path)) == 1
    rollout(plant, tmp_path)
    earlier = tmp_path / "earlier" / "rollout-000"
    assert read_steps(earlier)["seq"].to_pylist() == list(range(30))
    steps = read_steps(tmp_path).to_pandas()
    assert (steps["stage"].iloc[0], steps["seq"].iloc[0], steps["authority"].max()) == ("shadow", 0, 0.0)
    events = pd.read_parquet(tmp_path / "events.parquet")
    assert any("30 rows recovered" in text for text in events[events["kind"] == "note"]["reason"])
    assert json.loads((tmp_path / "rollout.json").read_text("utf-8"))["episodes"] == 2
