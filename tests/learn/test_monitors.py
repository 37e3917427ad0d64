from __future__ import annotations

import math

import pytest
import torch

from fpo_pilot.learn.build import build_policy
from fpo_pilot.learn.interaction import Rollout
from fpo_pilot.learn.monitors import monitors, neighbour_entropy
from fpo_pilot.learn.update import Targets
from fpo_pilot.specs.training import FpoSpec, GaussianPpoSpec, Network

NET = Network(width=16, depth=2)


def seen(policy, rows: int = 600) -> tuple[Rollout, Targets]:
    generator = torch.Generator().manual_seed(1)
    obs = torch.randn(rows, 3, generator=generator)
    action, trace = policy.act(obs, generator)
    nothing = torch.zeros(rows, 1)
    rollout = Rollout(
        obs=obs[:, None],
        next_obs=obs[:, None],
        action=action[:, None],
        trace={name: value[:, None] for name, value in trace.items()},
        reward=nothing,
        terminated=nothing.bool(),
        truncated=nothing.bool(),
        episode_return=nothing,
        episode_length=nothing.long(),
        altered=nothing.bool(),
        cost=nothing,
    )
    advantage = torch.where(torch.arange(rows) % 2 == 0, 1.0, -1.0)
    return rollout, Targets(advantage, nothing[:, 0], nothing[:, 0])


@pytest.mark.parametrize(
    "spec", [FpoSpec(actor=NET, ratio="averaged"), FpoSpec(actor=NET, ratio="per_draw"), GaussianPpoSpec(actor=NET)]
)
def test_a_policy_that_did_not_change_shows_no_change(spec) -> None:
    policy = build_policy(spec, 3, 2, generator=torch.Generator().manual_seed(0))
    found = monitors(policy, *seen(policy), clip=spec.clip)
    assert found["action_change"].item() == pytest.approx(0.0, abs=1e-9)
    assert found["clip_fraction_good"].item() == found["clip_fraction_bad"].item() == 0.0
    if spec.algorithm == "fpo":
        assert found["ratio_early"].item() == pytest.approx(1.0, abs=1e-5)
        assert found["ratio_late"].item() == pytest.approx(1.0, abs=1e-5)
    else:
        assert math.isnan(found["ratio_early"].item())


def test_spread_is_what_noise_makes_not_what_observations_make() -> None:
    policy = build_policy(GaussianPpoSpec(actor=NET, squash=False, initial_std=0.3), 3, 2)
    with torch.no_grad():
        policy.network.last.weight[:2] = 50.0  # means that differ widely from row to row
        policy.network.last.weight[2:] = 0.0
    rollout, targets = seen(policy)
    assert rollout.action.std() > 1.0
    # the same row sampled twice differs by √2·σ; half the square is σ²
    assert monitors(policy, rollout, targets, clip=0.2)["spread"].item() == pytest.approx(0.3, rel=0.1)


def test_a_moved_policy_shows_how_far_its_actions_went() -> None:
    policy = build_policy(GaussianPpoSpec(actor=NET, squash=False), 3, 2)
    rollout, targets = seen(policy)
    with torch.no_grad():
        policy.network.last.bias[0] += 0.5
    found = monitors(policy, rollout, targets, clip=0.2)
    assert found["action_change"].item() == pytest.approx(0.25, rel=1e-4)
    assert found["clip_fraction_good"].item() > 0.3


def test_the_entropy_of_normal_samples_is_found_from_their_neighbours() -> None:
    """H of N(0, σ²I) in d dimensions is d/2·log(2πe σ²); 60 sets of 512 samples leave an error below 0.03."""
    generator = torch.Generator().manual_seed(0)
    for d, std in ((1, 0.5), (2, 2.0)):
        samples = std * torch.randn(60, 512, d, generator=generator)
        expected = 0.5 * d * math.log(2 * math.pi * math.e * std**2)
        assert abs(float(neighbour_entropy(samples).mean()) - expected) < 0.03


def test_a_policy_that_always_does_the_same_has_hardly_any_entropy() -> None:
    assert float(neighbour_entropy(torch.zeros(2, 16, 1)).max()) < -20.0
