from __future__ import annotations

import pytest
import torch

from fpo_pilot.learn.denoising_policy import DenoisingPolicy, chain_clips
from fpo_pilot.specs.training import DppoSpec, Network

SMALL = {"actor": Network(width=16, depth=2), "flow_steps": 5}


def made(**settings) -> DenoisingPolicy:
    spec = DppoSpec(**(SMALL | settings))
    return DenoisingPolicy(3, 2, spec, generator=torch.Generator().manual_seed(0))


def acted(policy: DenoisingPolicy, rows: int = 6):
    generator = torch.Generator().manual_seed(1)
    obs = torch.randn(rows, 3, generator=generator)
    return (obs, *policy.act(obs, generator))


def test_the_clips_are_those_of_the_notes() -> None:
    clips = chain_clips(0.01, 0.001, 10)
    assert [float(clips[k]) for k in (0, 4, 9)] == pytest.approx([0.001, 0.00231739, 0.01], abs=5e-9)


def test_one_step_alone_has_a_finite_clip() -> None:
    assert chain_clips(0.2, 0.02, 1).tolist() == pytest.approx([0.2])
    policy = made(tuned_steps=1)
    obs, action, trace = acted(policy)
    assert policy.loss(obs, action, trace, torch.ones(6)).loss.isfinite()


def test_the_ratio_of_the_policy_that_acted_is_one_at_every_step() -> None:
    policy = made()
    obs, action, trace = acted(policy)
    assert policy.log_ratio(obs, action, trace).shape == (6, 5)
    torch.testing.assert_close(policy.log_ratio(obs, action, trace), torch.zeros(6, 5), atol=1e-4, rtol=0)


def test_the_ratio_is_that_of_normal_densities() -> None:
    policy = made()
    obs, action, trace = acted(policy)
    with torch.no_grad():
        for parameter in policy.network.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)))
    chain, std = trace["chain"], policy.spec.chain_std
    old = torch.distributions.Normal(0.0, 1.0).log_prob(trace["kicks"]).sum(-1)
    expected = []
    for k in range(5):
        x = chain[:, k]
        mean = x + policy.network(policy.normaliser(obs), x, torch.full((6,), k / 5)) / 5
        now = torch.distributions.Normal(mean, std).log_prob(chain[:, k + 1]).sum(-1) + 2 * torch.tensor(std).log()
        expected.append(now - old[:, k])
    torch.testing.assert_close(policy.log_ratio(obs, action, trace), torch.stack(expected, -1), atol=1e-3, rtol=1e-3)


def test_the_chain_is_replayed_from_its_noise() -> None:
    policy = made()
    obs, action, trace = acted(policy)
    torch.testing.assert_close(policy.replay(obs, trace), action)
    assert torch.equal(trace["chain"][:, -1], action)


def test_advantages_of_early_steps_are_discounted() -> None:
    policy = made(denoising_discount=0.5, clip=10.0, clip_base=10.0)
    obs, action, trace = acted(policy)
    loss = policy.loss(obs, action, trace, torch.full((6,), 2.0)).loss
    # all ratios are 1: the loss is minus the mean of 2·(1/16, 1/8, 1/4, 1/2, 1)
    assert float(loss.detach()) == pytest.approx(-2.0 * (1.9375 / 5), rel=1e-4)


def test_only_the_last_steps_are_tuned() -> None:
    policy = made(tuned_steps=2)
    obs, action, trace = acted(policy)
    assert trace["chain"].shape == (6, 3, 2)
    assert policy.log_ratio(obs, action, trace).shape == (6, 2)
    before = policy.replay(obs, trace)
    with torch.no_grad():
        for parameter in policy.network.parameters():
            parameter.zero_()
    moved = policy.replay(obs, trace)
    # the frozen steps still flow: only the last two lost their velocity
    start = trace["start"] + trace["kicks"].sum(dim=1) * policy.spec.chain_std
    assert not torch.allclose(moved, start)
    assert not torch.allclose(moved, before)
    policy.freeze_beginning()
    torch.testing.assert_close(policy.replay(obs, trace), start)


def test_without_noise_at_the_steps_it_is_the_flow() -> None:
    policy = made()
    obs, noise = torch.randn(4, 3), torch.randn(4, 2)
    x = noise
    for k in range(5):
        x = x + policy.network(policy.normaliser(obs), x, torch.full((4,), k / 5)) / 5
    torch.testing.assert_close(policy.sample(obs, noise, 1.0), x)
    assert not torch.allclose(policy.sample(obs, noise, 1.0, method="rk4", steps=20), x, atol=1e-6)


def test_the_density_of_its_action_is_not_pretended_to_be_known() -> None:
    policy = made()
    assert policy.exact_log_density(*acted(policy)).isnan().all()
