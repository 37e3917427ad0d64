from __future__ import annotations

import math

import pytest
import torch

from fpo_pilot.flow import log_density
from fpo_pilot.learn.build import build_policy
from fpo_pilot.learn.policy import Deployment
from fpo_pilot.specs.training import FpoSpec, GaussianPpoSpec, Network

SMALL = {"actor": Network(width=16, depth=2)}
SPECS = [
    FpoSpec(ratio="averaged", trust_region="ppo", clip=0.05, **SMALL),
    FpoSpec(ratio="per_draw", trust_region="aspo", weighting="velocity", reduction="sqrt", loss_bound=20.0, **SMALL),
    FpoSpec(squash=True, **SMALL),
    GaussianPpoSpec(**SMALL),
    GaussianPpoSpec(squash=False, **SMALL),
]


def made(spec, seed: int = 0):
    policy = build_policy(spec, 3, 2, generator=torch.Generator().manual_seed(seed))
    policy.normaliser.merge(torch.randn(100, 3, generator=torch.Generator().manual_seed(seed)))
    return policy


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: f"{s.algorithm}")
def test_the_ratio_of_a_policy_to_itself_is_one_and_its_gradient_is_not_zero(spec) -> None:
    policy = made(spec)
    obs = torch.randn(64, 3, generator=torch.Generator().manual_seed(1))
    action, trace = policy.act(obs, torch.Generator().manual_seed(2))
    assert action.shape == (64, 2)
    assert policy.log_ratio(obs, action, trace).abs().max().item() < 1e-6
    result = policy.loss(obs, action, trace, torch.randn(64, generator=torch.Generator().manual_seed(3)))
    result.loss.backward()
    assert result.ratio_mean.item() == pytest.approx(1.0, abs=1e-6)
    assert sum(p.grad.abs().sum().item() for p in policy.parameters() if p.grad is not None) > 1e-4


@pytest.mark.parametrize("spec", SPECS[:4], ids=lambda s: s.algorithm)
def test_a_step_on_a_good_action_raises_its_ratio_and_on_a_bad_one_lowers_it(spec) -> None:
    for sign in (1.0, -1.0):
        policy = made(spec)
        obs = torch.randn(1, 3, generator=torch.Generator().manual_seed(1)).expand(32, 3)
        action, trace = policy.act(obs[:1], torch.Generator().manual_seed(2))
        action, trace = action.expand(32, 2), {k: v.expand(32, *v.shape[1:]) for k, v in trace.items()}
        optimiser = torch.optim.SGD(policy.parameters(), lr=1e-3)
        policy.loss(obs, action, trace, torch.full((32,), sign)).loss.backward()
        optimiser.step()
        assert sign * policy.log_ratio(obs, action, trace).mean().item() > 0


def test_an_averaged_ratio_has_one_value_an_action_and_a_per_draw_ratio_one_a_draw() -> None:
    obs = torch.zeros(5, 3)
    for spec, shape in ((SPECS[0], (5,)), (SPECS[1], (5, 8))):
        policy = made(spec)
        action, trace = policy.act(obs, torch.Generator().manual_seed(0))
        assert policy.log_ratio(obs, action, trace).shape == shape


def test_noise_weighting_never_draws_the_time_that_has_no_gradient() -> None:
    obs = torch.zeros(500, 3)
    _, noise = made(FpoSpec(weighting="noise", **SMALL)).act(obs, torch.Generator().manual_seed(0))
    _, velocity = made(FpoSpec(weighting="velocity", **SMALL)).act(obs, torch.Generator().manual_seed(0))
    assert sorted(set(noise["time"].flatten().tolist())) == pytest.approx([k / 10 for k in range(1, 10)])
    assert velocity["time"].min().item() == 0.0
    assert velocity["time"].max().item() < 1.0


def test_a_loss_bound_holds_for_the_old_and_the_new_loss_alike() -> None:
    # clamping the old loss alone would give identical policies a ratio far from 1
    policy = made(FpoSpec(loss_bound=0.01, **SMALL))
    obs = torch.zeros(50, 3)
    action, trace = policy.act(obs, torch.Generator().manual_seed(0))
    assert trace["old_loss"].max().item() <= 0.01 + 1e-9
    assert policy.log_ratio(obs, action, trace).abs().max().item() == 0.0


@pytest.mark.parametrize("squash", [True, False])
def test_a_gaussian_density_integrates_to_one(squash: bool) -> None:
    policy = build_policy(GaussianPpoSpec(squash=squash, **SMALL), 3, 1, generator=torch.Generator().manual_seed(0))
    u = torch.linspace(-6, 6, 20001, dtype=torch.float32)[:, None]
    with torch.no_grad():
        density, _ = policy.log_density(torch.zeros(len(u), 3), u)
        actions = u.tanh() if squash else u
    assert torch.trapezoid(density.exp(), actions[:, 0]).item() == pytest.approx(1.0, abs=1e-3)


def test_a_gaussian_begins_with_the_declared_spread() -> None:
    policy = build_policy(GaussianPpoSpec(initial_std=0.7, **SMALL), 3, 2, generator=torch.Generator().manual_seed(0))
    _, std = policy.distribution(torch.zeros(4, 3))
    assert std.flatten().tolist() == pytest.approx([0.7] * 8, rel=0.02)


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.algorithm)
def test_without_noise_a_deployed_policy_repeats_itself_and_with_noise_it_does_not(spec) -> None:
    policy = made(spec)
    obs = torch.zeros(2, 3)
    quiet = policy.deploy(Deployment(noise_scale=0.0))
    first, second = (quiet.act(obs, torch.Generator().manual_seed(s))[0] for s in (1, 2))
    assert torch.equal(first, second)
    assert torch.equal(first[0], first[1])
    loud = policy.deploy(Deployment(noise_scale=1.0))
    assert not torch.equal(loud.act(obs, torch.Generator().manual_seed(1))[0], first)


def test_noise_scales_can_be_mixed_in_one_batch() -> None:
    policy = made(SPECS[0])
    obs, noise = torch.zeros(3, 3), torch.ones(3, 2)
    with torch.no_grad():
        mixed = policy.sample(obs, noise, torch.tensor([[0.0], [0.5], [1.0]]))
        for row, scale in enumerate((0.0, 0.5, 1.0)):
            assert torch.allclose(mixed[row], policy.sample(obs, noise, scale)[row], atol=1e-6)


def test_a_flow_policy_that_is_still_is_a_standard_normal() -> None:
    policy = build_policy(FpoSpec(output_scale=1e-9, **SMALL), 3, 2, generator=torch.Generator().manual_seed(0))
    x = torch.tensor([[0.3, -0.4]])
    got = log_density(policy.network, torch.zeros(1, 3), x, steps=10)
    assert got.item() == pytest.approx(-0.5 * (0.09 + 0.16) - math.log(2 * math.pi), abs=1e-6)


def test_a_squashed_flow_gives_the_plant_the_tanh_of_where_it_ends() -> None:
    plain, squashed = made(SPECS[0]), made(SPECS[2])
    obs, noise = torch.randn(6, 3), torch.randn(6, 2)
    torch.testing.assert_close(squashed.sample(obs, noise, 1.0), plain.sample(obs, noise, 1.0).tanh())
    ends, before = plain.act(obs, torch.Generator().manual_seed(4))
    actions, trace = squashed.act(obs, torch.Generator().manual_seed(4))
    torch.testing.assert_close(actions, ends.tanh())
    torch.testing.assert_close(trace["u"], ends)  # what is learned from
    torch.testing.assert_close(trace["old_loss"], before["old_loss"])


def test_the_density_of_a_squashed_flow_is_that_of_actions() -> None:
    policy = build_policy(FpoSpec(squash=True, **SMALL), 3, 1, generator=torch.Generator().manual_seed(0))
    actions = torch.linspace(-0.99995, 0.99995, 20_001, dtype=torch.float64)[:, None]
    density = policy.exact_log_density(
        torch.zeros(len(actions), 3, dtype=torch.float64), actions, {"u": actions.atanh()}
    )
    assert torch.trapezoid(density.exp(), actions[:, 0]).item() == pytest.approx(1.0, abs=2e-3)


def test_copies_of_actions_at_the_limits_stay_finite_where_tanh_has_no_inverse() -> None:
    for spec in (SPECS[2], SPECS[3]):
        policy = made(spec)
        loss = policy.imitation_loss(torch.zeros(4, 3), torch.tensor([[1.0, -1.0]]).expand(4, 2), None)
        loss.backward()
        assert loss.isfinite()
        assert all(p.grad is None or p.grad.isfinite().all() for p in policy.parameters())
