"""check_plant passes the shipped plants, and each of its questions can be answered with no."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from fpo_pilot.plants.check import check_plant
from fpo_pilot.plants.load import load_plant


def failures(plant: Any) -> set[str]:
    return {result.name for result in check_plant(plant) if not result.passed}


@pytest.mark.parametrize("name", ["cstr", "cstr_safety", "quad_tank", "quad_tank_minus", "quad_tank_plus"])
def test_every_shipped_plant_passes(name: str) -> None:
    results = check_plant(load_plant(name))
    assert [result for result in results if not result.passed] == []
    assert len(results) == 9


@dataclass(frozen=True)
class Base:
    """A tank whose ``change`` is to be spoiled."""

    states: ClassVar[tuple[str, ...]] = ("level",)
    actions: ClassVar[tuple[str, ...]] = ("inflow",)
    disturbances: ClassVar[tuple[str, ...]] = ("rain",)
    output_names: ClassVar[tuple[str, ...]] = ("outflow",)
    parameters: ClassVar[dict[str, str]] = {"area": "m**2", "drain": "m**2/s"}
    time_unit: ClassVar[str] = "s"
    fault: str = ""

    def derivative(self, state: Tensor, action: Tensor, disturbance: Tensor, parameters: Tensor) -> Tensor:
        if self.fault == "mixes the batch":
            return action - state.mean(dim=0)
        if self.fault == "asks the device":
            return action - state if float(state.max()) < 1e9 else state
        if self.fault == "too stiff":
            return 20.0 * (action - state)
        if self.fault == "chance":
            return action - torch.rand_like(state)
        return (action - 0.25 * state) / 2.0

    def outputs(self, state: Tensor, action: Tensor, disturbance: Tensor, parameters: Tensor) -> Tensor:
        return 0.25 * state


@pytest.mark.parametrize(
    ("fault", "question"),
    [
        ("mixes the batch", "a batch gives what single plants give"),
        ("asks the device", "runs without asking the device for a value"),
        ("too stiff", "the substeps are fine enough"),
        ("chance", "the same seed gives the same episode"),
    ],
)
def test_a_spoiled_plant_fails_its_question(make_plant: Any, fault: str, question: str) -> None:
    start = {"start": {"level": {"kind": "uniform", "low": 0.5, "high": 1.5}}}
    assert failures(make_plant(dynamics=Base(), episode=start)) == set()
    assert question in failures(make_plant(dynamics=Base(fault), episode=start))


def test_a_reward_that_is_not_finite_is_found(make_plant: Any) -> None:
    term = {"name": "log", "expression": "log((level - 9 m) / 1 [m])", "weight": 1.0}
    assert failures(make_plant(reward=(term,))) == {"nothing becomes infinite under random actions"}


def test_a_badly_scaled_observation_is_found(make_plant: Any) -> None:
    plant = make_plant(observations=({"signal": "level", "scale": (0.0, 0.001)},))
    assert failures(plant) == {"observations are scaled"}


def test_a_start_beyond_a_hard_limit_is_found(make_plant: Any, make_safety: Any) -> None:
    start = {"start": {"level": {"kind": "uniform", "low": 1.0, "high": 3.5}}}
    assert "starts are inside the hard limits" in failures(make_plant(safety=make_safety(), episode=start))
