"""A copy of the incumbent acts as it does, knows what that is worth, and is what a training begins with."""

from __future__ import annotations

import pytest
import torch

from fpo_pilot.errors import TrainingError
from fpo_pilot.evaluate.comparison import make_task, variant_spec
from fpo_pilot.learn import load_policy, train
from fpo_pilot.learn.build import build_policy
from fpo_pilot.learn.checkpoint import checkpoint_path, read_checkpoint
from fpo_pilot.learn.cloning import clone, demonstrate
from fpo_pilot.learn.critic import Critic
from fpo_pilot.learn.interaction import Rollout, episode_returns
from fpo_pilot.learn.optimiser import FlatNetwork, Optimiser
from fpo_pilot.specs.training import TrainingSpec

TASK = "quad_tank"


def spec_of(algorithm: str, **changes: object) -> TrainingSpec:
    settings = ",".join(f"cloning.{name}={value}" for name, value in {"episodes": 16, **changes}.items())
    return variant_spec(TASK, f"{algorithm}:{settings}", 1920)


def shown(exploration: float = 0.0, episodes: int = 16) -> Rollout:
    task = make_task(TASK, spec_of("fpo"))
    loop = task.loop(episodes, seed=3, device="cpu")
    return demonstrate(
        loop,
        loop.horizon,
        exploration=exploration,
        reward_scale=1.0,
        generator=torch.Generator().manual_seed(0),
    )


def test_a_demonstration_records_what_the_incumbent_wanted_not_what_noise_made_of_it() -> None:
    task = make_task(TASK, spec_of("fpo"))
    loop = task.loop(4, seed=3, device="cpu")
    loop.reset()
    first = loop.incumbent_action()
    assert torch.equal(shown(0.3, episodes=4).action[0], first)
    quiet, noisy = shown(0.0).episode_return[-1], shown(0.3).episode_return[-1]
    assert (noisy < quiet).all()  # the noise was done, though it was not recorded


def test_asking_the_incumbent_twice_in_a_step_does_not_move_its_loops_on() -> None:
    loops = [make_task(TASK, spec_of("fpo")).loop(4, seed=3, device="cpu") for _ in range(2)]
    for loop in loops:
        loop.reset()
    for _ in range(5):
        wanted = loops[0].incumbent_action()
        assert torch.equal(loops[0].incumbent_action(), wanted)
        assert torch.equal(loops[1].incumbent_action(), wanted)
        for loop in loops:
            loop.step(wanted)


@pytest.mark.parametrize("algorithm", ["fpo", "dppo", "gaussian_ppo"])
def test_a_copy_acts_as_the_incumbent_and_spreads_as_it_was_told(algorithm: str) -> None:
    spec = spec_of(algorithm, spread=0.1, passes=60)
    rollout = shown(0.1)
    obs, action, _ = rollout.flat()
    generator = torch.Generator().manual_seed(1)
    policy = build_policy(spec, obs.shape[1], action.shape[1], generator=generator)
    policy.normaliser.merge(rollout.obs)
    critic = Critic(obs.shape[1], width=32, depth=2, generator=generator)
    optimiser = Optimiser((FlatNetwork(policy), FlatNetwork(critic)), spec)
    before = (policy.sample(obs, torch.zeros_like(action), 0.0) - action).square().mean()
    _, value_loss = clone(policy, critic, optimiser, rollout, spec, generator)
    noise = torch.randn(action.shape, generator=generator)
    after = (policy.sample(obs, torch.zeros_like(action), 0.0) - action).square().mean()
    assert after.sqrt() < 0.12
    assert after < 0.1 * before
    assert 0.03 < (policy.sample(obs, noise, 1.0) - action).std() < 0.25
    assert value_loss < 0.5  # of a variance of 1
    assert not optimiser.state_dict()  # the training's own first step is not led by moments of the copying


def test_a_training_that_begins_as_the_incumbent_deploys_nothing_worse(tmp_path) -> None:
    spec = spec_of("gaussian_ppo", episodes=32, passes=60)
    task = make_task(TASK, spec)
    train(task, spec, tmp_path, seed=0)
    _, facts = read_checkpoint(checkpoint_path(tmp_path, "best"), device="cpu")
    returns, _ = episode_returns(
        task.loop(32, seed=9, device="cpu"), load_policy(tmp_path), (0.0,), torch.Generator().manual_seed(0)
    )
    incumbent = float(shown(0.0).episode_return[-1].mean())
    assert facts["evaluation_return"] > 1.3 * incumbent  # returns are below zero
    assert float(returns.mean()) > 1.3 * incumbent


def test_there_is_no_incumbent_to_copy_on_a_published_task(tmp_path) -> None:
    spec = variant_spec("gym:Pendulum-v1", "fpo:cloning.episodes=2", 512)
    with pytest.raises(TrainingError, match="expected a plant with an incumbent"):
        train(make_task("gym:Pendulum-v1", spec), spec, tmp_path, seed=0)


def test_a_buffer_begins_with_what_was_done_in_the_demonstrations(tmp_path) -> None:
    spec = spec_of("flow_q", episodes=2, passes=1, exploration=0.3).model_copy(update={"passes": 1})
    task = make_task(TASK, spec)
    train(task, spec, tmp_path, seed=0)
    tensors, _ = read_checkpoint(checkpoint_path(tmp_path, "latest"), device="cpu")
    horizon = task.loop(1, seed=0, device="cpu").horizon
    action = tensors["buffer.action"][: 2 * horizon]  # two episodes side by side; what was collected comes after them
    # what the incumbent wanted changes little from a step to the next; the noise that was done with it does
    assert float((action[2:] - action[:-2]).std()) > 0.3
