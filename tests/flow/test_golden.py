"""The official JAX code's numbers on random inputs (akanazawa/fpo, Apache-2.0): losses, sampler, ratios, gradients."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from fpo_pilot.flow import VelocityNetwork, flow_matching_loss, integrate
from fpo_pilot.learn.losses import surrogate

FILE = Path(__file__).parents[1] / "golden" / "fpo_official_avg_eps.npz"
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    with np.load(FILE, allow_pickle=False) as file:
        return {name: torch.from_numpy(np.asarray(file[name])) for name in file.files}


def network(golden: dict[str, Tensor], which: str) -> VelocityNetwork:
    """The official weights; its velocity points from action to noise, so the last layer changes its sign."""
    net = VelocityNetwork(5, 3, width=32, depth=4, frequencies=4, output_scale=0.25)
    first = golden[f"{which}_policy_w0"].T  # input order: obs, x, embedding
    with torch.no_grad():
        net.observation_weight.copy_(first[:, :5])
        net.draw_weight.copy_(first[:, 5:])
        net.biases[0].copy_(golden[f"{which}_policy_b0"])
        for layer in range(1, 5):
            sign = -1.0 if layer == 4 else 1.0
            net.weights[layer - 1].copy_(sign * golden[f"{which}_policy_w{layer}"].T)
            net.biases[layer].copy_(sign * golden[f"{which}_policy_b{layer}"])
    return net


def losses(golden: dict[str, Tensor], which: str, **settings: str) -> Tensor:
    return flow_matching_loss(
        network(golden, which),
        golden["obs"].flatten(0, 1),
        golden["action"].flatten(0, 1),
        golden["eps"].flatten(0, 1),
        1.0 - golden["t"].flatten(0, 1).squeeze(-1),
        **({"weighting": "noise"} | settings),
    )


@pytest.mark.parametrize("which", ["old", "new"])
def test_the_losses_are_the_official_ones(golden: dict[str, Tensor], which: str) -> None:
    torch.testing.assert_close(losses(golden, which).detach(), golden[f"cfm_{which}"].flatten(0, 1), **TOLERANCE)


def test_time_the_other_way_round_would_not_match(golden: dict[str, Tensor]) -> None:
    wrong = dict(golden) | {"t": 1.0 - golden["t"]}
    assert (losses(wrong, "old") - golden["cfm_old"].flatten(0, 1)).abs().max() > 0.1


def test_the_sampler_is_the_official_one(golden: dict[str, Tensor]) -> None:
    got = integrate(network(golden, "old"), golden["obs"], golden["noise0"], method="euler", steps=10)
    torch.testing.assert_close(got.detach(), golden["euler10"], **TOLERANCE)


def test_ratios_loss_and_gradients_are_the_official_ones(golden: dict[str, Tensor]) -> None:
    net = network(golden, "new")
    new = flow_matching_loss(
        net,
        golden["obs"].flatten(0, 1),
        golden["action"].flatten(0, 1),
        golden["eps"].flatten(0, 1),
        1.0 - golden["t"].flatten(0, 1).squeeze(-1),
        weighting="noise",
    )
    log_ratio = (golden["cfm_old"].flatten(0, 1) - new).mean(dim=-1)
    ratio = log_ratio.exp().detach()
    for value, name in ((ratio.mean(), "ratio_mean"), (ratio.min(), "ratio_min"), (ratio.max(), "ratio_max")):
        torch.testing.assert_close(value, golden[name], **TOLERANCE)
    loss = surrogate(log_ratio, golden["advantage"].flatten(), clip=0.05, trust_region="ppo").mean()
    torch.testing.assert_close(loss.detach(), golden["policy_loss"], **TOLERANCE)
    loss.backward()
    assert net.observation_weight.grad is not None
    assert net.draw_weight.grad is not None
    first = torch.cat((net.observation_weight.grad, net.draw_weight.grad), dim=1)
    torch.testing.assert_close(first.T, golden["grad_policy_w0"], **TOLERANCE)
    torch.testing.assert_close(net.biases[0].grad, golden["grad_policy_b0"], **TOLERANCE)
    for layer in range(1, 5):
        sign = -1.0 if layer == 4 else 1.0
        torch.testing.assert_close(sign * net.weights[layer - 1].grad.T, golden[f"grad_policy_w{layer}"], **TOLERANCE)
        torch.testing.assert_close(sign * net.biases[layer].grad, golden[f"grad_policy_b{layer}"], **TOLERANCE)


def test_the_pure_noise_draw_has_neither_loss_nor_gradient_under_noise_weighting(golden: dict[str, Tensor]) -> None:
    pure = golden["t"].flatten(0, 1).squeeze(-1) == 1.0  # official time 1 is noise
    assert pure.any()
    assert (losses(golden, "old")[pure] == 0.0).all()
    assert (losses(golden, "old", weighting="velocity")[pure] > 0.0).all()


def test_supervising_the_velocity_instead_does_not_give_the_official_losses(golden: dict[str, Tensor]) -> None:
    plain, official = losses(golden, "old", weighting="velocity"), golden["cfm_old"].flatten(0, 1)
    time = 1.0 - golden["t"].flatten(0, 1).squeeze(-1)
    assert torch.allclose(plain * time.square(), official, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(plain, official, atol=1e-2)
