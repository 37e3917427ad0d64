"""The official JAX program's numbers on random inputs (akanazawa/fpo, playground, Apache-2.0): losses, sampler, gradients."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from fpo_pilot.flow import VelocityNetwork, flow_matching_loss, integrate
from fpo_pilot.learn.losses import surrogate

FILE = Path(__file__).parents[1] / "golden" / "fpo_official_avg_eps.npz"


@pytest.fixture(scope="module")
def golden() -> Mapping[str, Tensor]:
    data = np.load(FILE, allow_pickle=False)
    return {name: torch.from_numpy(np.asarray(data[name])) for name in data.files}


def network(golden: Mapping[str, Tensor], which: str) -> VelocityNetwork:
    """The official weights, (in, out), inputs obs, x_t, embedding; its velocity runs from action to noise, so its sign turns."""
    observation, action = golden["obs"].shape[-1], golden["action"].shape[-1]
    net = VelocityNetwork(observation, action, width=32, depth=4, output_scale=-0.25)
    first = golden[f"{which}_policy_w0"].T
    with torch.no_grad():
        net.observation_weight.copy_(first[:, :observation])
        net.draw_weight.copy_(first[:, observation:])
        net.biases[0].copy_(golden[f"{which}_policy_b0"])
        for layer in range(1, 5):
            net.weights[layer - 1].copy_(golden[f"{which}_policy_w{layer}"].T)
            net.biases[layer].copy_(golden[f"{which}_policy_b{layer}"])
    return net


def losses(golden: Mapping[str, Tensor], net: VelocityNetwork) -> Tensor:
    return flow_matching_loss(
        net,
        golden["obs"].flatten(0, 1),
        golden["action"].flatten(0, 1),
        golden["eps"].flatten(0, 1),
        1.0 - golden["t"].flatten(0, 1).squeeze(-1),
        weighting="noise",
    )


@pytest.mark.parametrize("which", ["old", "new"])
def test_the_losses_of_every_draw_are_the_official_ones(golden, which: str) -> None:
    got = losses(golden, network(golden, which)).reshape(golden[f"cfm_{which}"].shape)
    assert torch.allclose(got, golden[f"cfm_{which}"], atol=1e-5, rtol=1e-5)


def test_ten_euler_steps_end_where_the_official_sampler_does(golden) -> None:
    got = integrate(network(golden, "old"), golden["obs"], golden["noise0"], method="euler", steps=10)
    assert torch.allclose(got, golden["euler10"], atol=1e-5, rtol=1e-5)


def test_ratio_policy_loss_and_gradients_are_the_official_ones(golden) -> None:
    net = network(golden, "new")
    log_ratio = golden["cfm_old"].flatten(0, 1).mean(dim=-1) - losses(golden, net).mean(dim=-1)
    ratio = log_ratio.exp()
    assert ratio.mean().item() == pytest.approx(golden["ratio_mean"].item(), abs=1e-5)
    assert ratio.min().item() == pytest.approx(golden["ratio_min"].item(), abs=1e-5)
    assert ratio.max().item() == pytest.approx(golden["ratio_max"].item(), abs=1e-5)
    loss = surrogate(log_ratio, golden["advantage"].flatten(), clip=0.05).mean()
    assert loss.item() == pytest.approx(golden["policy_loss"].item(), abs=1e-5)
    loss.backward()
    first = torch.cat([p.grad for p in (net.observation_weight, net.draw_weight)], dim=1)  # type: ignore[misc]
    gradients = [first, *(p.grad for p in net.weights)]
    for layer, got in enumerate(gradients):
        assert got is not None
        assert torch.allclose(got.T, golden[f"grad_policy_w{layer}"], atol=1e-5, rtol=1e-4), layer
    for layer, bias in enumerate(net.biases):
        assert bias.grad is not None
        assert torch.allclose(bias.grad, golden[f"grad_policy_b{layer}"], atol=1e-5, rtol=1e-4), layer


def test_supervising_the_velocity_instead_does_not_give_the_official_losses(golden) -> None:
    net = network(golden, "old")
    time = 1.0 - golden["t"].flatten(0, 1).squeeze(-1)
    args = (golden["obs"].flatten(0, 1), golden["action"].flatten(0, 1), golden["eps"].flatten(0, 1), time)
    plain = flow_matching_loss(net, *args)
    assert torch.allclose(plain * time.square(), golden["cfm_old"].flatten(0, 1), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(plain, golden["cfm_old"].flatten(0, 1), atol=1e-2)
