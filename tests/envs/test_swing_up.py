"""Cart-pole swing-up against mechanics."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.integrate import solve_ivp

from fpo_pilot.plants.check import check_plant
from fpo_pilot.plants.load import load_plant
from fpo_pilot.plants.simulation import Simulation

PLANT = load_plant("swing_up")
M, m, HALF, G = 1.0, 0.1, 0.5, 9.81


def derivative(t: float, y: list[float], drive: float) -> list[float]:
    """The equations of the notes, written once more by hand."""
    _, v, angle, rate = y
    pulled = (10 * drive + m * HALF * rate**2 * math.sin(angle)) / (M + m)
    turn = (G * math.sin(angle) - math.cos(angle) * pulled) / (HALF * (4 / 3 - m * math.cos(angle) ** 2 / (M + m)))
    return [v, pulled - m * HALF * turn * math.cos(angle) / (M + m), rate, turn]


def test_a_step_is_that_of_a_fine_integrator() -> None:
    start = [0.2, -0.3, 2.0, 1.5]
    found, _ = PLANT.step(torch.tensor([start], dtype=torch.float64), torch.tensor([[0.6]], dtype=torch.float64))
    exact = solve_ivp(derivative, (0, 0.02), start, args=(0.6,), rtol=1e-11, atol=1e-12).y[:, -1]
    torch.testing.assert_close(found[0], torch.as_tensor(exact), atol=1e-6, rtol=0)


def test_the_cart_stands_still_at_the_end_of_the_track() -> None:
    state = torch.tensor([[1.79, 3.0, 0.0, 0.0]], dtype=torch.float64)
    found, _ = PLANT.step(state, torch.ones(1, 1, dtype=torch.float64))
    assert found[0, :2].tolist() == [1.8, 0.0]


def test_without_drive_the_energy_stays() -> None:
    """A rod of half length l about its end; the cart is free, so the sum of both energies is kept."""

    def energy(state: torch.Tensor) -> float:
        _, v, angle, rate = state[0].tolist()
        speed = (v + HALF * rate * math.cos(angle)) ** 2 + (HALF * rate * math.sin(angle)) ** 2
        spin = (m * (2 * HALF) ** 2 / 12) * rate**2
        return 0.5 * M * v**2 + 0.5 * m * speed + 0.5 * spin + m * G * HALF * math.cos(angle)

    state = torch.tensor([[0.0, 0.0, 2.5, 0.0]], dtype=torch.float64)
    before = energy(state)
    for _ in range(200):
        state, _ = PLANT.step(state, torch.zeros(1, 1, dtype=torch.float64))
    assert energy(state) == pytest.approx(before, abs=1e-4)


def test_the_reward_is_one_upright_at_rest_and_nothing_hanging() -> None:
    sim = Simulation(PLANT, 2, seed=0)
    sim.reset()
    memory = sim.state_dict()
    memory["state"][:] = torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.0, 0.0, math.pi, 0.0]])
    sim.load_state_dict(memory)
    seen = sim.step(torch.zeros(2, 1, dtype=torch.float64))
    assert seen.reward.tolist() == pytest.approx([1.0, 0.0], abs=1e-6)
    full = sim.step(torch.ones(2, 1, dtype=torch.float64))
    # at full drive (4 + 0)/5; the cart has moved by 2 mm and the pole hardly turned
    assert float(full.reward[0]) == pytest.approx(0.8, abs=0.01)


def test_it_keeps_the_contract() -> None:
    assert [result for result in check_plant(PLANT) if not result.passed] == []
