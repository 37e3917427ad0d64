"""flow_q: the target of Q, the loss of the flow, what is explored and remembered, and trainings that learn and resume."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from pydantic import ValidationError

from fpo_pilot.evaluate.comparison import variant_spec
from fpo_pilot.learn import load_policy, train
from fpo_pilot.learn.build import build_policy
from fpo_pilot.learn.checkpoint import checkpoint_path, read_checkpoint
from fpo_pilot.learn.flow_policy import FlowPolicy
from fpo_pilot.learn.learner import build_learner
from fpo_pilot.learn.logged import read_logged
from fpo_pilot.learn.replay import Transitions
from fpo_pilot.learn.replay_learner import ReplayLearner
from fpo_pilot.learn.task import PlantTask
from fpo_pilot.specs.training import FlowQSpec
from tests.learn.conftest import plant_of
from tests.learn.test_trainer import SMALL, Poisoned, same, tensors

SPEC = FlowQSpec(**SMALL | {"passes": 2})


def made(spec: FlowQSpec = SPEC, observations: int = 3, actions: int = 2) -> ReplayLearner:
    generator = torch.Generator().manual_seed(0)
    policy = build_policy(spec, observations, actions, generator=generator)
    sizes = (observations, actions)
    learner = build_learner(spec, policy, *sizes, generator=generator, mirror=None, device="cpu")
    assert isinstance(learner, ReplayLearner)
    return learner


def batch(size: int = 4, action: float = 0.25, continuation: float = 0.9) -> Transitions:
    generator = torch.Generator().manual_seed(1)
    obs, following = torch.randn(2, size, 3, generator=generator).unbind(0)
    rest = torch.full((size,), 1.0), following, torch.full((size,), continuation)
    return Transitions(obs, torch.full((size, 2), action), *rest)


def constant(member: torch.nn.Module, value: float) -> None:
    with torch.no_grad():
        for parameter in member.parameters():
            parameter.zero_()
        member.last.bias.fill_(value)


def test_the_policy_of_flow_q_is_that_of_fpo() -> None:
    policy = build_policy(SPEC, 3, 2)
    assert type(policy) is FlowPolicy
    assert [mode.noise_scale for mode in policy.modes()] == [0.0, 0.5, 1.0]
    assert policy.spec.flow_steps == SPEC.flow_steps


def test_the_improved_action_is_where_the_velocity_leads_but_not_farther_than_the_bound_allows() -> None:
    policy = build_policy(SPEC, 3, 2)

    class Constant(torch.nn.Module):
        def forward(self, obs, x, time):
            # x_t = 0.75·noise + 0.25·action is what the network is asked about
            torch.testing.assert_close(x, torch.tensor([[0.75 * 0.2 + 0.25 * 0.4, -0.75 + 0.25 * 0.6]]))
            return torch.tensor([[0.5, 5.0]])

    policy.network = Constant()  # type: ignore[assignment]
    action, noise, time = torch.tensor([[0.4, 0.6]]), torch.tensor([[0.2, -1.0]]), torch.tensor([0.25])
    reached, error = policy.improved(torch.zeros(1, 3), action, noise, time, bound=1.0)
    # u = a − ε = (0.2, 1.6); v − u = (0.3, 3.4), cut to (0.3, 1); x̂ = a + 0.75·that
    torch.testing.assert_close(reached, torch.tensor([[0.4 + 0.225, 0.6 + 0.75]]))
    torch.testing.assert_close(error, torch.tensor([0.09 + 11.56]))


@pytest.mark.parametrize(("target", "expected"), [("min", 1.0 + 0.9 * 2.0), ("mean", 1.0 + 0.9 * 3.0)])
def test_the_target_is_the_reward_and_what_the_members_say_of_the_next_action(target: str, expected: float) -> None:
    learner = made(SPEC.model_copy(update={"target": target}))
    for member, value in zip(learner.target.members, (2.0, 4.0), strict=True):
        constant(member, value)
    found = learner.targets(batch(), torch.Generator().manual_seed(0))
    assert found.tolist() == pytest.approx([expected] * 4)
    ended = learner.targets(batch(continuation=0.0), torch.Generator().manual_seed(0))
    assert ended.tolist() == [1.0] * 4


def test_the_target_asks_for_the_policys_own_action_at_the_next_observation_cut_to_the_limits() -> None:
    learner = made()
    asked = []

    class Sum(torch.nn.Module):
        def forward(self, seen):
            asked.append(seen)
            return seen[..., 3:].sum(dim=-1, keepdim=True)

    learner.target.members[0], learner.target.members[1] = Sum(), Sum()
    rows = batch(64)
    found = learner.targets(rows, torch.Generator().manual_seed(5))
    noise = torch.randn(64, 2, generator=torch.Generator().manual_seed(5))
    action = learner.policy.sample(rows.next_obs, noise, 1.0)
    assert (action.abs() > 1.0).any()
    torch.testing.assert_close(found, 1.0 + 0.9 * action.clamp(-1.0, 1.0).sum(dim=-1))
    torch.testing.assert_close(asked[0][:, :3], learner.policy.normaliser(rows.next_obs))


class Linear(torch.nn.Module):
    """Q = 3·(first entry of the action) − 7."""

    def forward(self, seen):
        return 3.0 * seen[..., 3:4] - 7.0


@pytest.mark.parametrize("scale", ["size", "spread"])
def test_the_loss_of_the_flow_is_the_matching_less_q_in_its_own_units(scale: str, monkeypatch) -> None:
    learner = made(SPEC.model_copy(update={"q_scale": scale, "matching": 0.3}))
    learner.q.members[0], learner.q.members[1] = Linear(), Linear()
    reached, error = torch.tensor([[0.5, 0.0], [-4.0, 0.0]]), torch.tensor([2.0, 4.0])
    reached.requires_grad_(True)
    monkeypatch.setattr(learner.policy, "improved", lambda *_, **__: (reached, error))
    loss, matching = learner.policy_loss(batch(2), None)
    # Q of the cut actions: 1.5 − 7 and −3 − 7; the spread is 1 before any target was seen
    size = (5.5 + 10.0) / 2 if scale == "size" else 1.0
    assert float(matching) == 3.0
    assert float(loss.detach()) == pytest.approx(0.3 * 3.0 + (5.5 + 10.0) / 2 / size)
    loss.backward()
    # beyond the limits the plant takes the limit, so there is nothing to gain
    torch.testing.assert_close(reached.grad, torch.tensor([[-3.0 / 2 / size, 0.0], [0.0, 0.0]]))


def test_the_flow_moves_up_the_gradient_of_q_and_q_does_not_move_with_it() -> None:
    learner = made(SPEC.model_copy(update={"matching": 0.0, "learning_rate": 1e-2}))
    learner.q.members[0], learner.q.members[1] = Linear(), Linear()
    before = learner.policy.sample(batch().obs, torch.zeros(4, 2), 0.0)
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        learner.actor_optimiser.step(learner.policy_loss(batch(), generator)[0])
    after = learner.policy.sample(batch().obs, torch.zeros(4, 2), 0.0)
    assert (after[:, 0] - before[:, 0]).min() > 0.2
    other = made()
    weights = other._q_weights
    other.actor_optimiser.step(other.policy_loss(batch(), generator)[0])
    assert not weights.gradient.any()
    assert all(parameter.requires_grad for parameter in other.q.parameters())


def test_target_networks_follow_by_the_declared_share() -> None:
    learner = made(SPEC.model_copy(update={"target_rate": 0.25}))
    start = learner._q_weights.vector.detach().clone()
    learner._teach_q(batch(), torch.Generator().manual_seed(0))
    moved = learner._q_weights.vector.detach()
    assert not torch.equal(moved, start)
    torch.testing.assert_close(learner._target_weights.vector.detach(), 0.75 * start + 0.25 * moved)


def test_new_units_change_no_value_of_q_nor_of_its_targets() -> None:
    learner = made()
    seen = learner._input(batch().obs, batch().action)
    before = [critic(seen) for critic in learner.critics().values()]
    rows = dataclasses.replace(batch(), reward=torch.tensor([100.0, -300.0, 50.0, 0.0]))
    learner._rescale(rows, torch.Generator().manual_seed(0))
    assert float(learner.q.std) > 50.0
    for value, critic in zip(before, learner.critics().values(), strict=True):
        torch.testing.assert_close(critic(seen), value, atol=1e-3, rtol=1e-4)


def test_what_is_proposed_has_the_declared_noise_and_never_leaves_the_limits() -> None:
    learner = made(SPEC.model_copy(update={"exploration": 0.3}))
    obs = torch.zeros(4000, 3)
    action, trace = learner.acting.act(obs, torch.Generator().manual_seed(0))
    assert float(action.abs().max()) == 1.0
    inside = (action.abs() < 1.0) & (trace["sampled"].abs() < 0.1)
    assert float((action - trace["sampled"])[inside].std()) == pytest.approx(0.3, rel=0.1)
    torch.testing.assert_close(trace["sampled"], learner.policy.replay(obs, trace))
    quiet, trace = made(SPEC.model_copy(update={"exploration": 0.0})).acting.act(obs, torch.Generator().manual_seed(0))
    torch.testing.assert_close(quiet, trace["sampled"].clamp(-1.0, 1.0))


def test_a_constraint_is_refused_since_its_price_would_be_that_of_another_day() -> None:
    with pytest.raises(ValidationError, match="constraint"):
        FlowQSpec.model_validate({"constraint": {"limit": 0.0}})


def stopped(after: int) -> Callable[[object], None]:
    count = 0

    def stop(_: object) -> None:
        nonlocal count
        count += 1
        if count == after:
            raise KeyboardInterrupt

    return stop


@pytest.mark.parametrize("settings", [{"capacity": 100}, {"n_step": 3, "uncertainty_weight": 0.5}])
def test_a_training_resumes_to_the_bit_with_its_buffer(settings: dict[str, object], tmp_path: Path) -> None:
    spec = SPEC.model_copy(update=settings)
    plant = plant_of("cstr")
    train(plant, spec, tmp_path / "whole", seed=5)
    with pytest.raises(KeyboardInterrupt):
        train(plant, spec, tmp_path / "cut", seed=5, progress=stopped(5))
    train(plant, spec, tmp_path / "cut", seed=5, resume=True)
    whole = tensors(tmp_path / "whole")
    assert same(whole, tensors(tmp_path / "cut"))
    assert len(whole["buffer.reward"]) == min(spec.capacity, spec.total_steps)
    policy = load_policy(tmp_path / "cut")
    assert isinstance(policy, FlowPolicy)
    metrics = pd.read_parquet(tmp_path / "cut" / "metrics.parquet")
    for name in ("policy_loss", "value_loss", "cfm_loss", "explained_variance", "spread", "entropy", "action_change"):
        assert metrics[name].notna().all(), name
    assert metrics["gradient_norm"].iloc[: spec.critic_warm_up].tolist() == [0.0] * spec.critic_warm_up
    assert (metrics["gradient_norm"].iloc[spec.critic_warm_up :] > 0.0).all()


def test_a_broken_reward_is_rolled_back_and_forgotten(tmp_path: Path) -> None:
    spec = SPEC.model_copy(update={"evaluation_every": 1, "learning_rate_end": SPEC.learning_rate})
    task = Poisoned(PlantTask(plant_of("cstr")), after=4 * spec.rollout_steps)
    result = train(task, spec, tmp_path / "run", seed=0)
    metrics = pd.read_parquet(tmp_path / "run" / "metrics.parquet")
    assert result.stopped_early is None
    assert metrics["recoveries"].tolist() == [0, 0, 0, 1, 1, 1, 1, 1]
    assert metrics["value_loss"].iloc[4:].notna().all()
    state = tensors(tmp_path / "run")
    assert all(value.isfinite().all() for value in state.values() if value.is_floating_point())
    assert len(state["buffer.reward"]) == 8 * 32 - 4  # the four environments had one broken step each


def test_it_learns_to_control_a_reactor_within_seconds(tmp_path: Path) -> None:
    small = "num_envs=32,passes=16,actor.width=32,critic.width=32,evaluation_episodes=4,checkpoint_every=100"
    spec = variant_spec("cstr", f"flow_q:{small}", 32 * 15 * 8)
    train(plant_of("cstr"), spec, tmp_path, seed=0)
    found = pd.read_parquet(tmp_path / "metrics.parquet")["evaluation_best"]
    assert found.iloc[-1] > -110.0  # about -500 at random, -68 for the best proportional controller


def test_a_log_fills_the_buffer_with_what_was_applied_and_q_knows_it_before_the_policy_moves(
    logged_incumbent: Callable[..., Path], tmp_path: Path
) -> None:
    small = (
        "num_envs=4,rollout_steps=8,passes=1,actor.width=16,critic.width=16,evaluation_episodes=1,checkpoint_every=1"
    )
    settings = (
        "discount=0.9,warm_start.critic_warm_up=2,warm_start.passes=30,warm_start.minibatch=64,learning_rate_end=1e-3"
    )
    spec = variant_spec("quad_tank", f"flow_q:{small},{settings}", 32 * 4)
    plant = plant_of("quad_tank")
    logged = read_logged(logged_incumbent(), plant, spec.warm_start)
    seen = []

    def look(_: object) -> None:
        seen.append(read_checkpoint(checkpoint_path(tmp_path / "whole", "latest"))[0])

    train(plant, spec, tmp_path / "whole", seed=3, warm_start=logged, progress=look)
    kept, first = logged.kept, seen[0]
    rows = int(kept.sum())
    for name in ("obs", "action", "next_obs"):
        torch.testing.assert_close(first[f"buffer.{name}"][:rows], getattr(logged, name)[kept].float())
    torch.testing.assert_close(first["buffer.reward"][:rows], logged.reward[kept] * spec.reward_scale)
    expected = 0.9 * (~logged.terminated[kept]).float()
    torch.testing.assert_close(first["buffer.continuation"][:rows], expected)
    policies = [{name: value for name, value in state.items() if name.startswith("policy.")} for state in seen]
    assert same(policies[0], policies[1])
    for name in ("count", "mean", "scale"):
        assert torch.equal(seen[3][f"policy.normaliser.{name}"], first[f"policy.normaliser.{name}"])
    assert not same(policies[1], policies[2])
    with pytest.raises(KeyboardInterrupt):
        train(plant, spec, tmp_path / "cut", seed=3, warm_start=logged, progress=stopped(3))
    train(plant, spec, tmp_path / "cut", seed=3, resume=True)
    assert same(tensors(tmp_path / "whole"), tensors(tmp_path / "cut"))


@pytest.mark.parametrize("order", ["sampled", "value"])
def test_candidates_in_use_come_as_they_were_sampled_or_the_best_by_q_first(tmp_path: Path, order: str) -> None:
    spec = SPEC.model_copy(update={"candidates": 6, "candidate_order": order})
    train(PlantTask(plant_of("cstr"), None), spec, tmp_path, seed=3)
    policy = load_policy(tmp_path)
    assert isinstance(policy, FlowPolicy)
    obs = torch.randn(5, policy.normaliser.mean.numel(), generator=torch.Generator().manual_seed(1))
    acting = policy.deploy(policy.modes()[-1])
    found, _ = acting.act(obs, torch.Generator().manual_seed(2))
    noise = torch.randn(30, policy.action_size, generator=torch.Generator().manual_seed(2))
    sampled = policy.sample(obs.repeat_interleave(6, dim=0), noise, 1.0).reshape(5, 6, -1)
    learner = made(spec, obs.shape[1], policy.action_size)
    held, _ = read_checkpoint(checkpoint_path(tmp_path, "best"))
    learner.q.load_state_dict({k.removeprefix("critic."): v for k, v in held.items() if k.startswith("critic.")})
    learner.policy.load_state_dict(policy.state_dict())
    worth = learner.q(learner._input(obs.repeat_interleave(6, dim=0), sampled.flatten(0, 1))).reshape(5, 6)
    wanted = sampled
    if order == "value":
        wanted = sampled.take_along_dim(worth.argsort(dim=-1, descending=True)[..., None], dim=1)
        assert not torch.equal(wanted, sampled)
    assert torch.allclose(found, wanted)
    assert policy.deploy(policy.modes()[0]).act(obs, None)[0].dim() == 2  # without noise the candidates are one
