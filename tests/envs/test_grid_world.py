"""The square with two goals."""

from __future__ import annotations

import torch

from fpo_pilot.plants.check import check_plant
from fpo_pilot.plants.load import load_plant
from fpo_pilot.plants.simulation import Simulation

PLANT = load_plant("grid_world")


def step(x: float, y: float, dx: float, dy: float) -> list[float]:
    state = torch.tensor([[x, y, 0.0]], dtype=torch.float64)
    return PLANT.step(state, torch.tensor([[dx, dy]], dtype=torch.float64))[0][0].tolist()


def test_a_step_moves_by_the_action_and_walls_stop_it() -> None:
    assert step(1.0, 2.0, 0.5, -1.0) == [1.5, 1.0, 0.0]
    assert step(11.8, 0.0, 1.0, 0.0) == [12.0, 0.0, 0.0]


def test_both_goals_count_and_the_corner_does_not() -> None:
    assert step(0.0, 9.5, 0.0, 1.0)[2] == 1.0
    assert step(0.0, -9.5, 0.0, -1.0)[2] == 1.0
    assert step(0.0, 9.5, 0.0, 0.4)[2] == 0.0
    assert step(11.0, 11.5, 0.0, 0.5)[2] == 0.0


def test_an_episode_pays_once_and_ends_at_the_goal() -> None:
    sim = Simulation(PLANT, 32, seed=0, autoreset=False)
    sim.reset()
    total, ended = torch.zeros(32), torch.zeros(32, dtype=torch.bool)
    for _ in range(PLANT.horizon):
        x, y, _ = sim.state.unbind(-1)
        aim = torch.stack((-x, torch.where(y >= 0, 12.0, -12.0) - y), dim=-1)
        seen = sim.step(aim.clamp(-1, 1))
        total += torch.where(ended, 0.0, seen.reward)
        ended |= seen.terminated
    assert ended.all()
    assert total.tolist() == [1.0] * 32


def test_it_keeps_the_contract() -> None:
    assert [result for result in check_plant(PLANT) if not result.passed] == []
