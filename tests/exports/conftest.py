"""A run folder with a log made by hand: two arms, a termination, a truncation, an episode that does not go on, a lost reading."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fpo_pilot.logs.manifest import Manifest
from fpo_pilot.logs.reader import read_steps
from fpo_pilot.logs.schema import step_schema
from fpo_pilot.logs.writer import StepLog
from fpo_pilot.logs.writing import writing
from fpo_pilot.plants.load import load_plant
from fpo_pilot.plants.plant import Plant
from fpo_pilot.specs import spec_hash

NAME = "cstr_safety"
Make = Callable[..., Path]


@cache
def plant() -> Plant:
    return load_plant(NAME)


def columns() -> dict[str, Any]:
    """Return 12 rows; row i has Ca 0.80 + i/100, T 320 + i, applied 300 + i, proposed 300 + 2 i, reward -1 - i."""
    i = np.arange(12)
    temperature, proposed = 320.0 + i, 300.0 + 2.0 * i
    temperature[11] = proposed[11] = np.nan
    last = np.isin(i, [2, 6])
    return {
        "t": (i * 26_000_000_000).astype("datetime64[ns]"),
        "episode_id": np.array([0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 5, 5]),
        "step": np.array([0, 1, 2, 0, 1, 2, 3, 0, 1, 2, 0, 1]),
        "arm": ["incumbent"] * 7 + ["flow"] * 5,
        "mode": [""] * 7 + ["noise 0"] * 5,
        "shield": np.array([True] * 7 + [False] * 3 + [True] * 2),
        "scenario": ["nominal"] * 10 + ["dead_thermometer"] * 2,
        "obs.Ca": 0.80 + i / 100,
        "obs.T": temperature,
        "ref.Ca_sp": np.full(12, 0.85),
        "act.applied.Tc": 300.0 + i,
        "act.proposed.Tc": proposed,
        "reward.total": -1.0 - i,
        "terminated": last & (i == 2),
        "truncated": last & (i == 6),
        "end_reason": [None, None, "trip", None, None, None, "horizon", *[None] * 5],
        "plant_hash": spec_hash(plant().spec),
    }


def make_run(folder: Path, change: Callable[[dict[str, Any]], None] = lambda rows: None, **instead: Any) -> Path:
    """Write the log; ``change`` may alter its columns before, ``instead`` are other fields of the manifest."""
    rows = columns()
    change(rows)
    manifest = Manifest.collect(
        run_id=folder.name,
        algorithm="fpo",
        command="",
        seed=0,
        device="cpu",
        plant_spec=plant().spec,
        safety_spec=plant().safety,
    ).updated(**instead)
    with (
        writing(folder, "log", ("manifest.json", "steps/*", "wal/*")),
        StepLog(folder, "offline", step_schema(plant().spec, plant().safety)) as log,
    ):
        manifest.write(folder)
        log.append(rows)
    return folder


def logged(folder: Path) -> pd.DataFrame:
    """Return the log as any reader of Parquet has it, by number of row."""
    return read_steps(folder).to_pandas().set_index("seq")


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Write a run below a folder of the test."""
    return lambda name="run", **settings: make_run(tmp_path / "runs" / name, **settings)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run as it is, for tests that change nothing in it."""
    return make_run(tmp_path_factory.mktemp("runs") / "run")
