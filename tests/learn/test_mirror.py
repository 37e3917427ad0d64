"""A plant that is the same in a mirror: what is learned of one side is known of the other."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from fpo_pilot.errors import PlantError, TrainingError
from fpo_pilot.flow import condition
from fpo_pilot.learn import load_policy, train
from fpo_pilot.learn.build import build_policy
from fpo_pilot.learn.critic import Critic
from fpo_pilot.learn.gym_loop import GymLoop
from fpo_pilot.learn.mirror import Mirror
from fpo_pilot.plants.load import load_plant
from fpo_pilot.plants.observations import mirror_signs
from fpo_pilot.specs.training import DppoSpec, FpoSpec, GaussianPpoSpec, Network

MIRROR = Mirror(observation=(1.0, -1.0, -1.0), action=(1.0, -1.0))
SMALL = {"actor": Network(width=16, depth=2), "critic": Network(width=8, depth=1)}
SPECS = [
    FpoSpec(**SMALL),
    DppoSpec(**SMALL),
    DppoSpec(tuned_steps=4, **SMALL),
    GaussianPpoSpec(**SMALL),
]


def drawn(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
@pytest.mark.parametrize("spec", SPECS, ids=["fpo", "dppo", "dppo-tuned", "gaussian"])
def test_what_is_done_in_the_mirror_is_the_mirror_of_what_is_done(spec: Any) -> None:
    policy = build_policy(spec, 3, 2, generator=torch.Generator().manual_seed(0), mirror=MIRROR)
    policy.normaliser.merge(drawn(100, 3, seed=2) + torch.tensor([1.0, 2.0, -3.0]))
    obs, noise = drawn(50, 3), drawn(50, 2, seed=3)
    left, right = torch.tensor(MIRROR.observation), torch.tensor(MIRROR.action)
    straight = policy.sample(obs, noise, 1.0)
    assert torch.allclose(policy.sample(obs * left, noise * right, 1.0), straight * right, atol=1e-6)
    assert (straight[:, 1] - policy.sample(obs * left, noise, 1.0)[:, 1]).abs().max() > 1e-3
    middle = policy.sample(obs * torch.tensor([1.0, 0.0, 0.0]), noise, 0.0)
    assert float(middle[:, 1].abs().max()) < 1e-6  # from the middle, without noise, it cannot choose
    action, trace = policy.act(obs, torch.Generator().manual_seed(4))
    assert torch.allclose(policy.replay(obs, trace), action, atol=1e-6)
    assert float(policy.log_ratio(obs, action, trace).abs().max()) < 1e-5


def test_a_schedule_of_the_sampler_is_the_field_itself() -> None:
    policy = build_policy(SPECS[0], 3, 2, generator=torch.Generator().manual_seed(0), mirror=MIRROR)
    field, x = condition(policy.network, drawn(7, 3)), drawn(7, 2, seed=5)
    for time, planned in zip((0.0, 0.3), field.schedule((0.0, 0.3), x), strict=True):
        assert torch.allclose(planned(x), field(x, torch.full((7,), time)), atol=1e-6)


def test_both_sides_are_worth_the_same_also_after_the_returns_have_moved() -> None:
    critic = Critic(3, width=8, depth=1, members=2, generator=torch.Generator().manual_seed(0), mirror=MIRROR)
    obs = drawn(20, 3)
    before = critic(obs)
    critic.rescale(torch.tensor([1.0, 5.0, 9.0]))
    critic.rescale(torch.tensor([100.0, 150.0]))
    assert torch.allclose(critic(obs), critic(obs * torch.tensor(MIRROR.observation)), atol=1e-4)
    assert (critic(obs) - critic(-obs)).abs().max() > 1e-2  # not of everything that could change sign
    assert before.shape == (20,)


def test_signs_follow_the_observation_of_the_plant() -> None:
    plant = load_plant("crane_twin")
    seen, acted = mirror_signs(plant, ["y", "vy", "phi", "phi_rate", "vy_set"])
    names = [term.signal for term in plant.spec.observations]
    assert [name for name, sign in zip(names, seen, strict=True) if sign < 0] == ["y", "vy", "phi", "phi_rate"]
    assert acted == (1.0, -1.0)


@pytest.mark.parametrize(
    ("signals", "message"),
    [
        (["why"], r"found 'why', expected signals that a policy sees or sets \(x, "),
        (["x"], r"x has the scale 0 to 6 and signals x, expected one symmetric about 0"),
    ],
)
def test_a_mirror_that_means_nothing_is_refused(signals: list[str], message: str) -> None:
    with pytest.raises(PlantError, match=message):
        mirror_signs(load_plant("crane_twin"), signals)


def test_an_environment_without_signals_has_no_mirror() -> None:
    with pytest.raises(TrainingError, match="mirror: found y, expected none"):
        GymLoop("Pendulum-v1", 1, seed=0).mirror(["y"])


def test_a_run_folder_holds_the_mirror(tmp_path: Path) -> None:
    spec = FpoSpec(
        total_steps=64, num_envs=4, rollout_steps=8, evaluation_episodes=2, mirror=("y", "vy", "vy_set"), **SMALL
    )
    plant = load_plant("crane_twin")
    brief = plant.spec.timing.model_copy(update={"horizon": 10})
    plant = dataclasses.replace(plant, spec=plant.spec.model_copy(update={"timing": brief}))
    train(plant, spec, tmp_path / "run", seed=0)
    obs, noise = drawn(9, 8), drawn(9, 2, seed=3)
    left = torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0, 1.0, 1.0, 1.0])
    policy = load_policy(tmp_path / "run")
    mirrored = policy.sample(obs * left, noise * torch.tensor([1.0, -1.0]), 1.0)
    assert torch.allclose(mirrored, policy.sample(obs, noise, 1.0) * torch.tensor([1.0, -1.0]), atol=1e-6)
