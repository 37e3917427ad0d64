"""The grade transition against its computed facts."""

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

PLANT = load_plant("grade_cstr")


def row(*values: float) -> Tensor:
    return torch.tensor([values], dtype=torch.float64)


def with_substeps(plant: Plant, count: int) -> Plant:
    dynamics = plant.spec.dynamics.model_copy(update={"substeps": count})
    return dataclasses.replace(plant, spec=plant.spec.model_copy(update={"dynamics": dynamics}))


def rates(state: Tensor, coolant: float) -> Tensor:
    parameters = torch.tensor([PLANT.nominal_parameters()], dtype=torch.float64)
    rate: Tensor = PLANT.dynamics.derivative(state[None], row(coolant), row()[:, :0], parameters)[0]
    return rate


def cost_of(controller: Controller) -> float:
    simulation = Simulation(PLANT, 1)
    for _ in range(PLANT.horizon):
        got = simulation.step(controller.act(simulation.signals(), simulation.applied))
    return -float(got.episode_return)


@pytest.mark.parametrize(
    ("c", "t", "coolant", "stable"),
    [
        (8.57, 311.261, 297.980, True),
        (6.9275, 327.997, 305.239, False),
        (5.285, 341.109, 296.795, False),
        (3.6425, 354.725, 290.536, False),
        (2.0, 373.131, 305.036, True),
    ],
)
def test_the_steady_states_on_the_way(c: float, t: float, coolant: float, stable: bool) -> None:
    exact = 11843.0 / 1.98588 / math.log(34_930_800.0 * c / (10.0 - c))  # at rest: 10 − C = k C
    assert exact == pytest.approx(t, abs=1e-3)
    state = row(c, exact)[0]
    assert rates(state, coolant).tolist() == pytest.approx([0.0, 0.0], abs=3e-4)  # 1 mK of coolant
    eigenvalues = torch.linalg.eigvals(torch.func.jacrev(lambda x: rates(x, coolant))(state)).real
    assert bool((eigenvalues < 0.0).all()) == stable


def test_the_integrator_reaches_its_order_on_this_plant() -> None:
    def step(count: int) -> Tensor:
        return with_substeps(PLANT, count).step(row(5.0, 350.0), row(300.0))[0]

    exact = step(256)
    errors = [float((step(count) - exact).abs().max()) for count in (8, 16)]
    assert errors[0] < 1e-4
    assert math.log2(errors[0] / errors[1]) == pytest.approx(4.0, abs=0.2)


def test_left_alone_in_the_middle_the_reactor_falls_to_one_side() -> None:
    state, coolant = row(5.285, 341.2), row(296.795)  # 0.1 K too warm
    for _ in range(30):
        state, _ = PLANT.step(state, coolant)
    assert abs(float(state[0, 0]) - 5.285) > 1.0


def test_the_ramp_in_minutes_would_need_a_coolant_of_thousands_of_kelvins() -> None:
    """Why the schedule is in hours here: the coolant that a smooth ramp needs, by inverting the model."""
    spans = {}
    for unit in (1.0 / 60.0, 1.0):
        s = torch.linspace(0.0, 1.0, 20001, dtype=torch.float64)
        hours = 26.0 * unit * s
        c = 8.57 - 6.57 * s * s * (3.0 - 2.0 * s)
        reacted = 10.0 - c - torch.gradient(c, spacing=(hours,))[0]
        t = 11843.0 / 1.98588 / torch.log(34_930_800.0 * c / reacted)
        coolant = t + (torch.gradient(t, spacing=(hours,))[0] - (298.2 - t) - 11.92 * reacted) / 0.3
        spans[unit] = (float(coolant[2:-2].min()), float(coolant[2:-2].max()))
    assert spans[1.0] == (pytest.approx(292.0, abs=1.0), pytest.approx(312.0, abs=1.0))
    assert spans[1.0 / 60.0][0] < -1000.0
    assert spans[1.0 / 60.0][1] > 5000.0


def test_the_warmest_coolant_makes_the_reactor_jump_and_not_trip() -> None:
    state, hottest = row(8.57, 311.2613), 0.0
    for _ in range(60):
        state, trip = PLANT.step(state, row(322.0))
        hottest = max(hottest, float(state[0, 1]))
        assert not bool(trip)
    assert hottest == pytest.approx(389.86, abs=0.05)


def test_the_declared_steady_coolants_hold_their_set_points() -> None:
    signal = PLANT.spec.signals["C_sp"]
    for point, steady in zip(signal.schedule, signal.steady_actions, strict=True):
        t = 11843.0 / 1.98588 / math.log(34_930_800.0 * point.value / (10.0 - point.value))
        assert rates(row(point.value, t)[0], steady["Tc"]).abs().max().item() < 0.02  # set points have four digits


def test_the_incumbent_costs_47_and_the_steady_coolants_303() -> None:
    assert cost_of(incumbent_controller(PLANT)) == pytest.approx(47.0, abs=0.05)
    assert cost_of(hold_controller(PLANT)) == pytest.approx(303.0, abs=1.0)
