"""The Industrial Benchmark against computed facts and paths worked out by hand."""

from __future__ import annotations

import math
import sys
from typing import Any

import pytest
import torch
from torch import Tensor

from fpo_pilot.plants.controllers import incumbent_controller
from fpo_pilot.plants.load import load_plant
from fpo_pilot.plants.simulation import Simulation

PLANT = load_plant("industrial_benchmark")
MODULE: Any = sys.modules[type(PLANT.dynamics).__module__]
COLUMN = {name: index for index, name in enumerate(PLANT.state_names)}
NOISE = {name: index for index, name in enumerate(PLANT.disturbance_names)}
PENALTY: Any = MODULE.goldstone


def numbers(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def start(**values: float) -> Tensor:
    state = torch.zeros((1, len(COLUMN)), dtype=torch.float64)
    given = {"p": 50.0, "v": 50.0, "g": 50.0, "h": 50.0, "domain": 1.0, "response": 1.0} | values
    for name, value in given.items():
        state[0, COLUMN[name]] = value
    return state


def noise(**values: float) -> Tensor:
    drawn = torch.zeros((1, len(NOISE)), dtype=torch.float64)
    for name, value in values.items():
        drawn[0, NOISE[name]] = value
    return drawn


def step(state: Tensor, dv: float = 0.0, dg: float = 0.0, dh: float = 0.0, **drawn: float) -> Tensor:
    return PLANT.step(state, numbers(dv, dg, dh)[None], noise(**drawn))[0]


def value(state: Tensor, name: str) -> float:
    return float(state[0, COLUMN[name]])


def path(shift: float, steps: int, **values: float) -> list[tuple[float, float, float]]:
    """Return direction, response and domain after each step at a shift that is held."""
    state, seen = start(h=shift, **values), []
    for _ in range(steps):
        state = step(state)
        seen.append((value(state, "direction"), value(state, "response"), value(state, "domain")))
    return seen


@pytest.mark.parametrize(
    ("k", "right", "left"), [(0, -0.29122, -0.29122), (3, -0.62760, 0.10768), (6, -0.55738, 0.20985)]
)
def test_the_penalty_has_its_golden_values(k: int, right: float, left: float) -> None:
    got = PENALTY(numbers(0.5, -0.5), numbers(k, k))
    assert got.tolist() == pytest.approx([right, left], rel=1e-4)


def test_the_penalty_is_symmetric_in_the_shift_at_the_start_and_only_there() -> None:
    shifts = torch.linspace(-1.5, 1.5, 31, dtype=torch.float64)
    assert torch.allclose(PENALTY(shifts, 0.0 * shifts), PENALTY(-shifts, 0.0 * shifts))
    assert torch.allclose(PENALTY(shifts, 0.0 * shifts + 4), PENALTY(-shifts, 0.0 * shifts - 4))
    assert not torch.allclose(PENALTY(shifts, 0.0 * shifts + 4), PENALTY(-shifts, 0.0 * shifts + 4))


@pytest.mark.parametrize("k", range(-6, 7))
def test_the_least_penalty_is_at_the_sine_of_the_direction(k: int) -> None:
    shifts = torch.linspace(-1.5, 1.5, 30_001, dtype=torch.float64)
    best = float(shifts[PENALTY(shifts, torch.full_like(shifts, k)).argmin()])
    sine = math.sin(2.0 * math.pi * k / 24.0)
    assert abs(best) == pytest.approx(max(abs(sine), math.sin(math.pi / 12)), abs=2e-4)
    if k:
        assert best * k > 0.0


def test_at_a_quarter_turn_the_best_penalty_is_minus_one_and_costs_nothing() -> None:
    assert float(PENALTY(numbers(1.0), numbers(6.0))) == pytest.approx(-1.0, abs=1e-6)
    got = PLANT.outputs(start(h=70.0, direction=6.0), numbers(0.0, 0.0, 0.0)[None])
    assert got[0].tolist() == pytest.approx([1.0, 0.0], abs=1e-5)


def test_costs_and_basic_fatigue_have_their_golden_values() -> None:
    got = step(
        start(), excite_v=-40.0, excite_g=-40.0, share_v=-40.0, share_g=-40.0
    )  # no noise: a third of the basic one
    assert value(got, "cost_10") == pytest.approx(70.10541, rel=1e-6)
    assert 3.0 * value(got, "fatigue") == pytest.approx(60.71429, rel=1e-6)


def test_a_cost_shows_five_to_nine_steps_later() -> None:
    state = step(start())
    expected = value(state, "consumption")  # all ten are the same, and the weights add up to 0.99999
    base = math.exp(4.25)
    assert expected == pytest.approx(
        0.99999 * base + 25.0 * (1.0 + float(PENALTY(numbers(0.0), numbers(0.0)))), rel=1e-9
    )
    state, seen = step(state, dv=1.0), []
    for _ in range(10):
        seen.append(value(state, "consumption") - expected)
        state = step(state)
    change = math.exp(4.29) - base
    weights = [0.0] * 5 + [0.11111, 0.33333, 0.66666, 0.88888, 0.99999]
    assert seen == pytest.approx([weight * change for weight in weights], abs=1e-9)


def test_actions_move_the_settings_by_their_strokes_and_stop_at_the_ends() -> None:
    got = step(start(), dv=1.0, dg=-1.0, dh=0.5)
    assert value(got, "v") == 51.0
    assert value(got, "g") == 40.0
    assert value(got, "h") == pytest.approx(50.0 + 0.5 * math.sin(math.radians(15.0)) / 0.9 * 20.0)
    assert value(step(start(g=95.0), dg=1.0), "g") == 100.0
    assert value(step(start(), dv=7.0), "v") == 51.0  # beyond its range an action counts as full


def test_the_direction_follows_the_shift_turns_back_and_stops_against_it() -> None:
    got = path(70.0, 24)  # an effective shift of 1
    directions = [k for k, _, _ in got]
    assert directions[:6] == [1, 2, 3, 4, 5, 6]
    assert directions[6:18] == [5, 4, 3, 2, 1, 0, -1, -2, -3, -4, -5, -6]
    assert directions[18:] == [-6] * 6
    assert [response for _, response, _ in got] == [1.0] * 5 + [-1.0] * 19
    assert [k for k, _, _ in path(30.0, 24)] == [-k for k in directions]  # the other side is its mirror image


def test_in_the_safe_zone_the_machine_forgets() -> None:
    got = path(51.0, 4, direction=-3.0, response=-1.0, domain=-1.0)  # an effective shift of 0.05
    assert got[:2] == [(-2.0, -1.0, -1.0), (-1.0, -1.0, -1.0)]
    assert got[2:] == [(0.0, 1.0, 1.0), (0.0, 1.0, 1.0)]


def test_a_change_of_side_makes_the_machine_respond_again() -> None:
    got = path(30.0, 1, direction=4.0, response=-1.0, domain=1.0)
    assert got == [(3.0, 1.0, -1.0)]


def test_wear_follows_drifts_or_explodes() -> None:
    mild = step(start(v=100.0, g=0.0), excite_g=-40.0, chance_g=9.0, chance_v=9.0)  # ve is 0 there
    assert value(mild, "latent_v") == pytest.approx(0.0, abs=1e-12)
    drifting = step(start(latent_v=1.0, latent_g=1.0), excite_v=-40.0, excite_g=-40.0, chance_v=9.0, chance_g=9.0)
    assert value(drifting, "latent_v") == pytest.approx(0.9)
    assert value(drifting, "latent_g") == pytest.approx(0.9)
    growing = step(start(latent_v=2.0, latent_g=1.0), excite_g=-40.0, chance_g=9.0)
    assert value(growing, "latent_v") == pytest.approx(2.2)
    assert value(growing, "latent_g") == pytest.approx(0.9)  # one wear does not change the other
    burst = step(start(latent_v=4.9))
    assert value(burst, "latent_v") == 5.0
    share = 1.0 / (1.0 + math.exp(-2.4))
    assert value(burst, "fatigue") == pytest.approx(60.714285714 * (1.0 + 2.0 * share) / 3.0)


def test_normal_numbers_become_the_noises_of_the_paper() -> None:
    """Mean of 2(σ(e) − ½) = tanh(e/2) under Exp(mean .1), by quadrature: 0.0496; strikes come as often as eff says."""
    batch, generator = 200_000, torch.Generator().manual_seed(0)
    drawn = torch.randn((batch, 8), dtype=torch.float64, generator=generator)
    drawn[:, NOISE["chance_v"]] = drawn[:, NOISE["chance_g"]] = 9.0  # none strikes
    got, _ = PLANT.step(start().expand(batch, -1), torch.zeros((batch, 3), dtype=torch.float64), drawn)
    latents = got[:, COLUMN["latent_v"]] * 3.0
    e = torch.linspace(0.0, 4.0, 400_001, dtype=torch.float64)
    mean = float(torch.trapezoid(torch.tanh(e / 2.0) * torch.exp(-e / 0.1) / 0.1, e))
    assert float(latents.mean()) == pytest.approx(mean, rel=0.01)
    spread = got[:, COLUMN["consumption"]].std()
    expected = 0.99999 * math.exp(4.25) + 25.0 * (1.0 + float(PENALTY(numbers(0.0), numbers(0.0))))
    assert float(spread) == pytest.approx(1.0 + 0.005 * expected, rel=0.01)


def test_the_first_step_fills_the_memory_whatever_the_load() -> None:
    simulation = Simulation(PLANT, 64, seed=0)
    got = simulation.step(torch.zeros((64, 3), dtype=torch.float64))
    loads = got.state[:, COLUMN["p"]]
    assert float(loads.max() - loads.min()) > 50.0
    costs = got.state[:, COLUMN["cost_1"] : COLUMN["cost_10"] + 1]
    assert torch.allclose(costs, torch.exp((2.0 * loads + 325.0) / 100.0)[:, None].expand(-1, 10))


def test_the_incumbent_costs_about_190_a_step() -> None:
    simulation, controller = Simulation(PLANT, 512, seed=1), incumbent_controller(PLANT)
    total = torch.zeros(512, dtype=torch.float64)
    for _ in range(150):
        total += simulation.step(controller.act(simulation.signals(), simulation.applied)).reward
    assert -float(total.mean()) / 150.0 == pytest.approx(190.0, abs=5.0)
