"""Actuators as they are: they stick, have play, lag and break."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fpo_pilot.errors import PlantError
from fpo_pilot.plants.simulation import Simulation
from fpo_pilot.specs.evaluation import ActuatorFault, Scenario
from fpo_pilot.specs.plant import SchedulePoint


def moved(simulation: Simulation, *commands: float) -> list[float]:
    """Return where the inflow's actuator is after each command; it starts at 0.5."""
    return [float(simulation.step(torch.tensor([[command]], dtype=torch.float64)).applied) for command in commands]


def acting(make_plant: Any, **actuator: Any) -> Simulation:
    return Simulation(make_plant(signal_inflow={"actuator": actuator}), 1, autoreset=False)


def broken(make_plant: Any, kind: str, steps: tuple[int, int | None], value: float = 0.0) -> Simulation:
    fault = ActuatorFault(action="inflow", kind=kind, from_step=steps[0], to_step=steps[1], value=value)
    return Simulation(make_plant(), 1, scenario=Scenario(actuator_faults=(fault,)), autoreset=False)


def test_a_sticking_valve_waits_and_then_jumps(make_plant: Any) -> None:
    commands = (0.55, 0.6, 0.61, 0.55, 0.5)
    assert moved(acting(make_plant, stiction=0.1), *commands) == [0.5, 0.5, 0.61, 0.61, 0.5]


def test_play_is_taken_up_before_anything_moves(make_plant: Any) -> None:
    found = moved(acting(make_plant, dead_band=0.2), 0.55, 0.7, 0.65, 0.5, 0.3)
    assert found == pytest.approx([0.5, 0.6, 0.6, 0.6, 0.4])


def test_a_slow_actuator_follows_as_a_first_order_system_does(make_plant: Any) -> None:
    share = 1.0 - math.exp(-2.0 / 3.0)
    first = 0.5 + share * 0.5
    assert moved(acting(make_plant, lag=3.0), 1.0, 1.0) == pytest.approx([first, first + share * (1.0 - first)])


def test_faults_break_it_in_their_window(make_plant: Any) -> None:
    assert moved(broken(make_plant, "stuck", (1, 3)), 0.6, 0.7, 0.8, 0.8) == [0.6, 0.6, 0.6, 0.8]
    assert moved(broken(make_plant, "slow", (1, None), 0.05), 0.6, 0.9, 0.9) == pytest.approx([0.6, 0.65, 0.7])


def test_an_offset_reaches_the_plant_and_is_not_read_back(make_plant: Any, exact_level: Any) -> None:
    """It does not add up either, though a rate moves on from the read-back."""
    fault = ActuatorFault(action="inflow", kind="offset", from_step=1, to_step=3, value=0.3)
    plant = make_plant(signal_inflow={"rate": 0.05})
    simulation = Simulation(plant, 1, scenario=Scenario(actuator_faults=(fault,)), autoreset=False)
    level, hold = float(simulation.state), torch.tensor([[0.5]], dtype=torch.float64)
    for inflow in (0.5, 0.8, 0.8, 0.5):
        got, level = simulation.step(hold), exact_level(level, inflow, 2.0)
        assert float(got.applied) == 0.5
        assert float(got.state) == pytest.approx(level, abs=1e-6)


def test_a_valve_that_has_let_go_travels_to_its_end(make_plant: Any) -> None:
    slow = Simulation(make_plant(signal_inflow={"rate": 0.04, "actuator": {"stiction": 0.05}}), 1, autoreset=False)
    assert moved(slow, 0.6, 0.6, 0.6, 0.62) == pytest.approx([0.54, 0.58, 0.6, 0.6])
    lagging = Simulation(make_plant(signal_inflow={"actuator": {"stiction": 0.05, "lag": 2.0}}), 1, autoreset=False)
    assert moved(lagging, *[0.6] * 40)[-1] == pytest.approx(0.6, abs=1e-9)


def test_a_scenario_takes_range_away_and_moves_set_points(make_plant: Any) -> None:
    scenario = Scenario(
        action_limits={"inflow": (0.2, 0.6)},
        references={"level_sp": (SchedulePoint(step=0, value=3.0), SchedulePoint(step=1, value=0.5))},
    )
    simulation = Simulation(make_plant(), 1, scenario=scenario, autoreset=False)
    assert float(simulation.reference) == 3.0
    assert moved(simulation, 1.0, 0.0) == [0.6, 0.2]
    assert float(simulation.reference) == 0.5


@pytest.mark.parametrize(
    "scenario",
    [
        Scenario(action_limits={"outflow": (0.0, 1.0)}),
        Scenario(actuator_faults=(ActuatorFault(action="outflow", kind="stuck"),)),
        Scenario(references={"level": (SchedulePoint(step=0, value=1.0),)}),
    ],
)
def test_names_that_do_not_exist_are_refused(make_plant: Any, scenario: Scenario) -> None:
    with pytest.raises(PlantError, match=r"Correct the name"):
        Simulation(make_plant(), 1, scenario=scenario)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    command=st.floats(allow_nan=True, allow_infinity=True),
    stiction=st.sampled_from([0.0, 0.1]),
    lag=st.sampled_from([0.0, 3.0]),
    offset=st.floats(-2.0, 2.0),
)
def test_whatever_is_sent_it_stays_in_its_range(
    make_plant: Any, command: float, stiction: float, lag: float, offset: float
) -> None:
    fault = ActuatorFault(action="inflow", kind="offset", value=offset)
    plant = make_plant(signal_inflow={"actuator": {"stiction": stiction, "lag": lag}})
    simulation = Simulation(plant, 1, scenario=Scenario(actuator_faults=(fault,)), autoreset=False)
    for place in moved(simulation, command, 0.3, command):
        assert 0.0 <= place <= 1.0
