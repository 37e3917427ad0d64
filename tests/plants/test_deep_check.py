"""The deep questions pass every shipped plant, and each of them can be answered with no, naming signal and step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

import fpo_pilot
from fpo_pilot.plants import deep_check
from fpo_pilot.plants.answers import CheckResult
from fpo_pilot.plants.check import check_plant
from fpo_pilot.plants.deep_check import deep_results
from fpo_pilot.plants.load import load_plant
from fpo_pilot.plants.simulation import Simulation
from fpo_pilot.specs import content

COSTLY = {"poly_semibatch": 2}
"""Steps of the plants that take many substeps."""
UNIFORM = {"start": {"level": {"kind": "uniform", "low": 0.5, "high": 1.5}}}


def failures(plant: Any, steps: int = 8) -> dict[str, CheckResult]:
    return {result.name: result for result in deep_results(plant, steps) if not result.passed}


@pytest.mark.parametrize("name", sorted(content.list_plants()))
def test_every_shipped_plant_passes(name: str) -> None:
    assert failures(load_plant(name), COSTLY.get(name, 8)) == {}


@dataclass(frozen=True)
class Base:
    """A tank with a second state, that is to be spoiled."""

    states: ClassVar[tuple[str, ...]] = ("level", "inside")
    actions: ClassVar[tuple[str, ...]] = ("inflow",)
    disturbances: ClassVar[tuple[str, ...]] = ("rain",)
    output_names: ClassVar[tuple[str, ...]] = ("outflow",)
    parameters: ClassVar[dict[str, str]] = {"area": "m**2", "drain": "m**2/s"}
    time_unit: ClassVar[str] = "s"
    fault: str = ""

    def derivative(self, state: Tensor, action: Tensor, disturbance: Tensor, parameters: Tensor) -> Tensor:
        level = state[:, :1]
        rate = (action - 0.25 * level) / 2.0
        if self.fault == "nan":
            rate = torch.where(level > 1.2, torch.nan, rate)
        if self.fault == "shape":
            return rate
        if self.fault == "dtype":
            return torch.cat((rate, rate), dim=1).to(torch.float16)
        if self.fault == "writes":
            state[:, 1] += 1e-9
        if self.fault == "writes the action":
            action.mul_(0.999)
        if self.fault == "coarse type":
            rate = rate + 0.01 * (level.to(torch.float32) * 1e5).frac().to(level.dtype) * (level.dtype == torch.float64)
        if self.fault == "stiff":
            rate = 8.0 * (action - 0.25 * level)
        if self.fault == "mixes":
            rate = rate + 0.1 * level.mean()
        if self.fault == "chaos":
            rate = 0.6 * (level - 1.0)  # a nudge grows 3.3-fold a step
        if self.fault == "chance":
            rate = rate * torch.rand_like(rate)
        if self.fault == "climbs":
            rate = torch.full_like(rate, 0.5)
        return torch.cat((rate, -0.1 * state[:, 1:]), dim=1)

    def outputs(self, state: Tensor, action: Tensor, disturbance: Tensor, parameters: Tensor) -> Tensor:
        return 0.25 * state[:, :1]


@pytest.fixture
def tank(make_plant: Any) -> Any:
    inside = {"unit": "m", "range": (0.0, 2.0), "role": "state", "measured": False}

    def make(fault: str = "", **changes: Any) -> Any:
        start = {"level": {"kind": "uniform", "low": 0.5, "high": 1.5}, "inside": {"kind": "fixed", "value": 1.0}}
        plant = make_plant()
        signals = {name: signal.model_dump() for name, signal in plant.spec.signals.items()}
        order = {"level": signals.pop("level"), "inside": inside, **signals}
        data = {"signals": order, "episode": {"start": start}, "timing": {"period": 2.0, "horizon": 20}}
        return make_plant(dynamics=Base(fault), **(data | changes))

    return make


def test_the_tank_itself_passes(tank: Any) -> None:
    assert failures(tank()) == {}


@pytest.mark.parametrize(
    ("fault", "question", "told"),
    [
        ("nan", "the dynamics give numbers and leave their inputs alone", "gives nan for level at level = 1."),
        ("shape", "the dynamics give numbers and leave their inputs alone", "step 0: PlantError: plant tank"),
        ("dtype", "the dynamics give numbers and leave their inputs alone", "torch.float16"),
        ("writes", "the dynamics give numbers and leave their inputs alone", "writes into its input state (inside)"),
        ("writes the action", "the dynamics give numbers and leave their inputs alone", "input action (inflow)"),
        ("coarse type", "float32 gives the trajectory of float64", "at step"),
        ("stiff", "twice the substeps give the same trajectory", "at step 0"),
        ("mixes", "a batch gives the trajectories of single plants", "at step 0"),
        ("chance", "the same seed gives the same episode to the bit", "of the state differ at step 0"),
        ("climbs", "no state leaves its range without a trip", "level is 4."),
    ],
)
def test_a_spoiled_plant_fails_its_question(tank: Any, fault: str, question: str, told: str) -> None:
    found = failures(tank(fault))
    assert question in found
    assert told in found[question].detail
    assert found[question].expected


def test_a_nan_is_told_with_plant_and_step(tank: Any) -> None:
    start = {"level": {"kind": "fixed", "value": 1.1}, "inside": {"kind": "fixed", "value": 1.0}}
    found = failures(tank("nan", episode={"start": start}), steps=8)
    detail = found["the dynamics give numbers and leave their inputs alone"].detail
    assert "plant tank, step " in detail
    assert "derivative()" in detail


def test_a_chaotic_plant_is_compared_until_it_is_chaotic(tank: Any) -> None:
    answers = {r.name: r for r in deep_results(tank("chaos"), 20)}
    told = answers["float32 gives the trajectory of float64"]
    assert told.passed
    assert "chaotic: from step 3 on" in told.detail  # 3.3^4 = 120


def test_an_observation_beyond_its_space_is_found(tank: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plant = tank()
    bounds = ((-0.1,), (0.1,))
    monkeypatch.setattr(Simulation, "observation_bounds", property(lambda self: bounds))
    found = failures(plant)["observations stay in their space under every sensor fault"]
    assert found.detail.startswith("level is ")
    assert found.detail.endswith("at step 0 under a nan fault of outflow, its space is -0.1 to 0.1")


def test_a_start_that_is_not_drawn_as_declared_is_found(tank: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plant = tank()
    assert (
        "least p" in {r.name: r for r in deep_results(plant, 2)}["starts and parameters are drawn as declared"].detail
    )
    drawn = deep_check.Simulation

    class Narrow(drawn):  # type: ignore[valid-type,misc]
        @property
        def state(self) -> Tensor:
            state = super().state.clone()
            state[:, 0] = 1.0 + 0.9 * (state[:, 0] - 1.0)  # a tenth of the width is never drawn
            return state

    monkeypatch.setattr(deep_check, "Simulation", Narrow)
    found = failures(plant, 2)["starts and parameters are drawn as declared"]
    assert found.detail.startswith("the start of level is not as declared: p = ")


def test_a_normal_start_and_a_drawn_parameter_are_tested(tank: Any) -> None:
    start = {
        "level": {"kind": "normal", "mean": 1.0, "std": 0.2, "truncate": 2},
        "inside": {"kind": "fixed", "value": 1.0},
    }
    uncertain = {"area": {"value": 2.0, "unit": "m**2", "uncertainty": {"half_width": 0.1}}}
    parameters = uncertain | {"drain": {"value": 0.25, "unit": "m**2/s"}}
    plant = tank(episode={"start": start, "randomize_parameters": True}, parameters=parameters)
    answer = {r.name: r for r in deep_results(plant, 2)}["starts and parameters are drawn as declared"]
    assert answer.passed
    assert "of 2 tests on 4096 draws" in answer.detail


def test_terms_that_miss_the_reward_are_found(tank: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plant = tank()
    step = Simulation.step

    def wrong(self: Simulation, action: Tensor) -> Any:
        done = step(self, action)
        return type(done)(**{**vars(done), "reward": done.reward + 0.1})

    monkeypatch.setattr(Simulation, "step", wrong)
    assert "the 1 terms miss the reward by" in failures(plant)["the terms sum to the reward"].detail


def test_the_deep_questions_follow_the_others(tank: Any) -> None:
    plant = tank()
    assert len(check_plant(plant)) == 9
    assert [r.name for r in fpo_pilot.check_plant(plant, deep=True, steps=3)][9:] == [
        r.name for r in deep_results(plant, 3)
    ]
