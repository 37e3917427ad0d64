"""The roll-to-roll line against its computed facts."""

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

PLANT = load_plant("web_line")
FREE = dataclasses.replace(PLANT, safety=None)  # the same physics, and nothing trips
SPEEDS, TORQUES = (2.0, 2.00401, 2.00481, 2.00401), (-0.35833, -0.05595, 0.10406, 0.39170)
TENSIONS = (100.0, 120.0, 100.0)


def row(*values: float) -> Tensor:
    return torch.tensor([values], dtype=torch.float64)


def with_substeps(plant: Plant, count: int) -> Plant:
    dynamics = plant.spec.dynamics.model_copy(update={"substeps": count})
    return dataclasses.replace(plant, spec=plant.spec.model_copy(update={"dynamics": dynamics}))


def rates(state: Tensor, action: Tensor, pull: float = 0.0) -> Tensor:
    parameters = torch.tensor([PLANT.nominal_parameters()], dtype=torch.float64)
    rate: Tensor = PLANT.dynamics.derivative(state[None], action[None], row(pull), parameters)[0]
    return rate


def at_rest(speed: float) -> tuple[Tensor, Tensor]:
    """Return speeds of all rollers and torques that hold the tensions at ``speed``, by Newton's method."""
    found = torch.cat((torch.full((3,), speed, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)))

    def residual(z: Tensor) -> Tensor:
        state = torch.cat((row(speed)[0], z[:3], row(*TENSIONS, 0.0)[0]))
        return rates(state, z[3:])[:7]

    for _ in range(5):
        found = found - torch.linalg.solve(torch.func.jacrev(residual)(found), residual(found))
    return torch.cat((row(speed)[0], found[:3])), found[3:]


def cost_of(controller: Controller) -> tuple[float, bool]:
    simulation, tripped = Simulation(PLANT, 32, seed=1), torch.zeros(32, dtype=torch.bool)
    for _ in range(PLANT.horizon):
        got = simulation.step(controller.act(simulation.signals(), simulation.applied))
        tripped |= got.tripped
    return -float(got.episode_return.mean()), bool(tripped.any())


def test_the_steady_speeds_and_torques_at_two_metres_a_second() -> None:
    speeds, torques = at_rest(2.0)
    assert speeds.tolist() == pytest.approx(list(SPEEDS), abs=5e-6)
    assert torques.tolist() == pytest.approx(list(TORQUES), abs=5e-6)


def test_one_step_has_the_golden_value() -> None:
    speeds, torques = at_rest(2.0)
    start = torch.cat((speeds, row(*TENSIONS, 0.0)[0]))[None] + row(0.0, 0.01, 0.0, 0.0, 5.0, 0.0, 0.0, 0.0)
    got, trip = PLANT.step(start, torques[None])
    assert got[0, :4].tolist() == pytest.approx([2.00274, 2.00667, 2.00620, 2.00405], abs=6e-6)
    assert got[0, 4:7].tolist() == pytest.approx([108.46294, 117.06991, 99.61272], rel=1e-5)
    assert not bool(trip)


def test_the_integrator_reaches_its_order_on_this_plant() -> None:
    start = row(*SPEEDS, 110.0, 115.0, 90.0, 0.0)

    def step(count: int) -> Tensor:
        return with_substeps(FREE, count).step(start, row(-0.4, 0.0, 0.1, 0.5))[0]

    exact = step(256)
    errors = [float((step(count) - exact).abs().max()) for count in (4, 8)]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(4.0, abs=0.3)


def test_the_modes_swing_at_sixty_radians_a_second_and_the_line_drifts() -> None:
    speeds, torques = at_rest(2.0)
    state = torch.cat((speeds, row(*TENSIONS, 0.0)[0]))
    modes = torch.linalg.eigvals(torch.func.jacrev(lambda x: rates(x, torques))(state)[:7, :7])
    assert float(modes.imag.max()) == pytest.approx(60.0, abs=0.1)
    slow = modes.real[modes.imag.abs() < 1e-6]
    assert slow.tolist() == pytest.approx([-0.067], abs=5e-4)
    assert float(modes.real.max()) < 0.0


def test_a_roll_out_of_round_pulls_once_a_turn() -> None:
    state = row(*SPEEDS, *TENSIONS, math.pi / 2)[0]
    change = rates(state, row(*TORQUES)[0], pull=5.0) - rates(state, row(*TORQUES)[0])
    # −R²/J·5 N on the roller, and v·5 N/L carried into the span
    assert change.tolist() == pytest.approx([-(0.15**2) / 1.2 * 5.0, 0, 0, 0, 2.0 * 5.0 / 1.5, 0, 0, 0], abs=1e-9)
    assert float(rates(state, row(*TORQUES)[0])[7]) == pytest.approx(2.0 / 0.15)


def test_one_torque_alone_tears_the_web() -> None:
    state, action = row(*SPEEDS, *TENSIONS, 0.0), row(*TORQUES[:3], 1.0)
    tripped = torch.zeros(1, dtype=torch.bool)
    for _ in range(6):  # 0.12 s
        state, trip = PLANT.step(state, action)
        tripped |= trip
    assert bool(tripped)
    assert not 20.0 <= float(state[0, 4:7].min()) <= float(state[0, 4:7].max()) <= 250.0


def test_the_fallback_lets_the_line_coast_down_tight() -> None:
    assert PLANT.safety is not None
    limits = [PLANT.safety.actions[name] for name in PLANT.action_names]
    target, rate = row(*(limit.fallback for limit in limits)), row(*(limit.rate or 0.0 for limit in limits))
    state, action, span = row(*SPEEDS, *TENSIONS, 0.0), row(*TORQUES), []
    for _ in range(PLANT.horizon):
        action = torch.clamp(target, action - rate, action + rate)
        state, trip = PLANT.step(state, action, row(5.0))
        assert not bool(trip)
        span += state[0, 4:7].tolist()
    assert min(span) > 80.0
    assert max(span) < 140.0
    assert float(state[0, 0]) < 1.9


def test_the_incumbent_and_held_torques_cost_what_the_readme_says() -> None:
    assert cost_of(incumbent_controller(PLANT)) == (pytest.approx(15.0, abs=0.1), False)
    assert cost_of(hold_controller(PLANT)) == (pytest.approx(34.9, abs=0.3), False)
