"""The controllers of today, computed by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fpo_pilot.errors import PlantError
from fpo_pilot.plants.controllers import Controller, build_controller, hold_controller, incumbent_controller
from fpo_pilot.plants.simulation import Simulation
from fpo_pilot.specs.safety import ConstantController, PiController, PiLoop, ProportionalController, ProportionalLoop

LOOP = {"action": "inflow", "measurement": "level", "reference": "level_sp"}
PI = PiController(loops=(PiLoop(**LOOP, gain=0.1, integral_time=4.0, bias=0.3),))


def act(controller: Controller, level: float, wanted: float, previous: float) -> float:
    signals = {"level": torch.tensor([level]), "level_sp": torch.tensor([wanted])}
    return float(controller.act(signals, torch.tensor([[previous]], dtype=torch.float64)))


def test_constant_values(make_plant: Any) -> None:
    controller = build_controller(ConstantController(values={"inflow": 0.4}), make_plant())
    assert act(controller, 1.0, 2.0, 0.0) == pytest.approx(0.4)


def test_proportional_is_bias_plus_gain_times_measurement_minus_reference(make_plant: Any) -> None:
    spec = ProportionalController(loops=(ProportionalLoop(**LOOP, gain=-0.2, bias=0.3),))
    controller = build_controller(spec, make_plant())
    assert act(controller, 1.5, 1.0, 0.0) == pytest.approx(0.2)
    assert act(controller, 9.0, 1.0, 0.0) == 0.0  # clipped to the range


def test_pi_begins_at_its_bias_and_moves_on_from_the_read_back(make_plant: Any) -> None:
    controller = build_controller(PI, make_plant())
    assert act(controller, 1.0, 2.0, 0.9) == pytest.approx(0.3 + 0.1 * 1.0)
    # period 2 s: 0.4 + 0.1·((0.5 − 1.0) + 2/4·0.5)
    assert act(controller, 1.5, 2.0, 0.4) == pytest.approx(0.4 - 0.025)


def test_pi_does_not_wind_up_when_something_else_holds_the_actuator(make_plant: Any) -> None:
    controller = build_controller(PI, make_plant())
    for _ in range(50):
        act(controller, 1.0, 2.0, 0.1)  # the read-back stays at 0.1, whatever is asked for
    assert act(controller, 2.0, 2.0, 0.1) == pytest.approx(0.1 + 0.1 * (0.0 - 1.0 + 0.0), abs=1e-9)


def test_a_reset_forgets_all_or_some(make_plant: Any) -> None:
    controller = build_controller(PI, make_plant())
    signals = {"level": torch.tensor([1.0, 1.0]), "level_sp": torch.tensor([2.0, 2.0])}
    previous = torch.tensor([[0.8], [0.8]], dtype=torch.float64)
    controller.act(signals, previous)
    controller.reset(2, torch.tensor([True, False]))
    assert controller.act(signals, previous)[:, 0].tolist() == pytest.approx([0.4, 0.85])
    controller.reset(2)
    assert controller.act(signals, previous)[:, 0].tolist() == pytest.approx([0.4, 0.4])


def test_pi_goes_on_from_its_state(make_plant: Any) -> None:
    first, second = build_controller(PI, make_plant()), build_controller(PI, make_plant())
    act(first, 1.0, 2.0, 0.5)
    second.load_state_dict(first.state_dict())
    assert act(first, 1.5, 2.0, 0.4) == act(second, 1.5, 2.0, 0.4)


def test_a_controller_keeps_the_box_and_the_rate_of_the_safety_spec(make_plant: Any, make_safety: Any) -> None:
    plant = make_plant(safety=make_safety())
    controller = build_controller(ConstantController(values={"inflow": 0.9}), plant)
    assert act(controller, 1.0, 1.0, 0.5) == pytest.approx(0.7)
    assert act(controller, 1.0, 1.0, 0.85) == pytest.approx(0.9)


def test_the_incumbent_is_that_of_the_safety_spec_or_else_holds(make_plant: Any, make_safety: Any) -> None:
    declared = incumbent_controller(make_plant(safety=make_safety()))
    assert act(declared, 1.0, 2.0, 0.3) == pytest.approx(0.25)
    assert act(incumbent_controller(make_plant()), 1.0, 2.0, 0.3) == pytest.approx(0.5)


def test_hold_applies_the_steady_action_of_the_set_point_in_force(make_plant: Any) -> None:
    controller = hold_controller(make_plant())
    simulation = Simulation(make_plant(), 2)
    applied = []
    for _ in range(3):
        applied.append(float(simulation.step(controller.act(simulation.signals(), simulation.applied)).applied[0]))
    assert applied == [0.25, 0.25, 0.5]


def test_hold_stays_at_the_start_where_nothing_is_declared(make_plant: Any) -> None:
    controller = hold_controller(make_plant(signal_level_sp={"steady_actions": ()}))
    assert act(controller, 1.0, 2.0, 0.9) == 0.5


def test_a_controller_without_a_loop_for_an_action_is_refused(make_plant: Any) -> None:
    with pytest.raises(PlantError, match="has nothing for inflow"):
        build_controller(PiController(loops=()), make_plant())


@pytest.mark.parametrize("name", ["cstr_safety", "quad_tank", "quad_tank_minus", "quad_tank_plus"])
def test_every_shipped_incumbent_runs_without_a_trip_inside_its_limits(name: str) -> None:
    from fpo_pilot.plants.load import load_plant

    plant = load_plant(name)
    controller, simulation = incumbent_controller(plant), Simulation(plant, 64, seed=1)
    for _ in range(plant.horizon):
        got = simulation.step(controller.act(simulation.signals(), simulation.applied))
        assert not bool(got.terminated.any())
    assert bool(
        ((got.applied >= torch.tensor(plant.action_low)) & (got.applied <= torch.tensor(plant.action_high))).all()
    )
