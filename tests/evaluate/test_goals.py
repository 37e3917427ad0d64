"""How far goals are kept: shares and robustness by hand, in the record of an episode, in the result and in its table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from fpo_pilot.evaluate import build_arms, evaluate, goals_as_table
from fpo_pilot.evaluate.goals import GoalScores, GoalTally
from fpo_pilot.logs import read_episodes
from fpo_pilot.plants.plant import Plant
from fpo_pilot.plants.reward import reward_model, reward_terms
from fpo_pilot.specs.evaluation import EvaluationSpec
from fpo_pilot.specs.plant import Goal

HOT = Goal(name="hot", avoid="T > 330 K", weight=0.0)  # over the range of T, 140 K
COLD = Goal(name="cold", reach="T < 310 K", weight=0.0)
NEAR = Goal(name="near", drive="abs(Ca - 0.9 mol/L) < 0.05 mol/L", within_steps=3, scale=0.05, weight=0.0)


def with_goals(plant: Plant, *goals: Goal, horizon: int = 5) -> Any:
    spec = plant.spec.model_copy(
        update={"goals": goals, "timing": plant.spec.timing.model_copy(update={"horizon": horizon})}
    )
    return Plant(spec, plant.safety, plant.dynamics, plant.parameter_values, plant.parameter_factors)


def scores(plant: Plant, rows: Sequence[tuple[float, float]], *, steps: int, tripped: bool = False) -> GoalScores:
    """Count an episode of readings (Ca, T), one a step; ``steps`` of them before its end."""
    tally, model, like = GoalTally(plant, 1), reward_model(plant), torch.zeros(1, dtype=torch.float64)
    reached = torch.zeros((1, len(model.reach_goals)), dtype=torch.bool)
    for index, (ca, t) in enumerate(rows):
        values = {"Ca": like + ca, "T": like + t, "Ca_sp": like + 0.85, "Tc": like + 300.0}
        worth = reward_terms(model, values, values, like, torch.tensor([index]), reached)
        reached = worth.reached
        length = torch.tensor([index + 1])
        told: Any = SimpleNamespace(kpi=worth.kpi, robustness=worth.robustness, episode_length=length)
        tally.add(told, torch.tensor([index < steps]))
    return tally.scores(np.array([steps]), np.array([tripped]))


def test_avoid_counts_the_steps_without_it_and_keeps_the_worst(full_reactor: Plant) -> None:
    plant = with_goals(full_reactor, HOT)
    got = scores(plant, [(0.9, 320), (0.9, 337), (0.9, 316), (0.9, 323), (0.9, 320)], steps=5)
    assert got.satisfaction["hot"].tolist() == [0.8]
    assert got.robustness["hot"].tolist() == pytest.approx([-7 / 140])


def test_reach_is_all_or_nothing_and_keeps_the_best(full_reactor: Plant) -> None:
    plant = with_goals(full_reactor, COLD)
    rows = [(0.9, 320.0), (0.9, 303.0), (0.9, 320.0)]
    assert scores(plant, rows, steps=3).satisfaction["cold"].tolist() == [1.0]
    assert scores(plant, rows, steps=3).robustness["cold"].tolist() == pytest.approx([7 / 140])
    late = scores(plant, rows, steps=1)  # it would have been reached after the end
    assert late.satisfaction["cold"].tolist() == [0.0]
    assert late.robustness["cold"].tolist() == pytest.approx([-10 / 140])


def test_drive_is_not_asked_before_its_step(full_reactor: Plant) -> None:
    plant = with_goals(full_reactor, NEAR)
    got = scores(plant, [(0.5, 320), (0.5, 320), (0.89, 320), (0.84, 320), (0.91, 320)], steps=5)
    assert got.satisfaction["near"].tolist() == pytest.approx([2 / 3])  # of the third, fourth and fifth step
    assert got.robustness["near"].tolist() == pytest.approx([-0.2])  # 0.06 away where 0.05 is allowed, over 0.05


def test_steps_that_a_trip_loses_are_not_satisfied_and_those_after_a_declared_end_do_not_count(
    full_reactor: Plant,
) -> None:
    plant = with_goals(full_reactor, HOT, NEAR)
    rows = [(0.9, 320.0)] * 4
    tripped = scores(plant, rows, steps=4, tripped=True)
    assert {n: v.tolist() for n, v in tripped.satisfaction.items()} == {"hot": [0.8], "near": pytest.approx([2 / 3])}
    ended = scores(plant, rows, steps=4)
    assert {name: value.tolist() for name, value in ended.satisfaction.items()} == {"hot": [1.0], "near": [1.0]}


def test_a_goal_that_was_never_asked_is_neither_kept_nor_failed(full_reactor: Plant) -> None:
    plant = with_goals(full_reactor, NEAR)
    got = scores(plant, [(0.9, 320.0)] * 2, steps=2)
    assert np.isnan(got.satisfaction["near"]).all()
    assert np.isnan(got.robustness["near"]).all()


def test_a_goal_of_weight_zero_leaves_the_reward_as_it_is(full_reactor: Plant) -> None:
    model = reward_model(with_goals(full_reactor, HOT, NEAR))
    like = torch.zeros(1, dtype=torch.float64)
    values = {"Ca": like + 0.5, "T": like + 400.0, "Ca_sp": like + 0.85, "Tc": like + 300.0}
    worth = reward_terms(model, values, values, like, torch.tensor([4]), torch.zeros((1, 0), dtype=torch.bool))
    assert set(worth.terms) == {"quality", "smoothness"}
    assert (float(worth.kpi["goal.hot"]), float(worth.kpi["goal.near"])) == (0.0, 0.0)


def test_the_result_its_parquet_and_its_table_have_every_goal(
    full_reactor: Plant, make_plant: Callable[..., Plant], linear: Any, tmp_path: Path
) -> None:
    spec = EvaluationSpec(episodes=4, log_episodes=0, oracle=False, noise_scales=(0.0,))
    evaluation = evaluate(full_reactor, build_arms(full_reactor, {"flow": linear()}), spec, tmp_path, seed=3)
    incumbent = next(row for row in evaluation.rows if row.arm == "incumbent" and row.shield)
    on_grade = incumbent.goals["on_grade"]
    assert on_grade.satisfaction.mean == pytest.approx(49 / 53)  # 4 steps outside at the change at 20, of 60 − 8 + 1
    assert on_grade.episodes_in_full == 0
    assert on_grade.robustness_min == pytest.approx(-0.024, abs=1e-3)
    assert incumbent.goals["no_runaway"].satisfaction.mean == 1.0
    assert incumbent.goals["no_runaway"].episodes_in_full == 4
    episodes = read_episodes(tmp_path)
    assert set(episodes.schema.names) >= {"goal.on_grade", "robustness.on_grade", "goal.no_runaway"}
    rows = episodes.to_pylist()
    assert all(0.0 <= row["goal.on_grade"] <= 1.0 for row in rows)
    columns, lines = goals_as_table(evaluation)
    assert columns == ("controller", "mode", "scenario", "on_grade [%]", "no_runaway [%]", "episodes")
    assert ("incumbent", "-", "nominal", "92.5", "100.0", "4") in lines
    assert evaluation.model_dump(mode="json")["rows"][0]["goals"]["on_grade"]["satisfaction"]["n"] == 4


def test_a_plant_without_goals_has_no_such_table(make_plant: Callable[..., Plant], tmp_path: Path) -> None:
    plant = with_goals(make_plant(), horizon=3)
    evaluation = evaluate(plant, build_arms(plant, {}), EvaluationSpec(episodes=2, oracle=False), tmp_path, seed=1)
    assert goals_as_table(evaluation)[1] == []


def test_the_interval_of_a_share_is_told_where_episodes_differ(spread_reactor: Plant, tmp_path: Path) -> None:
    plant = with_goals(spread_reactor, Goal(name="high", avoid="Ca < 0.8 mol/L", weight=0.0))
    evaluation = evaluate(plant, build_arms(plant, {}), EvaluationSpec(episodes=8, oracle=False), tmp_path, seed=1)
    share = evaluation.rows[0].goals["high"].satisfaction
    assert share.mean is not None
    assert share.low is not None
    assert share.high is not None
    assert 0.0 <= share.low < share.mean < share.high <= 1.0
    assert any("(" in line[3] and "to" in line[3] for line in goals_as_table(evaluation)[1])
