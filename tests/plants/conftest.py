"""A tank small enough to compute by hand: level' = (inflow + rain − drain · level) / area, per second."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from fpo_pilot.plants.load import build_plant
from fpo_pilot.plants.plant import Plant
from fpo_pilot.specs.plant import PlantSpec
from fpo_pilot.specs.safety import SafetySpec

MakePlant = Callable[..., Plant]


@dataclass(frozen=True)
class Tank:
    """Linear tank; also computes its outflow as a measurement."""

    states: ClassVar[tuple[str, ...]] = ("level",)
    actions: ClassVar[tuple[str, ...]] = ("inflow",)
    disturbances: ClassVar[tuple[str, ...]] = ("rain",)
    parameters: ClassVar[Mapping[str, str]] = {"area": "m**2", "drain": "m**2/s"}
    output_names: ClassVar[tuple[str, ...]] = ("outflow",)
    time_unit: ClassVar[str] = "s"

    def derivative(self, state: Tensor, action: Tensor, disturbance: Tensor, parameters: Tensor) -> Tensor:
        area, drain = parameters[:, 0:1], parameters[:, 1:2]
        return (action + disturbance - drain * state) / area

    def outputs(self, state: Tensor, action: Tensor, disturbance: Tensor, parameters: Tensor) -> Tensor:
        return parameters[:, 1:2] * state


def tank_spec(**changes: Any) -> PlantSpec:
    """Return the spec of the tank, with top-level parts replaced and ``signal_<name>`` entries merged."""
    signals: dict[str, dict[str, Any]] = {
        "level": {"unit": "m", "range": (0.0, 4.0), "role": "state"},
        "outflow": {"unit": "m**3/s", "range": (0.0, 2.0), "role": "measurement"},
        "inflow": {"unit": "m**3/s", "range": (0.0, 1.0), "role": "action", "start": 0.5},
        "rain": {"unit": "m**3/s", "range": (-1.0, 1.0), "role": "disturbance", "start": 0.0},
        "level_sp": {
            "unit": "m",
            "range": (0.0, 4.0),
            "role": "reference",
            "schedule": ({"step": 0, "value": 1.0}, {"step": 2, "value": 2.0}),
            "steady_actions": ({"inflow": 0.25}, {"inflow": 0.5}),
        },
    }
    for key in [key for key in changes if key.startswith("signal_")]:
        signals[key.removeprefix("signal_")] |= changes.pop(key)
    data: dict[str, Any] = {
        "schema_version": 1,
        "plant": {"id": "tank", "title": {"en": "Tank", "ja": "水槽"}},
        "dynamics": {"file": "tank.py", "class": "Tank", "substeps": 4},
        "timing": {"period": 2.0, "horizon": 5},
        "parameters": {"area": {"value": 2.0, "unit": "m**2"}, "drain": {"value": 0.25, "unit": "m**2/s"}},
        "signals": signals,
        "observations": ({"signal": "level"},),
        "reward": ({"name": "error", "expression": "abs(level - level_sp) / 1 [m]", "weight": -2.0},),
        "episode": {"start": {"level": {"kind": "fixed", "value": 1.0}}},
    }
    return PlantSpec.model_validate(data | changes)


def tank_safety(**changes: Any) -> SafetySpec:
    """Return limits for the tank: a hard one at 3 m, a soft one at 2.5 m."""
    data: dict[str, Any] = {
        "schema_version": 1,
        "plant": "tank",
        "limits": (
            {"id": "level.high", "signal": "level", "high": 3.0, "kind": "hard"},
            {"id": "level.band", "signal": "level", "low": 0.5, "high": 2.5, "kind": "soft"},
        ),
        "actions": {"inflow": {"low": 0.0, "high": 1.0, "rate": 0.2, "fallback": 0.0}},
        "incumbent": {"kind": "constant", "values": {"inflow": 0.25}},
    }
    return SafetySpec.model_validate(data | changes)


@pytest.fixture
def make_plant() -> MakePlant:
    """Return a function that builds the tank: ``make_plant(safety=..., dynamics=..., **changes of the spec)``."""

    def make(*, safety: SafetySpec | None = None, dynamics: Any = None, **changes: Any) -> Plant:
        return build_plant(tank_spec(**changes), safety, Tank() if dynamics is None else dynamics)

    return make


@pytest.fixture
def make_safety() -> Callable[..., SafetySpec]:
    """Return the function that makes the limits of the tank."""
    return tank_safety


@pytest.fixture
def exact_level() -> Callable[[float, float, float], float]:
    """Return the exact level after some seconds under a constant inflow."""

    def level(start: float, inflow: float, seconds: float) -> float:
        steady = inflow / 0.25
        return steady + (start - steady) * float(torch.exp(torch.tensor(-0.125 * seconds, dtype=torch.float64)))

    return level
