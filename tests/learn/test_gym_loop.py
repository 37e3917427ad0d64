from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch

from fpo_pilot.errors import TrainingError
from fpo_pilot.learn import load_policy, train
from fpo_pilot.learn.gym_loop import GymLoop
from fpo_pilot.learn.task import GymTask
from fpo_pilot.logs.manifest import Manifest
from fpo_pilot.specs.training import FpoSpec, Network

ENV = "Pendulum-v1"


def test_steps_are_those_of_the_environment_alone() -> None:
    loop = GymLoop(ENV, 2, seed=7)
    env = gymnasium.make(ENV)
    alone, _ = env.reset(seed=7)
    torch.testing.assert_close(loop.reset()[0], torch.as_tensor(alone))
    for action in (0.5, -1.0, 3.0):
        seen = loop.step(torch.full((2, 1), action))
        cut = np.clip(action, -1, 1)
        alone, reward, *_ = env.step(np.array([2.0 * cut], dtype=np.float32))
        torch.testing.assert_close(seen.observation[0], torch.as_tensor(alone))
        assert float(seen.reward[0]) == pytest.approx(float(reward), rel=1e-5)
        assert bool(seen.altered[0]) == (abs(action) > 1)


def test_the_horizon_truncates_and_the_true_last_observation_is_told() -> None:
    loop = GymLoop(ENV, 2, seed=3)
    loop.reset()
    total = torch.zeros(2, dtype=torch.float64)
    for _ in range(200):
        before = loop.observation
        seen = loop.step(torch.zeros(2, 1))
        total += seen.reward
    assert seen.truncated.all()
    assert not seen.terminated.any()
    torch.testing.assert_close(seen.episode_return, total, rtol=1e-5, atol=1e-3)
    assert seen.episode_length.tolist() == [200, 200]
    # one step from the one before, where the reset jumps anywhere
    assert float((seen.final_observation - before).abs().max()) < 1.5
    assert not torch.equal(seen.final_observation, seen.observation)
    assert loop.step(torch.zeros(2, 1)).episode_length.tolist() == [1, 1]


@pytest.mark.parametrize(("name", "words"), [("NoSuch-v9", "Gymnasium can make"), ("CartPole-v1", "expected boxes")])
def test_what_cannot_be_trained_on_is_refused(name: str, words: str) -> None:
    with pytest.raises(TrainingError, match=words):
        GymLoop(name, 1, seed=0)


def test_a_training_leaves_a_run_that_can_be_loaded_and_resumed(tmp_path) -> None:
    spec = FpoSpec(
        num_envs=2,
        rollout_steps=8,
        passes=1,
        minibatches=2,
        actor=Network(width=8, depth=2),
        critic=Network(width=8, depth=2),
        evaluation_every=10,
        evaluation_episodes=1,
        checkpoint_every=1,
        total_steps=48,
    )
    stop = []

    def interrupted(state) -> None:
        if state.update == 2 and not stop:
            stop.append(True)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(GymTask(ENV), spec, tmp_path / "run", seed=0, progress=interrupted)
    done = train(GymTask(ENV), spec, tmp_path / "run", seed=0, resume=True)
    assert done.updates == 3
    manifest = Manifest.read(tmp_path / "run")
    assert manifest.plant == "gym:Pendulum-v1"
    assert manifest.hashes["plant"] is None
    policy = load_policy(tmp_path / "run")
    assert policy.sample(torch.zeros(1, 3), torch.zeros(1, 1), 0.0).shape == (1, 1)
