"""The proof plant against its closed form."""

from __future__ import annotations

import pytest
import torch

from fpo_pilot.plants.check import check_plant
from fpo_pilot.plants.load import load_plant
from fpo_pilot.plants.simulation import Simulation

PLANT = load_plant("jam_clear")


def cost_of(choose, episodes: int = 20_000) -> float:
    """Return the mean cost of an episode in which ``choose(B, generator)`` jogs."""
    sim = Simulation(PLANT, episodes, seed=3)
    generator = torch.Generator().manual_seed(4)
    sim.reset()
    total, running = torch.zeros(episodes, dtype=torch.float64), torch.ones(episodes, dtype=torch.bool)
    for _ in range(PLANT.horizon):
        seen = sim.step(choose(episodes, generator).to(sim.dtype).unsqueeze(1))
        total += torch.where(running, seen.reward.to(torch.float64), 0.0)
        running &= ~(seen.terminated | seen.truncated)
    assert not running.any()
    return -float(total.mean())


def test_the_even_mixture_of_both_sides_costs_what_was_derived() -> None:
    """A jog clears with .45: 1/.45 = 2.222 jogs, and .55^20 of giving up hardly counts; deviation √.55/.45/√20000 = .012."""
    found = cost_of(lambda n, g: torch.where(torch.rand(n, generator=g) < 0.5, 0.7, -0.7))
    assert found == pytest.approx(2.222, abs=0.05)


def test_always_the_same_side_clears_half_of_the_jams() -> None:
    """Half: 1/.9 = 1.11 jogs; the others: 20 jogs and 20 for giving up."""
    assert cost_of(lambda n, g: torch.full((n,), 0.7)) == pytest.approx((1 / 0.9 + 40) / 2, abs=0.6)


def test_the_middle_of_the_two_sides_clears_nothing() -> None:
    assert cost_of(lambda n, g: torch.zeros(n)) == 40.0


def test_the_best_single_gaussian_is_far_from_the_optimum() -> None:
    costs = [
        cost_of(lambda n, g, m=mean, s=std: (m + s * torch.randn(n, generator=g)).clamp(-1, 1), 4000)
        for mean, std in ((0.0, 0.4), (0.0, 0.7), (0.7, 0.05), (0.7, 0.3), (0.35, 0.5))
    ]
    assert min(costs) > 12.0


def test_each_strike_of_the_end_stop_costs_ten_and_the_episode_goes_on() -> None:
    sim = Simulation(PLANT, 1, seed=0)
    sim.reset()
    seen = sim.step(torch.tensor([[0.95]], dtype=torch.float64))
    assert float(seen.reward) == -11.0
    assert not bool(seen.terminated)


def test_the_side_is_never_observed() -> None:
    sim = Simulation(PLANT, 64, seed=0)
    assert sim.reset().unique(dim=0).shape[0] == 1


def test_it_keeps_the_contract() -> None:
    assert [result for result in check_plant(PLANT) if not result.passed] == []
