"""One plant as Gymnasium and Stable-Baselines3 expect it."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from fpo_pilot.plants.env import PlantEnv
from fpo_pilot.plants.registration import register_all

PLANTS = ("cstr", "cstr_safety", "quad_tank", "quad_tank_minus", "quad_tank_plus")


@pytest.fixture(autouse=True)
def _registered() -> None:
    register_all()


def test_every_plant_has_an_id() -> None:
    assert {f"fpo_pilot/{name}-v0" for name in PLANTS} <= set(register_all())


@pytest.mark.parametrize("name", PLANTS)
def test_passes_the_checker_of_gymnasium(name: str) -> None:
    check_env(gymnasium.make(f"fpo_pilot/{name}-v0").unwrapped)


@pytest.mark.parametrize("name", PLANTS)
def test_passes_the_checker_of_stable_baselines(name: str) -> None:
    pytest.importorskip("stable_baselines3")
    from stable_baselines3.common.env_checker import check_env as check_for_stable_baselines

    check_for_stable_baselines(gymnasium.make(f"fpo_pilot/{name}-v0"))


def test_stable_baselines_ppo_trains_unchanged() -> None:
    pytest.importorskip("stable_baselines3")
    from stable_baselines3 import PPO

    model = PPO("MlpPolicy", gymnasium.make("fpo_pilot/cstr-v0"), n_steps=128, batch_size=64, n_epochs=2, device="cpu")
    model.learn(256)
    assert model.num_timesteps == 256


def test_an_episode_ends_by_truncation_at_the_horizon() -> None:
    env = gymnasium.make("fpo_pilot/cstr-v0")
    env.reset(seed=0)
    ends = [env.step(np.zeros(1, dtype=np.float32))[2:4] for _ in range(60)]
    assert ends == [(False, False)] * 59 + [(False, True)]


def test_a_trip_terminates_and_is_told() -> None:
    env = gymnasium.make("fpo_pilot/cstr_safety-v0")
    env.reset(seed=0)
    for _ in range(60):
        _, reward, terminated, truncated, info = env.step(np.ones(1, dtype=np.float32))
        if terminated or truncated:
            break
    assert (terminated, truncated, info["cost"], bool(info["tripped"])) == (True, False, 1.0, True)
    assert info["margins"]["T.high"] < 0.0
    assert info["reward_terms"]["trip"] == -2000.0
    assert reward < -2000.0


def test_info_is_fresh_every_step_and_its_terms_add_up() -> None:
    env = PlantEnv("cstr")
    env.reset(seed=0)
    first: dict[str, Any] = env.step(np.array([0.5], dtype=np.float32))[4]
    kept = dict(first["reward_terms"])
    _, reward, _, _, second = env.step(np.array([-0.5], dtype=np.float32))
    assert first["reward_terms"] == kept
    assert second["reward_terms"] is not first["reward_terms"]
    assert sum(second["reward_terms"].values()) == pytest.approx(reward, rel=1e-6)
    assert second["applied"].tolist() == pytest.approx([296.75])


def test_actions_are_clipped_to_the_limits() -> None:
    env = PlantEnv("cstr")
    env.reset(seed=0)
    assert env.step(np.array([7.0], dtype=np.float32))[4]["applied"].tolist() == [302.0]


def test_a_seed_reproduces_and_no_seed_goes_on() -> None:
    env = PlantEnv("cstr_safety")
    first, second = env.reset(seed=3)[0], env.reset()[0]
    assert not np.array_equal(first, second)
    assert np.array_equal(env.reset(seed=3)[0], first)
    assert np.array_equal(env.reset()[0], second)
