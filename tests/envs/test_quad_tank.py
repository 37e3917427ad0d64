"""The four tanks against published and computed facts."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor

from fpo_pilot.plants.controllers import hold_controller, incumbent_controller
from fpo_pilot.plants.load import load_plant
from fpo_pilot.plants.plant import Plant
from fpo_pilot.plants.simulation import Simulation

PLANT = load_plant("quad_tank")
MINUS, PLUS = load_plant("quad_tank_minus"), load_plant("quad_tank_plus")
POINTS = {
    "quad_tank_minus": ((12.263, 12.783, 1.634, 1.409), 3.0),
    "quad_tank_plus": ((12.442, 13.167, 4.730, 4.986), 3.15),
}


def rates(plant: Plant, state: Tensor, action: Tensor) -> Tensor:
    parameters = torch.tensor([plant.nominal_parameters()], dtype=torch.float64)
    rate: Tensor = plant.dynamics.derivative(state[None], action[None], state.new_empty((1, 0)), parameters)[0]
    return rate


def zeros(plant: Plant) -> np.ndarray:
    """Return the transmission zeros from the pumps to the lower levels at the operating point."""
    levels, volts = POINTS[plant.name]
    state, action = torch.tensor(levels, dtype=torch.float64), torch.full((2,), volts, dtype=torch.float64)
    a = torch.func.jacrev(lambda x: rates(plant, x, action))(state).numpy()
    b = torch.func.jacrev(lambda u: rates(plant, state, u))(action).numpy()
    pencil = np.block([[a, b], [np.eye(2, 4), np.zeros((2, 2))]])
    found = scipy.linalg.eigvals(pencil, scipy.linalg.block_diag(np.eye(4), np.zeros((2, 2))))
    return np.sort(found[np.isfinite(found) & (np.abs(found) < 1.0)].real)


def cost_of(controller: object) -> float:
    simulation = Simulation(PLANT, 1)
    for _ in range(60):
        got = simulation.step(controller.act(simulation.signals(), simulation.applied))  # type: ignore[attr-defined]
    return -float(got.episode_return)


def test_one_step_has_the_golden_value() -> None:
    state = torch.tensor([[0.141, 0.112, 0.072, 0.42]], dtype=torch.float64)
    got, trip = PLANT.step(state, torch.full((1, 2), 5.0, dtype=torch.float64))
    assert got[0].tolist() == pytest.approx([0.10723, 0.16080, 0.09286, 0.36144], rel=1e-4)
    assert not bool(trip)


@pytest.mark.parametrize(("levels", "volts"), [((0.5, 0.2), (7.28275, 8.24235)), ((0.1, 0.3), (8.91951, 3.68609))])
def test_the_steady_voltages_of_each_set_point(levels: tuple[float, float], volts: tuple[float, float]) -> None:
    state = torch.tensor([0.2, 0.2, *levels], dtype=torch.float64)
    assert rates(PLANT, state, torch.tensor(volts, dtype=torch.float64))[2:].tolist() == pytest.approx([0, 0], abs=1e-7)


def test_holding_the_steady_voltages_costs_3_224() -> None:
    assert cost_of(hold_controller(PLANT)) == pytest.approx(3.224, abs=0.002)


def test_the_incumbent_costs_1_54() -> None:
    assert cost_of(incumbent_controller(PLANT)) == pytest.approx(1.54, abs=0.01)


def test_random_actions_cost_about_16_7() -> None:
    simulation, generator = Simulation(PLANT, 500), torch.Generator().manual_seed(0)
    for _ in range(60):
        normalised = 2.0 * torch.rand((500, 2), generator=generator, dtype=torch.float64) - 1.0
        got = simulation.step(PLANT.to_engineering(normalised))
    assert -float(got.episode_return.mean()) == pytest.approx(16.67, abs=0.3)
    assert not bool(got.terminated.any())


@pytest.mark.parametrize("plant", [MINUS, PLUS], ids=lambda plant: plant.name)
def test_the_operating_point_of_the_paper_is_at_rest(plant: Plant) -> None:
    levels, volts = POINTS[plant.name]
    state = torch.tensor([levels], dtype=torch.float64)
    action = torch.full((1, 2), volts, dtype=torch.float64)
    for _ in range(400):  # 2000 s
        state, _ = plant.step(state, action)
    assert state[0].tolist() == pytest.approx(list(levels), abs=5e-4)


def test_p_minus_is_minimum_phase_and_p_plus_is_not() -> None:
    assert (zeros(MINUS) < 0).all()
    assert (zeros(PLUS) > 0).sum() == 1
    assert len(zeros(MINUS)) == len(zeros(PLUS)) == 2


@pytest.mark.parametrize("plant", [MINUS, PLUS], ids=lambda plant: plant.name)
def test_the_declared_steady_actions_hold_the_set_points(plant: Plant) -> None:
    references = [plant.spec.signals[name] for name in plant.reference_names]
    for index, steady in enumerate(references[0].steady_actions):
        action = torch.tensor([[steady["v1"], steady["v2"]]], dtype=torch.float64)
        state = torch.tensor([POINTS[plant.name][0]], dtype=torch.float64)
        for _ in range(400):
            state, _ = plant.step(state, action)
        wanted = [reference.schedule[index].value for reference in references]
        assert state[0, :2].tolist() == pytest.approx(wanted, abs=1e-3)


@pytest.mark.parametrize(("plant", "cost", "held"), [(MINUS, 6.5, 28.0), (PLUS, 62.0, 71.0)])
def test_the_incumbent_costs_what_the_readme_says(plant: Plant, cost: float, held: float) -> None:
    for controller, expected in ((incumbent_controller(plant), cost), (hold_controller(plant), held)):
        simulation = Simulation(plant, 256, seed=3)
        for _ in range(plant.horizon):
            got = simulation.step(controller.act(simulation.signals(), simulation.applied))
        assert -float(got.episode_return.mean()) == pytest.approx(expected, rel=0.03)


def test_full_pumps_overflow_and_trip_where_tanks_can_overflow() -> None:
    simulation = Simulation(MINUS, 4, autoreset=False)
    tripped = torch.zeros(4, dtype=torch.bool)
    for _ in range(30):
        tripped |= simulation.step(torch.full((4, 2), 10.0)).tripped
    assert bool(tripped.all())
