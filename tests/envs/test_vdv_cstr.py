"""The reactor with two routes against its published and computed facts."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from fpo_pilot.plants.controllers import Controller, hold_controller, incumbent_controller
from fpo_pilot.plants.load import load_plant
from fpo_pilot.plants.plant import Plant
from fpo_pilot.plants.simulation import Simulation

PLANT = load_plant("vdv_cstr")
NOMINAL = (2.14, 1.0903, 114.194, 112.91)
DUTY = -1113.5


def row(*values: float) -> Tensor:
    return torch.tensor([values], dtype=torch.float64)


def with_substeps(plant: Plant, count: int) -> Plant:
    dynamics = plant.spec.dynamics.model_copy(update={"substeps": count})
    return dataclasses.replace(plant, spec=plant.spec.model_copy(update={"dynamics": dynamics}))


def rates(state: Tensor, feed: float, duty: float = DUTY) -> Tensor:
    parameters = torch.tensor([PLANT.nominal_parameters()], dtype=torch.float64)
    rate: Tensor = PLANT.dynamics.derivative(state[None], row(feed, duty), row()[:, :0], parameters)[0]
    return rate


def at_rest(feed: float) -> Tensor:
    """Return the steady state at the nominal duty, by Newton's method."""
    state = row(*NOMINAL)[0]
    for _ in range(8):
        jacobian = torch.func.jacrev(lambda x: rates(x, feed))(state)
        state = state - torch.linalg.solve(jacobian, rates(state, feed))
    return state


def cost_of(controller: Controller) -> float:
    simulation = Simulation(PLANT, 1)
    for _ in range(PLANT.horizon):
        got = simulation.step(controller.act(simulation.signals(), simulation.applied))
    return -float(got.episode_return)


def test_two_steps_have_the_golden_value() -> None:
    state, action = row(2.5, 0.9, 110.0, 108.0), row(14.19, DUTY)
    for _ in range(2):  # 0.01 h
        state, trip = PLANT.step(state, action)
    assert state[0].tolist() == pytest.approx([2.47705, 0.94584, 110.32927, 108.52218], rel=1e-5)
    assert not bool(trip)


def test_the_integrator_reaches_its_order_on_this_plant() -> None:
    start, action = row(2.5, 0.9, 110.0, 108.0), row(30.0, -5000.0)
    exact = with_substeps(PLANT, 256).step(start, action)[0]
    errors = [float((with_substeps(PLANT, n).step(start, action)[0] - exact).abs().max()) for n in (4, 8)]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(4.0, abs=0.3)


def test_the_nominal_inputs_hold_the_nominal_state() -> None:
    assert at_rest(14.19).tolist() == pytest.approx([2.1400, 1.0903, 114.194, 112.910], rel=1e-5)


def test_the_fastest_mode_dies_away_at_118_per_hour() -> None:
    state = at_rest(14.19)
    eigenvalues = torch.linalg.eigvals(torch.func.jacrev(lambda x: rates(x, 14.19))(state)).real
    assert float(eigenvalues.min()) == pytest.approx(-118.0, abs=0.5)
    assert float(eigenvalues.max()) < 0.0


def test_the_start_is_next_to_the_most_product_that_there_is() -> None:
    less, most, more = (float(at_rest(feed)[1]) for feed in (14.65, 14.75, 14.85))
    assert most == pytest.approx(1.09065, rel=1e-5)
    assert less < most > more


@pytest.mark.parametrize(
    ("grade", "slow", "fast", "between"),
    [(0.95, 5.52, 30.39, 1.081), (1.0, 7.12, 26.37, 1.087), (1.05, 9.38, 21.84, 1.090)],
)
def test_two_feeds_make_one_grade_and_their_mean_does_not(
    grade: float, slow: float, fast: float, between: float
) -> None:
    assert float(at_rest(slow)[1]) == pytest.approx(grade, abs=1.5e-4)  # feeds are given to 0.01 1/h
    assert float(at_rest(fast)[1]) == pytest.approx(grade, abs=1.5e-4)
    assert float(at_rest((slow + fast) / 2)[1]) == pytest.approx(between, abs=5e-4)


def test_the_two_routes_to_the_grade_have_the_temperatures_of_the_table() -> None:
    assert float(at_rest(5.52)[2]) == pytest.approx(111.3, abs=0.05)
    assert float(at_rest(30.39)[2]) == pytest.approx(113.0, abs=0.05)


def test_less_feed_first_makes_more_product() -> None:
    state, action, made = row(*NOMINAL), row(5.52, DUTY), []
    for _ in range(400):
        state, _ = PLANT.step(state, action)
        made.append(float(state[0, 1]))
    assert max(made) > 1.15
    assert made[-1] == pytest.approx(0.95, abs=2e-3)


def test_the_incumbent_costs_15_7() -> None:
    assert cost_of(incumbent_controller(PLANT)) == pytest.approx(15.69, abs=0.01)


def test_the_steady_feed_at_the_rate_limit_costs_10_5() -> None:
    assert PLANT.safety is not None
    rate = PLANT.safety.actions["F"].rate
    assert rate == 3.0
    simulation, hold = Simulation(PLANT, 1), hold_controller(PLANT)
    for _ in range(PLANT.horizon):
        asked, last = hold.act(simulation.signals(), simulation.applied), simulation.applied
        got = simulation.step(torch.clamp(asked, last - rate, last + rate))
    assert -float(got.episode_return) == pytest.approx(10.49, abs=0.01)


def test_a_feed_as_hot_as_that_of_do_mpc_trips_without_cooling() -> None:
    """Why the feed is at 104.9 °C here; at 130 °C and no cooling the reactor settles at 142.7 °C."""
    parameters = torch.tensor([PLANT.nominal_parameters()], dtype=torch.float64)
    parameters[0, PLANT.parameter_names.index("feed_temperature")] = 130.0
    state, tripped = row(*NOMINAL), torch.zeros(1, dtype=torch.bool)
    for _ in range(200):
        state, trip = PLANT.step(state, row(14.19, 0.0), None, parameters)
        tripped |= trip
    assert bool(tripped)
    assert 140.0 < float(state[0, 2]) < 140.5  # frozen where it tripped
