"""Disturbances, random starts and uncertain parameters."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from fpo_pilot.errors import PlantError
from fpo_pilot.plants.disturbances import DisturbanceModel
from fpo_pilot.plants.simulation import Simulation
from fpo_pilot.specs.evaluation import Scenario
from fpo_pilot.specs.plant import DisturbanceSpec, Fixed

HOLD = torch.tensor([[0.25]], dtype=torch.float64)


def profile(make_plant: Any, **spec: Any) -> list[float]:
    """Return the disturbance ``rain`` at steps 0 to 5."""
    model = DisturbanceModel(
        make_plant(),
        [DisturbanceSpec(**({"channel": "rain"} | spec))],
        device=torch.device("cpu"),
        dtype=torch.float64,
    )
    steps = torch.arange(6)
    level = torch.zeros((6, 1), dtype=torch.float64)
    return model.at(steps, torch.ones((6, 1), dtype=torch.bool), level, None).disturbance[:, 0].tolist()  # type: ignore[index]


def test_shapes_of_disturbances(make_plant: Any) -> None:
    assert profile(make_plant, kind="step", size=2.0, at_step=2, until_step=4) == [0, 0, 2, 2, 0, 0]
    assert profile(make_plant, kind="step", size=2.0, at_step=4) == [0, 0, 0, 0, 2, 2]
    assert profile(make_plant, kind="impulse", size=2.0, at_step=2) == [0, 0, 2, 0, 0, 0]
    assert profile(make_plant, kind="ramp", size=2.0, at_step=1, until_step=5) == [0, 0, 0.5, 1.0, 1.5, 2.0]
    wave = profile(make_plant, kind="periodic", size=2.0, at_step=1, period_steps=4)
    assert wave == pytest.approx([0, 0, 2, 0, -2, 0], abs=1e-12)


def test_a_disturbance_acts_on_the_plant(make_plant: Any, exact_level: Any) -> None:
    rain = DisturbanceSpec(channel="rain", kind="step", size=0.5, at_step=1)
    simulation = Simulation(make_plant(disturbances=(rain,)), 1)
    levels = [float(simulation.step(HOLD).state) for _ in range(2)]
    assert levels == pytest.approx([1.0, exact_level(1.0, 0.75, 2.0)], rel=1e-6)


def test_an_impulse_on_a_state_moves_it_at_once(make_plant: Any, exact_level: Any) -> None:
    splash = DisturbanceSpec(channel="level", kind="impulse", size=0.5, at_step=1)
    simulation = Simulation(make_plant(disturbances=(splash,)), 1)
    levels = [float(simulation.step(HOLD).state) for _ in range(2)]
    assert levels == pytest.approx([1.0, exact_level(1.5, 0.25, 2.0)], rel=1e-6)


def test_a_disturbance_of_a_parameter_is_in_the_unit_of_the_spec(make_plant: Any) -> None:
    parameters = {"area": {"value": 20_000.0, "unit": "cm**2"}, "drain": {"value": 0.25, "unit": "m**2/s"}}
    shrunk = DisturbanceSpec(channel="area", kind="step", size=-10_000.0)
    changed = Simulation(make_plant(parameters=parameters, disturbances=(shrunk,)), 1).step(3 * HOLD)
    half = {"area": {"value": 1.0, "unit": "m**2"}, "drain": {"value": 0.25, "unit": "m**2/s"}}
    assert float(changed.state) == pytest.approx(float(Simulation(make_plant(parameters=half), 1).step(3 * HOLD).state))


def test_a_disturbance_happens_in_its_share_of_episodes(make_plant: Any) -> None:
    rain = DisturbanceSpec(channel="rain", kind="step", size=0.5, probability=0.3)
    got = Simulation(make_plant(disturbances=(rain,)), 4000).step(HOLD.expand(4000, 1))
    assert float((got.state > 1.01).double().mean()) == pytest.approx(0.3, abs=0.03)


def test_a_drifting_disturbance_is_stationary_with_its_time_constant(make_plant: Any) -> None:
    spec = DisturbanceSpec(channel="rain", kind="ou", size=0.2, period_steps=3.0)
    model = DisturbanceModel(make_plant(), [spec], device=torch.device("cpu"), dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    first = torch.randn((20_000, 1), dtype=torch.float64, generator=generator)
    second = model.drift(first, generator)
    assert float(second.std()) == pytest.approx(1.0, rel=0.03)
    assert float((first * second).mean()) == pytest.approx(math.exp(-1 / 3), abs=0.03)
    step = torch.zeros(20_000, dtype=torch.int64)
    rain = model.at(step, torch.ones((20_000, 1), dtype=torch.bool), second, None).disturbance
    assert rain is not None
    assert float(rain.std()) == pytest.approx(0.2, rel=0.03)


def test_a_scenario_replaces_start_parameters_and_disturbances(make_plant: Any, exact_level: Any) -> None:
    rain = DisturbanceSpec(channel="rain", kind="step", size=0.5)
    plant = make_plant(disturbances=(rain,))
    scenario = Scenario(start={"level": Fixed(value=2.0)}, parameters={"area": 4.0, "drain": 0.5}, disturbances=())
    got = Simulation(plant, 1, scenario=scenario).step(HOLD)
    steady = 0.25 / 0.5
    assert float(got.state) == pytest.approx(steady + (2.0 - steady) * math.exp(-0.5 / 4.0 * 2.0), rel=1e-6)


def test_starts_follow_their_distributions(make_plant: Any) -> None:
    uniform = make_plant(episode={"start": {"level": {"kind": "uniform", "low": 1.0, "high": 2.0}}})
    levels = Simulation(uniform, 20_000).state[:, 0]
    assert (float(levels.min()), float(levels.max())) == pytest.approx((1.0, 2.0), abs=0.01)
    assert float(levels.mean()) == pytest.approx(1.5, abs=0.01)
    start = {"kind": "normal", "mean": 1.0, "std": 0.2, "truncate": 2.0}
    levels = Simulation(make_plant(episode={"start": {"level": start}}), 20_000).state[:, 0]
    assert float((levels - 1.0).abs().max()) <= 0.4 + 1e-12
    assert float(levels.std()) == pytest.approx(0.2 * 0.8796, rel=0.03)  # of a standard normal cut at two


def test_uncertain_parameters_are_drawn_anew_for_every_episode(make_plant: Any) -> None:
    parameters = {
        "area": {"value": 2.0, "unit": "m**2", "uncertainty": {"kind": "absolute", "half_width": 1.0}},
        "drain": {"value": 0.25, "unit": "m**2/s", "uncertainty": {"half_width": 0.1}},
    }
    episode = {"start": {"level": {"kind": "fixed", "value": 1.0}}, "randomize_parameters": True}
    simulation = Simulation(make_plant(parameters=parameters, episode=episode), 5000)
    drawn = simulation.state_dict()["parameters"]
    for column, low, high in ((0, 1.0, 3.0), (1, 0.225, 0.275)):
        values = drawn[:, column]
        assert (float(values.min()), float(values.max())) == pytest.approx((low, high), rel=0.01)
    simulation.reset(torch.arange(5000) == 0)
    after = simulation.state_dict()["parameters"]
    assert not torch.equal(after[0], drawn[0])
    assert torch.equal(after[1:], drawn[1:])


def test_unknown_names_are_refused(make_plant: Any) -> None:
    for scenario in (
        Scenario(start={"depth": Fixed(value=1.0)}),
        Scenario(parameters={"colour": 1.0}),
        Scenario(disturbances=(DisturbanceSpec(channel="snow", kind="step"),)),
    ):
        with pytest.raises(PlantError, match="expected one of"):
            Simulation(make_plant(), 1, scenario=scenario)
