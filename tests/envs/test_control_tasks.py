"""The six tasks in the manner of the DeepMind Control Suite: rewards by hand, geometry against MuJoCo's own."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import gymnasium
import mujoco
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

from fpo_pilot.commands.init import run_init
from fpo_pilot.plants.check import check_plant
from fpo_pilot.plants.load import load_plant
from fpo_pilot.plants.plant import Plant
from fpo_pilot.plants.registration import register_all
from fpo_pilot.plants.reward import compile_expression
from fpo_pilot.plants.simulation import Simulation

TASKS = ("cartpole_balance", "cartpole_swingup", "ball_in_cup", "finger_spin", "reacher_hard", "cheetah_run")
PLANTS = {name: load_plant(name) for name in TASKS}
every_task = pytest.mark.parametrize("plant", PLANTS.values(), ids=TASKS)


def shortened(plant: Plant, horizon: int) -> Plant:
    timing = plant.spec.timing.model_copy(update={"horizon": horizon})
    return replace(plant, spec=plant.spec.model_copy(update={"timing": timing}))


def random_actions(plant: Plant, batch: int, generator: torch.Generator) -> torch.Tensor:
    return 2.0 * torch.rand((batch, len(plant.action_names)), dtype=torch.float64, generator=generator) - 1.0


def reward(plant: Plant, **signals: float) -> float:
    values = {name: torch.tensor([value], dtype=torch.float64) for name, value in signals.items()}
    like = torch.zeros(1, dtype=torch.float64)
    (term,) = plant.spec.reward
    return term.weight * float(compile_expression(plant, term.expression).value(values, {}, like))


def output(plant: Plant, name: str, state: list[float]) -> float:
    row = torch.tensor([state], dtype=torch.float64)
    action = torch.zeros((1, len(plant.action_names)), dtype=torch.float64)
    return float(plant.outputs(row, action)[0, plant.output_names.index(name)])


@every_task
def test_passes_the_check_of_plants(plant: Plant) -> None:
    assert [result for result in check_plant(shortened(plant, 40)) if not result.passed] == []


@pytest.mark.parametrize("name", TASKS)
def test_passes_the_checker_of_gymnasium(name: str) -> None:
    register_all()
    check_env(gymnasium.make(f"fpo_pilot/{name}-v0").unwrapped)


@every_task
def test_an_episode_is_1000_steps_and_ends_by_its_horizon_alone(plant: Plant) -> None:
    assert plant.horizon == 1000
    assert plant.spec.episode.ends_when is None
    assert plant.limits == ()


@every_task
def test_a_batch_of_episodes_is_a_loop_of_mj_step(plant: Plant) -> None:
    model, generator = plant.dynamics.model.compiled, torch.Generator().manual_seed(0)
    steps = round(plant.period / model.opt.timestep)
    state = Simulation(plant, 12, seed=1).state
    for _ in range(5):
        action = random_actions(plant, 12, generator)
        after, tripped = plant.step(state, action)
        data = mujoco.MjData(model)
        for row in range(12):
            mujoco.mj_resetData(model, data)
            data.qpos[:], data.qvel[:] = np.split(state[row, : model.nq + model.nv].numpy(), [model.nq])
            data.ctrl[:] = action[row].numpy()
            for _ in range(steps):
                mujoco.mj_step(model, data)
            expected = np.concatenate((data.qpos, data.qvel, data.sensordata))
            assert np.abs(after[row, : len(expected)].numpy() - expected).max() < 1e-12
        assert not bool(tripped.any())
        state = after


@every_task
def test_a_seed_reproduces_an_episode_to_the_bit(plant: Plant) -> None:
    runs = []
    for seed in (5, 5, 6):
        simulation, generator = Simulation(plant, 16, seed=seed), torch.Generator().manual_seed(2)
        rows = [simulation.step(random_actions(plant, 16, generator)) for _ in range(20)]
        runs.append(torch.cat([torch.cat((row.state, row.reward[:, None]), dim=1) for row in rows]))
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


@every_task
def test_rewards_of_random_actions_are_between_0_and_1(plant: Plant) -> None:
    simulation, generator = Simulation(plant, 64, seed=0), torch.Generator().manual_seed(3)
    got = torch.stack([simulation.step(random_actions(plant, 64, generator)).reward for _ in range(30)])
    assert float(got.min()) >= 0.0
    assert float(got.max()) <= 1.0


@pytest.mark.parametrize("name", TASKS[:2])
def test_the_rewards_of_the_cart_and_pole(name: str) -> None:
    best = {"cosine": 1.0, "x": 0.0, "drive": 0.0, "rate": 0.0}
    plant = PLANTS[name]
    assert reward(plant, **best) == pytest.approx(1.0)
    assert reward(plant, **best | {"cosine": -1.0}) == pytest.approx(0.0)  # hanging
    assert reward(plant, **best | {"cosine": 0.0}) == pytest.approx(0.5)  # level
    assert reward(plant, **best | {"drive": -1.0}) == pytest.approx(0.8)
    assert reward(plant, **best | {"x": 2.0}) == pytest.approx(0.55)  # (1 + 0.1) / 2 at the margin
    assert reward(plant, **best | {"rate": -5.0}) == pytest.approx(0.55)
    assert reward(plant, cosine=0.0, x=1.0, drive=0.5, rate=2.5) == pytest.approx(
        0.5 * (4 + 0.75) / 5 * ((1 + 0.1**0.25) / 2) ** 2
    )


def test_a_balanced_pole_earns_nearly_1_and_a_hanging_one_nearly_0() -> None:
    for name, low, high in (("cartpole_balance", 0.99, 1.0), ("cartpole_swingup", 0.0, 0.001)):
        simulation = Simulation(PLANTS[name], 32, seed=0)
        got = simulation.step(torch.zeros((32, 1), dtype=torch.float64)).reward
        assert low <= float(got.min()) <= float(got.max()) <= high


@pytest.mark.parametrize(
    ("across", "up", "caught"),
    [(0.0, 0.35, 1), (0.024, 0.35, 1), (0.026, 0.35, 0), (0.0, 0.374, 1), (0.0, 0.376, 0), (0.0, 0.3, 0)],
)
def test_a_ball_is_caught_where_it_is_wholly_inside_the_cup(across: float, up: float, caught: int) -> None:
    for cup in (0.0, 0.1):  # a moved cup takes its inside along
        state = [cup, -cup, cup + across, up - cup, 0.0, 0.0, 0.0, 0.0]
        assert output(PLANTS["ball_in_cup"], "caught", state) == caught


def test_a_ball_starts_clear_of_the_cup_on_a_slack_string() -> None:
    plant = PLANTS["ball_in_cup"]
    data = mujoco.MjData(plant.dynamics.model.compiled)
    for row in Simulation(plant, 200, seed=0).state.numpy():
        data.qpos[:] = row[:4]
        mujoco.mj_forward(plant.dynamics.model.compiled, data)
        assert (data.ncon, bool(data.ten_length[0] < 0.3)) == (0, True)


@pytest.mark.parametrize(("rate", "spinning"), [(-15.0, 1), (-14.99, 0), (20.0, 0)])
def test_the_body_must_spin_in_one_direction(rate: float, spinning: int) -> None:
    assert output(PLANTS["finger_spin"], "spinning", [0, 0, 0, 0, 0, rate, 0, 0]) == spinning


def test_tip_and_touch_of_the_finger() -> None:
    plant, angle = PLANTS["finger_spin"], 0.7
    model = plant.dynamics.model.compiled
    data = mujoco.MjData(model)
    data.qpos[2] = angle
    mujoco.mj_forward(model, data)
    upward = data.xmat[model.body("spinner").id].reshape(3, 3)[:, 2]
    state = [0, 0, angle, 0, 0, 0, math.e - 1, 0]
    got = [output(plant, name, state) for name in ("tip_x", "tip_z", "contact_top", "contact_bottom")]
    assert got == pytest.approx([0.13 * upward[0], 0.13 * upward[2], 1.0, 0.0])


def test_a_finger_that_is_pressed_on_the_body_feels_it() -> None:
    plant = PLANTS["finger_spin"]
    # drawn at random, some fingers point at the body; all are driven towards it
    simulation, felt = Simulation(plant, 128, seed=0), torch.zeros(128, dtype=torch.bool)
    for _ in range(40):
        state = simulation.step(torch.tensor([[1.0, -1.0]], dtype=torch.float64).expand(128, -1)).state
        felt |= (state[:, 6:] > 0.0).any(dim=1)
    assert 0 < int(felt.sum()) < 128


def test_the_reach_of_the_arm_is_that_of_the_model() -> None:
    plant = PLANTS["reacher_hard"]
    model = plant.dynamics.model.compiled
    data = mujoco.MjData(model)
    for row in Simulation(plant, 20, seed=0).state.numpy():
        data.qpos[:] = row[:2]
        mujoco.mj_kinematics(model, data)
        way = row[5] * np.array([math.sin(row[4]), math.cos(row[4])]) - data.geom("finger").xpos[:2]
        got = [output(plant, name, row.tolist()) for name in ("to_target_x", "to_target_y", "distance")]
        assert got == pytest.approx([*way, np.hypot(*way)], abs=1e-12)


@pytest.mark.parametrize(("radius", "reached"), [(0.24, 1), (0.216, 1), (0.214, 0), (0.1, 0)])
def test_the_target_is_reached_within_25_mm(radius: float, reached: int) -> None:
    state = [0.0, 0.0, 0.0, 0.0, math.pi / 2, radius]  # the arm is straight along x, the target too
    assert output(PLANTS["reacher_hard"], "reached", state) == reached


@pytest.mark.parametrize(("speed", "expected"), [(-3.0, 0.0), (0.0, 0.0), (5.0, 0.5), (10.0, 1.0), (12.0, 1.0)])
def test_running_is_paid_up_to_10_metres_a_second(speed: float, expected: float) -> None:
    assert reward(PLANTS["cheetah_run"], speed=speed) == pytest.approx(expected)


def test_the_speed_of_the_runner_is_that_of_its_centre_of_mass() -> None:
    plant, random = PLANTS["cheetah_run"], np.random.default_rng(0)
    model = plant.dynamics.model.compiled
    data = mujoco.MjData(model)
    for _ in range(20):
        data.qpos[:], data.qvel[:] = random.normal(size=9), 3.0 * random.normal(size=9)
        mujoco.mj_forward(model, data)
        mujoco.mj_subtreeVel(model, data)
        got = output(plant, "speed", [*data.qpos, *data.qvel])
        assert got == pytest.approx(data.subtree_linvel[1, 0], abs=1e-12)
    assert model.body_mass.sum() == pytest.approx(14.0)


def test_a_runner_that_does_nothing_keeps_standing() -> None:
    simulation = Simulation(PLANTS["cheetah_run"], 16, seed=0)
    for _ in range(100):
        got = simulation.step(torch.zeros((16, 6), dtype=torch.float64))
    assert float(got.state[:, 2].abs().max()) < 0.2  # pitch
    assert float(got.reward.max()) < 0.02


def test_a_project_made_from_a_task_has_its_model(tmp_path: Path) -> None:
    assert run_init(tmp_path / "mine", "cartpole_swingup") == 0
    made = load_plant(tmp_path / "mine" / "envs" / "cartpole_swingup")
    assert made.dynamics_hash == PLANTS["cartpole_swingup"].dynamics_hash
    assert made.source_files[1].is_relative_to(tmp_path)
