"""The three-zone furnace against its computed facts."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from fpo_pilot.plants.controllers import hold_controller, incumbent_controller
from fpo_pilot.plants.load import load_plant
from fpo_pilot.plants.plant import Plant
from fpo_pilot.plants.simulation import Simulation
from fpo_pilot.specs.evaluation import Scenario
from fpo_pilot.specs.plant import DisturbanceSpec

PLANT = load_plant("zone_furnace")
FREE = dataclasses.replace(PLANT, safety=None)  # the same physics, and nothing trips
GOLDEN_STATE = (900.0, 880.0, 900.0, 850.0, 860.0, 850.0, 850.0, 860.0, 850.0)
DOOR = DisturbanceSpec(channel="door", kind="step", at_step=120, until_step=124, size=1.0)


def row(*values: float) -> Tensor:
    return torch.tensor([values], dtype=torch.float64)


def with_substeps(plant: Plant, count: int) -> Plant:
    dynamics = plant.spec.dynamics.model_copy(update={"substeps": count})
    return dataclasses.replace(plant, spec=plant.spec.model_copy(update={"dynamics": dynamics}))


def rates(state: Tensor, power: tuple[float, float, float]) -> Tensor:
    parameters = torch.tensor([PLANT.nominal_parameters()], dtype=torch.float64)
    rate: Tensor = PLANT.dynamics.derivative(state[None], row(*power), row(0.0), parameters)[0]
    return rate


def test_one_step_has_the_golden_value() -> None:
    got, trip = PLANT.step(row(*GOLDEN_STATE), row(0.6, 0.5, 0.6))
    golden = [897.64856, 889.81847, 897.64856, 853.91266, 861.67657, 853.91266]
    assert got[0, :6].tolist() == pytest.approx(golden, rel=1e-7)
    assert not bool(trip)


def test_the_integrator_reaches_its_order_on_this_plant() -> None:
    def step(count: int) -> Tensor:
        return with_substeps(FREE, count).step(row(*GOLDEN_STATE), row(1.0, 0.0, 1.0))[0]

    exact = step(128)
    errors = [float((step(count) - exact).abs().max()) for count in (4, 8)]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(4.0, abs=0.3)


@pytest.mark.parametrize(("kelvin", "power"), [(1123.15, (0.6417, 0.4125, 0.6417)), (873.15, (0.4472, 0.2875, 0.4472))])
def test_the_steady_power_holds_the_temperature(kelvin: float, power: tuple[float, float, float]) -> None:
    assert rates(row(*[kelvin] * 9)[0], power).tolist() == pytest.approx([0.0] * 9, abs=1.1e-4)  # 5e-5 of 18 kW


@pytest.mark.parametrize(("kelvin", "seconds"), [(1123.0, 38.0), (1223.0, 32.0)])
def test_the_fastest_mode_of_the_walls(kelvin: float, seconds: float) -> None:
    jacobian = torch.func.jacrev(lambda x: rates(x, (0.5, 0.5, 0.5)))(row(*[kelvin] * 9)[0])[:6, :6]
    eigenvalues = torch.linalg.eigvals(jacobian).real
    assert -1.0 / float(eigenvalues.min()) == pytest.approx(seconds, abs=0.5)


def test_full_power_from_the_cold() -> None:
    state = row(*[298.15] * 9)
    for _ in range(60):
        state, _ = FREE.step(state, row(1.0, 1.0, 1.0))
    assert state[0, 3:6].tolist() == pytest.approx([934.79, 958.52, 934.79], abs=0.05)
    for _ in range(60):
        state, _ = FREE.step(state, row(1.0, 1.0, 1.0))
    assert state[0, 3:6].tolist() == pytest.approx([1342.67, 1381.05, 1342.67], abs=0.05)


def test_a_thermocouple_follows_with_its_lag_and_its_error() -> None:
    parameters = torch.tensor([PLANT.nominal_parameters()], dtype=torch.float64)
    parameters[0, PLANT.parameter_names.index("bias_2")] = 5.0
    state, steady = row(*[873.15] * 9), row(14.0, 9.0, 14.0) * (873.15 - 298.15) / 18e3
    state, _ = PLANT.step(state, steady, None, parameters)
    reading = (state[0, 6:9] - 873.15).tolist()
    assert reading == pytest.approx([0.0, 5.0 * (1.0 - math.exp(-30.0 / 20.0)), 0.0], abs=2e-3)


def test_spread_and_ramp_are_those_of_the_load() -> None:
    got = PLANT.outputs(row(*GOLDEN_STATE), row(0.6, 0.5, 0.6))[0]
    assert float(got[0]) == 10.0
    # zone 1: (0.35·σ·(900⁴ − 850⁴) + 6·50 + 12·10)/22000 K/s
    assert float(got[1]) == pytest.approx(60.0 * (0.35 * 5.670374e-8 * (900.0**4 - 850.0**4) + 420.0) / 22e3)


def test_the_incumbent_keeps_every_limit_and_costs_102() -> None:
    simulation, controller = Simulation(PLANT, 256, seed=1, autoreset=False), incumbent_controller(PLANT)
    tripped = torch.zeros(256, dtype=torch.bool)
    for _ in range(PLANT.horizon):
        got = simulation.step(controller.act(simulation.signals(), simulation.applied))
        tripped |= got.tripped
    assert not bool(tripped.any())
    assert -float(got.episode_return.mean()) == pytest.approx(102.0, abs=2.0)
    assert -float(got.episode_return.min()) < 130.0


def test_after_the_door_was_open_the_incumbent_heats_too_fast() -> None:
    simulation = Simulation(PLANT, 64, seed=1, autoreset=False, scenario=Scenario(disturbances=(DOOR,)))
    controller, tripped = incumbent_controller(PLANT), torch.zeros(64, dtype=torch.bool)
    for _ in range(PLANT.horizon):
        tripped |= simulation.step(controller.act(simulation.signals(), simulation.applied)).tripped
    assert float(tripped.double().mean()) == pytest.approx(0.85, abs=0.1)


def test_leaving_the_power_alone_while_the_door_is_open_keeps_every_limit() -> None:
    state, power = row(*[1123.15] * 9), row(0.6417, 0.4125, 0.6417)
    for step in range(40):
        state, trip = PLANT.step(state, power, row(1.0 if step < 4 else 0.0))
        assert not bool(trip)
    assert float(state[0, 3:6].min()) < 1080.0


def test_holding_the_start_costs_327() -> None:
    simulation, controller = Simulation(PLANT, 4, seed=1), hold_controller(PLANT)
    for _ in range(PLANT.horizon):
        got = simulation.step(controller.act(simulation.signals(), simulation.applied))
    assert -float(got.episode_return.mean()) == pytest.approx(326.9, abs=0.2)
