from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from fpo_pilot.evaluate.determinism import chance_in_plant, chance_in_sensors
from fpo_pilot.evaluate.oracle import NoPlan, Plan, plan_episode
from fpo_pilot.plants.load import build_plant
from fpo_pilot.plants.plant import Plant
from fpo_pilot.plants.simulation import Simulation
from fpo_pilot.specs.evaluation import Scenario, SensorFault
from fpo_pilot.specs.plant import DisturbanceSpec, Dropout, Noise, Normal, Replay, Sensor, Uniform

# That the oracle of the reactor costs 17.37 is tested in test_harness.py, where it is planned anyway.


def shortened(plant: Plant, horizon: int) -> Plant:
    timing = plant.spec.timing.model_copy(update={"horizon": horizon})
    return build_plant(plant.spec.model_copy(update={"timing": timing}), plant.safety, plant.dynamics)


def played(plant: Plant, actions: torch.Tensor) -> float:
    simulation = Simulation(plant, 1, autoreset=False)
    simulation.reset()
    return -sum(float(sum(simulation.step(action.unsqueeze(0)).terms.values())) for action in actions)


def test_playing_the_plan_costs_what_it_says_and_no_nearby_plan_costs_less(reactor: Plant) -> None:
    plant = shortened(reactor, 8)
    plan = plan_episode(plant, Scenario())
    assert isinstance(plan, Plan)
    assert played(plant, plan.actions) == pytest.approx(plan.cost, rel=1e-9)
    generator = torch.Generator().manual_seed(0)
    for _ in range(10):
        other = plan.actions + 0.3 * torch.randn(plan.actions.shape, generator=generator, dtype=torch.float64)
        assert played(plant, other.clamp(295.0, 302.0)) > plan.cost - 1e-4


def test_the_plan_keeps_the_limits_and_rates_of_the_safety_spec(make_plant: Callable[..., Plant]) -> None:
    slow = make_plant(actions={"Tc": {"low": 296.0, "high": 301.0, "rate": 0.5, "fallback": 300.0}})
    plan = plan_episode(shortened(slow, 10), Scenario())
    assert isinstance(plan, Plan)
    path = torch.cat([torch.tensor([[300.0]], dtype=torch.float64), plan.actions])
    assert (path.diff(dim=0).abs() <= 0.5 + 1e-9).all()
    assert ((plan.actions >= 296.0) & (plan.actions <= 301.0)).all()
    free = plan_episode(shortened(make_plant(), 10), Scenario())
    assert isinstance(free, Plan)
    assert free.cost < plan.cost


def test_a_plan_does_not_buy_a_lower_cost_with_a_trip(make_plant: Callable[..., Plant]) -> None:
    limits = ({"id": "T_trip", "signal": "T", "high": 330.5, "kind": "hard"},)
    plant = shortened(make_plant(limits=limits), 10)
    plan = plan_episode(plant, Scenario())
    assert isinstance(plan, Plan)
    simulation = Simulation(plant, 1, autoreset=False)
    simulation.reset()
    assert not any(bool(simulation.step(action.unsqueeze(0)).tripped) for action in plan.actions)


def test_there_is_no_plan_for_an_episode_that_chance_decides(spread_reactor: Plant) -> None:
    plan = plan_episode(spread_reactor, Scenario())
    assert isinstance(plan, NoPlan)
    assert plan.reason == "the episode is not decided by its actions: the start of Ca is drawn"


def test_there_is_no_plan_for_an_episode_that_is_too_long(reactor: Plant) -> None:
    plan = plan_episode(shortened(reactor, 600), Scenario())
    assert isinstance(plan, NoPlan)
    assert "600 actions" in plan.reason


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({}, ()),
        ({"start": {"T": Uniform(low=329.0, high=331.0)}}, ("the start of T",)),
        ({"start": {"T": Uniform(low=330.0, high=330.0)}}, ()),
        ({"start": {"T": Normal(mean=330.0, std=0.5)}}, ("the start of T",)),
        ({"disturbances": (DisturbanceSpec(channel="T", kind="impulse", size=2.0),)}, ()),
        (
            {"disturbances": (DisturbanceSpec(channel="T", kind="impulse", size=2.0, probability=0.5),)},
            ("the disturbance of T",),
        ),
        (
            {"disturbances": (DisturbanceSpec(channel="feed_temperature", kind="ou", size=2.0, period_steps=5),)},
            ("the disturbance of feed_temperature",),
        ),
    ],
)
def test_what_is_drawn_is_told(reactor: Plant, change: dict[str, Any], found: tuple[str, ...]) -> None:
    assert chance_in_plant(reactor, Scenario(**change)) == found


def test_random_parameters_are_chance_unless_the_scenario_fixes_them(reactor: Plant) -> None:
    episode = reactor.spec.episode.model_copy(update={"randomize_parameters": True})
    plant = build_plant(reactor.spec.model_copy(update={"episode": episode}), reactor.safety, reactor.dynamics)
    assert chance_in_plant(plant, Scenario()) == ("the parameter rate_constant",)
    assert chance_in_plant(plant, Scenario(parameters={"rate_constant": 7.2e10})) == ()


def test_sensor_noise_is_chance_for_a_controller_only(reactor: Plant) -> None:
    noisy = reactor.spec.signals["T"].model_copy(update={"sensor": Sensor(noise=Noise(std=0.3))})
    spec = reactor.spec.model_copy(update={"signals": {**reactor.spec.signals, "T": noisy}})
    plant = build_plant(spec, reactor.safety, reactor.dynamics)
    assert chance_in_plant(plant, Scenario()) == ()
    assert chance_in_sensors(plant, Scenario()) == ("the noise of T",)
    assert chance_in_sensors(plant, Scenario(noise_factor=0.0)) == ()


@pytest.mark.parametrize(
    ("sensor", "found"),
    [
        (Sensor(bias_spread=0.1), ("the bias of T",)),
        (Sensor(bias_walk=0.1), ("the bias of T",)),
        (Sensor(dropout=Dropout(probability=0.1)), ("lost readings of T",)),
        (Sensor(dropout=Dropout(probability=0.0), lag=10.0), ()),
    ],
)
def test_drawn_biases_and_lost_readings_are_chance(reactor: Plant, sensor: Sensor, found: tuple[str, ...]) -> None:
    signal = reactor.spec.signals["T"].model_copy(update={"sensor": sensor})
    spec = reactor.spec.model_copy(update={"signals": {**reactor.spec.signals, "T": signal}})
    assert chance_in_sensors(build_plant(spec, reactor.safety, reactor.dynamics), Scenario()) == found


def test_a_noisy_fault_and_a_record_that_begins_anywhere_are_chance(reactor: Plant) -> None:
    fault = SensorFault(signal="T", kind="noise", value=0.5)
    assert chance_in_sensors(reactor, Scenario(faults=(fault,))) == ("the noise of T",)
    record = {"file": "w.csv", "column": "t", "unit": "K", "longest_gap": 60.0}
    for begin, found in (("random", ("the disturbance of feed_temperature",)), ("first", ())):
        replay = Replay(**record, begin=begin)
        spec = DisturbanceSpec(channel="feed_temperature", kind="replay", replay=replay)
        assert chance_in_plant(reactor, Scenario(disturbances=(spec,))) == found
