"""A historian's export of the reactor, made by its simulation: what comes back from ingesting it is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from fpo_pilot.plants.controllers import incumbent_controller
from fpo_pilot.plants.load import load_plant
from fpo_pilot.plants.simulation import Simulation

PLANT = "cstr"
MAP = """\
schema_version: 1
plant: cstr
encoding: cp932
time: {column: 日時, format: "%Y/%m/%d %H:%M:%S", zone: Asia/Tokyo}
signals:
  Ca: {column: 反応器濃度, unit: mol/m**3}
  T: {column: 反応器温度, unit: degC, quality: 反応器温度_状態}
  Tc: {column: ジャケット温度, unit: degC}
  Ca_sp: {column: 濃度設定値}
good: [正常]
"""


@pytest.fixture(scope="session")
def logged() -> dict[str, np.ndarray]:
    """One episode under the incumbent: readings and set points before, actions during, rewards and margins after each step."""
    plant = load_plant(PLANT)
    simulation, controller = Simulation(plant, 1, seed=3, autoreset=False), incumbent_controller(plant)
    controller.reset(1)
    rows: dict[str, list[float]] = {}
    for _ in range(plant.horizon):
        measured, reference = simulation.measurement[0], simulation.reference[0]
        seen = simulation.step(controller.act(simulation.signals(), simulation.applied))
        facts = dict(zip(plant.measured_names, measured.tolist(), strict=True))
        facts |= dict(zip(plant.reference_names, reference.tolist(), strict=True))
        facts |= dict(zip(plant.action_names, seen.applied[0].tolist(), strict=True))
        facts |= {"reward": float(seen.reward)} | {f"margin.{k}": float(v) for k, v in seen.margins.items()}
        for name, value in facts.items():
            rows.setdefault(name, []).append(value)
    final = dict(zip(plant.measured_names, simulation.measurement[0].tolist(), strict=True))
    rows["final"] = [final[name] for name in plant.measured_names]
    return {name: np.array(values) for name, values in rows.items()}


@pytest.fixture
def frame(logged) -> pd.DataFrame:
    """The export as a frame of texts, with a last row of what came of the last step."""
    torch.manual_seed(0)
    steps = len(logged["T"])
    start, period = pd.Timestamp("2026-04-01 08:00:00"), load_plant(PLANT).period
    times = [start + pd.Timedelta(seconds=period * step) for step in range(steps + 1)]
    ca, t = np.append(logged["Ca"], logged["final"][0]), np.append(logged["T"], logged["final"][1])
    return pd.DataFrame(
        {
            "日時": [time.strftime("%Y/%m/%d %H:%M:%S") for time in times],
            "反応器濃度": [repr(float(value * 1000.0)) for value in ca],
            "反応器温度": [repr(float(value - 273.15)) for value in t],
            "反応器温度_状態": ["正常"] * (steps + 1),
            "ジャケット温度": [repr(float(value - 273.15)) for value in np.append(logged["Tc"], logged["Tc"][-1])],
            "濃度設定値": [repr(float(value)) for value in np.append(logged["Ca_sp"], logged["Ca_sp"][-1])],
        }
    )


@pytest.fixture
def write(tmp_path: Path):
    """Write an export and a map, and return both paths."""

    def make(frame: pd.DataFrame, text: str = MAP, name: str = "export.csv") -> tuple[Path, Path]:
        path, mapped = tmp_path / name, tmp_path / "map.yaml"
        frame.to_csv(path, index=False, encoding="cp932")
        mapped.write_text(text, encoding="utf-8")
        return path, mapped

    return make
