"""Measured data as a disturbance: resampled, begun somewhere, and refused by row and column where it is bad."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from fpo_pilot.errors import PlantError
from fpo_pilot.plants.replay import replayed
from fpo_pilot.plants.simulation import Simulation
from fpo_pilot.specs.plant import DisturbanceSpec, Replay

GOOD = """time,rain
2024-01-01T00:00:00,0
2024-01-01T00:00:04,0.2
2024-01-01T00:00:10,0.8
"""


def settings(**changes: Any) -> Replay:
    return Replay(**({"file": "rain.csv", "column": "rain", "unit": "m**3/s", "longest_gap": 60.0} | changes))


def read(folder: Path, text: str, **changes: Any) -> list[float]:
    (folder / "rain.csv").write_text(text, "utf-8")
    return replayed(folder, settings(**changes), unit="m**3/s", period=2.0).tolist()


def test_values_between_rows_are_interpolated_or_held(tmp_path) -> None:
    assert read(tmp_path, GOOD) == pytest.approx([0.0, 0.1, 0.2, 0.4, 0.6, 0.8])
    assert read(tmp_path, GOOD, between="hold") == [0.0, 0.0, 0.2, 0.2, 0.2, 0.8]


def test_parquet_and_other_units_are_read(tmp_path) -> None:
    stamps = pd.date_range("2024-01-01", periods=3, freq="2s")
    pd.DataFrame({"time": stamps, "rain": [0.0, 60.0, 120.0]}).to_parquet(tmp_path / "rain.parquet")
    found = replayed(tmp_path, settings(file="rain.parquet", unit="L/s"), unit="m**3/s", period=2.0)
    assert found.tolist() == pytest.approx([0.0, 0.06, 0.12])


def test_temperatures_convert_as_points(tmp_path) -> None:
    (tmp_path / "w.csv").write_text("time,t\n2024-01-01T00:00,20\n2024-01-01T01:00,25\n", "utf-8")
    weather = Replay(file="w.csv", column="t", unit="degC", longest_gap=3600.0)
    assert replayed(tmp_path, weather, unit="K", period=1800.0).tolist() == pytest.approx([293.15, 295.65, 298.15])


@pytest.mark.parametrize(
    ("text", "changes", "message"),
    [
        (GOOD.replace("04,0.2", "04,0;2"), {}, r"row 2, column rain: found '0;2', expected a finite number"),
        ('time,rain\n2024-01-01T00:00:00,"0,1"\n2024-01-01T00:00:02,1\n', {}, r"row 1.*with a decimal point"),
        (GOOD.replace("00:04", "00:00"), {}, r"row 2, column time: found the same time as the row before"),
        (GOOD.replace("00:10", "00:01"), {}, r"row 3, column time: found an earlier time"),
        (GOOD, {"longest_gap": 5.0}, r"row 3, column time: found a gap of 6 s before it, expected at most 5 s"),
        (GOOD.replace("2024-01-01T00:00:04", "noon"), {}, r"row 2, column time: found 'noon', expected a time stamp"),
        (GOOD.replace(",0.8", ","), {}, r"row 3, column rain: found nan"),
        (GOOD, {"column": "snow"}, r"found columns time, rain, expected 'snow' among them"),
        (GOOD, {"unit": "K"}, r"column rain: found the unit K, expected one that converts to m\*\*3/s"),
        ("time,rain\n2024-01-01T00:00:00,0\n", {}, r"found 1 rows, expected two or more"),
        (GOOD, {"file": "gone.csv"}, r"found no file"),
        (GOOD, {"file": "../rain.csv"}, r"outside of"),
    ],
)
def test_a_bad_file_is_refused_with_row_and_column(tmp_path, text: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(PlantError, match=message):
        read(tmp_path, text, **changes)


def replaying(make_plant: Any, folder: Path, values: list[float], batch: int, **changes: Any) -> Simulation:
    stamps = pd.date_range("2024-01-01", periods=len(values), freq="2s")
    pd.DataFrame({"time": stamps, "rain": values}).to_csv(folder / "rain.csv", index=False)
    spec = DisturbanceSpec(channel="rain", kind="replay", replay=settings(**changes))
    plant = replace(make_plant(disturbances=(spec,)), folder=folder)
    return Simulation(plant, batch, autoreset=False)


def test_a_record_takes_the_place_of_the_channels_own_value(make_plant: Any, exact_level: Any, tmp_path) -> None:
    simulation = replaying(make_plant, tmp_path, [0.3] * 50, 1, begin="first")
    got = simulation.step(torch.tensor([[0.25]], dtype=torch.float64))
    assert float(got.state) == pytest.approx(exact_level(1.0, 0.55, 2.0), rel=1e-4)


def test_an_episode_begins_at_a_row_of_its_own_and_reads_on(make_plant: Any, tmp_path) -> None:
    record = np.arange(200) / 1000.0
    simulation = replaying(make_plant, tmp_path, record.tolist(), 300)
    begins = simulation.state_dict()["level"][:, 0]
    assert begins.unique().numel() > 100
    assert float(begins.min()) >= 0.0
    assert float(begins.max()) <= 200 - simulation.plant.horizon
    assert torch.equal(begins, begins.floor())
    hold = torch.full((300, 1), 0.25, dtype=torch.float64)
    simulation.step(hold)
    assert torch.equal(simulation.state_dict()["level"][:, 0], begins)
    table = torch.tensor(record)
    outside = simulation._disturbances.at(simulation.step_index, *_active(simulation), None)
    torch.testing.assert_close(outside.disturbance[:, 0], table[begins.long() + 1])


def _active(simulation: Simulation) -> tuple[torch.Tensor, torch.Tensor]:
    state = simulation.state_dict()
    return state["active"], state["level"]


def test_a_record_shorter_than_an_episode_is_refused(make_plant: Any, tmp_path) -> None:
    with pytest.raises(PlantError, match="Give a longer record"):
        replaying(make_plant, tmp_path, [0.1, 0.2], 1)
