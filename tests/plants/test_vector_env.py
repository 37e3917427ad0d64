"""Copies of a plant as a Gymnasium vector environment, reset in the same step."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from fpo_pilot.errors import PlantError
from fpo_pilot.plants.env import PlantEnv
from fpo_pilot.plants.registration import register_all
from fpo_pilot.plants.vector_env import PlantVectorEnv


def test_make_vec_finds_the_vector_entry_point() -> None:
    register_all()
    envs = gymnasium.make_vec("fpo_pilot/cstr-v0", num_envs=8, vectorization_mode="vector_entry_point")
    assert isinstance(envs.unwrapped, PlantVectorEnv)
    assert envs.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    observation, _ = envs.reset(seed=0)
    assert observation in envs.observation_space
    assert observation.dtype == np.float32
    assert envs.single_action_space.shape == (1,)


def test_speaks_as_the_vector_environment_of_gymnasium_does() -> None:
    """Against Gymnasium's own SAME_STEP, on a plant without chance: observations, rewards, ends, infos."""
    ours = PlantVectorEnv(3, "cstr")
    theirs = SyncVectorEnv([lambda: PlantEnv("cstr")] * 3, autoreset_mode=AutoresetMode.SAME_STEP)
    assert np.array_equal(ours.reset(seed=0)[0], theirs.reset(seed=0)[0])
    generator = np.random.default_rng(0)
    for _ in range(61):
        actions = generator.uniform(-1, 1, (3, 1)).astype(np.float32)
        got, expected = ours.step(actions), theirs.step(actions)
        for mine, other in zip(got[:4], expected[:4], strict=True):
            np.testing.assert_allclose(mine, other, rtol=1e-6)
            assert np.asarray(mine).dtype == np.asarray(other).dtype
        same_infos(got[4], expected[4])


def same_infos(mine: dict[str, object], other: dict[str, object]) -> None:
    # theirs leaves out keys that no copy has, where ours has an empty mask
    for key, value in other.items():
        if isinstance(value, dict):
            same_infos(mine[key], value)  # type: ignore[arg-type]
        elif key == "final_obs":
            for a, b in zip(mine[key], value, strict=True):  # type: ignore[arg-type, call-overload]
                assert (a is None) == (b is None)
                if a is not None:
                    np.testing.assert_allclose(a, b, rtol=1e-6)
        else:
            np.testing.assert_allclose(np.asarray(mine[key], dtype=float), np.asarray(value, dtype=float), rtol=1e-6)


def test_the_last_observation_is_in_final_obs_where_an_episode_ended_and_nowhere_else() -> None:
    envs = PlantVectorEnv(2, "cstr_safety")
    envs.reset(seed=0)
    actions = np.array([[1.0], [-1.0]], dtype=np.float32)
    for _ in range(60):
        observation, _, terminated, truncated, infos = envs.step(actions)
        if terminated.any():
            break
        assert "final_obs" not in infos
    assert terminated.tolist() == [True, False]
    assert not truncated.any()
    assert infos["_final_obs"].tolist() == [True, False]
    assert infos["final_obs"][1] is None
    assert infos["final_obs"][0][1] > 2.0  # hot
    assert observation[0, 1] < 1.0  # a new start
    assert infos["final_info"]["cost"].tolist() == [1.0, 0.0]
    assert infos["final_info"]["_cost"].tolist() == [True, False]
    assert infos["_cost"].tolist() == [False, True]
    assert infos["final_info"]["margins"]["T.high"][0] < 0.0


def test_a_masked_reset_begins_only_those_episodes() -> None:
    envs = PlantVectorEnv(3, "cstr")
    envs.reset(seed=0)
    envs.step(np.zeros((3, 1), dtype=np.float32))
    options = {"reset_mask": np.array([True, False, False])}
    observation, _ = envs.reset(options=options)
    assert observation[:, -1].tolist() == pytest.approx([-1.0, -1.0 + 2 / 60, -1.0 + 2 / 60])
    assert options == {}


@pytest.mark.parametrize("mask", [[True, False], np.array([1, 0]), np.array([True]), np.array([False, False])])
def test_a_mask_that_is_none_is_refused(mask: object) -> None:
    envs = PlantVectorEnv(2, "cstr")
    with pytest.raises(PlantError, match="reset_mask"):
        envs.reset(options={"reset_mask": mask})


def test_seeds_reproduce_one_or_one_a_copy() -> None:
    envs = PlantVectorEnv(2, "cstr_safety")
    first = envs.reset(seed=4)[0]
    second = envs.reset()[0]
    assert not np.array_equal(first, second)
    assert np.array_equal(envs.reset(seed=4)[0], first)
    mixed = envs.reset(seed=[1, 2])[0]
    assert np.array_equal(envs.reset(seed=[1, 2])[0], mixed)
    assert not np.array_equal(envs.reset(seed=[2, 1])[0], mixed)


def test_actions_of_the_wrong_shape_are_refused() -> None:
    envs = PlantVectorEnv(2, "cstr")
    with pytest.raises(PlantError, match=r"shape \(2,\), expected \(2, 1\)"):
        envs.step(np.zeros(2, dtype=np.float32))


def test_arrays_that_were_given_do_not_change_later() -> None:
    envs = PlantVectorEnv(2, "cstr")
    first = envs.reset(seed=0)[0]
    kept = first.copy()
    given = envs.step(np.ones((2, 1), dtype=np.float32))
    reward = given[1].copy()
    envs.step(-np.ones((2, 1), dtype=np.float32))
    assert np.array_equal(first, kept)
    assert np.array_equal(given[1], reward)
