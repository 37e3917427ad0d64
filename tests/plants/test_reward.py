"""Rewards, goals, key figures and margins, computed by hand on the small tank."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fpo_pilot.plants.reward import TORCH_FUNCTIONS
from fpo_pilot.plants.simulation import Simulation
from fpo_pilot.plants.transition import Transition

HOLD = torch.tensor([[0.25]], dtype=torch.float64)  # keeps the level at 1 m


def first_step(make_plant: Any, action: torch.Tensor = HOLD, **changes: Any) -> Transition:
    return Simulation(make_plant(**changes), 1).step(action)


def goals(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"reward": (), "goals": tuple(entries)}


def test_a_term_compares_the_state_after_the_step_with_the_reference_of_the_step(make_plant: Any) -> None:
    simulation = Simulation(make_plant(), 1)
    rewards = [float(simulation.step(HOLD).reward) for _ in range(4)]
    assert rewards == pytest.approx([0.0, 0.0, -2.0, -2.0])  # level 1 m, set point 2 m from step 2 on, weight −2


def test_an_action_has_not_changed_in_the_first_step_of_an_episode(make_plant: Any) -> None:
    term = {"name": "move", "expression": "abs(delta(inflow)) / 1 [m**3/s]", "weight": -1.0}
    simulation = Simulation(make_plant(reward=(term,)), 1)
    rewards = [float(simulation.step(torch.tensor([[a]])).reward) for a in (1.0, 0.75, 0.75, 0.0, 0.5, 0.2)]
    assert rewards == pytest.approx([0.0, -0.25, 0.0, -0.75, -0.5, 0.0], abs=1e-6)  # the sixth begins an episode


def test_terms_add_up_to_the_reward(make_plant: Any) -> None:
    terms = (
        {"name": "a", "expression": "level / 1 [m]", "weight": 2.0},
        {"name": "b", "expression": "1", "weight": -0.5},
    )
    got = first_step(make_plant, reward=terms)
    assert {name: float(value) for name, value in got.terms.items()} == pytest.approx({"a": 2.0, "b": -0.5})
    assert float(got.reward) == pytest.approx(1.5)
    assert float(got.episode_return) == pytest.approx(1.5)


def test_key_figures_are_told_but_not_rewarded(make_plant: Any) -> None:
    got = first_step(make_plant, kpi={"use": "inflow / 1 [m**3/s]", "wet": "level > 0.5 m"})
    assert {name: float(value) for name, value in got.kpi.items()} == {"use": 0.25, "wet": 1.0}
    assert set(got.terms) == {"error"}


def test_avoid_costs_one_and_the_depth_of_the_violation(make_plant: Any) -> None:
    goal = {"name": "dry", "avoid": "level < 1.5 m", "weight": 2.0}
    got = first_step(make_plant, **goals(goal))
    assert float(got.reward) == pytest.approx(-2.0 / 5 * (1.0 + 0.5 / 4.0))  # horizon 5, scale the range of 4 m
    assert float(got.kpi["goal.dry"]) == 0.0
    kept = first_step(make_plant, **goals(goal | {"avoid": "level < 0.5 m"}))
    assert (float(kept.reward), float(kept.kpi["goal.dry"])) == (0.0, 1.0)


def test_drive_costs_the_distance_and_is_satisfied_before_it_must_hold(make_plant: Any) -> None:
    goal = {"name": "near", "drive": "abs(level - 2 m) < 0.5 m", "within_steps": 3, "scale": 0.25}
    simulation = Simulation(make_plant(**goals(goal)), 1)
    steps = [simulation.step(HOLD) for _ in range(4)]
    assert [float(s.reward) for s in steps] == pytest.approx([-1.0 / 5 * 0.5 / 0.25] * 4)
    assert [float(s.kpi["goal.near"]) for s in steps] == [1.0, 1.0, 0.0, 0.0]


def test_reach_is_remembered_until_the_episode_ends(make_plant: Any) -> None:
    goal = {"name": "high", "reach": "level > 1.2 m", "scale": 1.0}
    simulation = Simulation(make_plant(**goals(goal)), 1)
    actions = [0.25, 1.0, 0.0, 0.0, 0.0, 0.25]
    steps = [simulation.step(torch.tensor([[a]], dtype=torch.float64)) for a in actions]
    assert [float(s.kpi["goal.high"]) for s in steps] == [0.0, 1.0, 1.0, 1.0, 1.0, 0.0]
    assert float(steps[0].reward) == pytest.approx(-0.2 / 5)
    assert [float(s.reward) for s in steps[1:5]] == [0.0] * 4
    assert float(steps[4].state) < 1.2


@pytest.mark.parametrize(("verb", "sign"), [("minimize", -1.0), ("maximize", 1.0)])
def test_minimize_and_maximize_count_the_expression_over_its_scale(make_plant: Any, verb: str, sign: float) -> None:
    got = first_step(make_plant, **goals({"name": "flow", verb: "inflow", "weight": 3.0, "scale": 0.5}))
    assert float(got.reward) == pytest.approx(sign * 3.0 / 5 * 0.25 / 0.5)


def test_the_return_of_a_goal_does_not_change_with_the_period(make_plant: Any) -> None:
    goal = goals({"name": "dry", "avoid": "level < 1.5 m"})
    returns = []
    for period, horizon in ((2.0, 5), (1.0, 10)):
        simulation = Simulation(make_plant(timing={"period": period, "horizon": horizon}, **goal), 1)
        returns.append([float(simulation.step(HOLD).episode_return) for _ in range(horizon)][-1])
    assert returns[0] == pytest.approx(returns[1])


def test_margins_are_distances_to_the_nearer_bound_and_cost_marks_hard_ones(make_plant: Any, make_safety: Any) -> None:
    simulation = Simulation(make_plant(safety=make_safety(), signal_inflow={"range": (0.0, 9.0)}), 1, autoreset=False)
    got = simulation.step(HOLD)
    assert {k: float(v) for k, v in got.margins.items()} == pytest.approx({"level.high": 2.0, "level.band": 0.5})
    assert float(got.cost) == 0.0
    got = simulation.step(torch.tensor([[3.0]], dtype=torch.float64))
    assert float(got.margins["level.high"]) < 0.0
    assert float(got.cost) == 1.0


def test_min_and_max_take_numbers_and_tensors_in_either_order() -> None:
    row = torch.tensor([1.0, 3.0])
    assert TORCH_FUNCTIONS["min"](2.0, row).tolist() == TORCH_FUNCTIONS["min"](row, 2.0).tolist() == [1.0, 2.0]
    assert TORCH_FUNCTIONS["max"](2.0, row).tolist() == TORCH_FUNCTIONS["max"](row, 2.0).tolist() == [2.0, 3.0]
    assert TORCH_FUNCTIONS["max"](row, row.flip(0)).tolist() == [3.0, 3.0]
    assert (TORCH_FUNCTIONS["min"](1.0, 2.0), TORCH_FUNCTIONS["max"](1.0, 2.0)) == (1.0, 2.0)
    assert TORCH_FUNCTIONS["sqrt"](4.0) == 2.0
    assert TORCH_FUNCTIONS["sqrt"](torch.tensor([-1.0, 4.0])).tolist() == [0.0, 2.0]
