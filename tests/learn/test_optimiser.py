"""The flat Adam against torch's own, and the clip of each network."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from fpo_pilot.learn.optimiser import FlatNetwork, Optimiser
from fpo_pilot.specs.training import FpoSpec


def networks() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.SiLU(), nn.Linear(5, 2)), nn.Linear(3, 1)


def losses(one: nn.Module, other: nn.Module, step: int) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(step))
    return one(x).square().mean(), 1000.0 * (other(x) - 4.0).square().mean()


def test_it_steps_as_adam_with_a_clip_of_each_network_does() -> None:
    plain = networks()
    flat = copy.deepcopy(plain)
    spec = FpoSpec(learning_rate=0.01, gradient_clip=0.1)
    reference = torch.optim.Adam([p for net in plain for p in net.parameters()], lr=0.01, eps=1e-5)
    ours = Optimiser([FlatNetwork(net) for net in flat], spec)
    for step in range(5):
        reference.zero_grad()
        sum(losses(*plain, step)).backward()
        expected = [nn.utils.clip_grad_norm_(net.parameters(), 0.1) for net in plain]
        reference.step()
        norms = ours.step(sum(losses(*flat, step)))
        torch.testing.assert_close(list(norms), expected)
    for net, mine in zip(plain, flat, strict=True):
        for a, b in zip(net.parameters(), mine.parameters(), strict=True):
            torch.testing.assert_close(a, b)


def test_a_huge_error_of_one_network_does_not_shorten_the_step_of_another() -> None:
    alone, _ = networks()
    both = networks()
    spec = FpoSpec(learning_rate=0.01, gradient_clip=0.1)
    single, pair = Optimiser([FlatNetwork(alone)], spec), Optimiser([FlatNetwork(net) for net in both], spec)
    single.step(losses(alone, both[1], 0)[0])
    pair.step(sum(losses(*both, 0)))
    for a, b in zip(alone.parameters(), both[0].parameters(), strict=True):
        assert torch.equal(a, b)


def test_weights_are_views_that_a_loaded_state_writes_through() -> None:
    net, _ = networks()
    flat = FlatNetwork(net)
    zeros = {name: torch.zeros_like(value) for name, value in net.state_dict().items()}
    net.load_state_dict(zeros)
    assert (flat.vector == 0).all()


def test_its_state_goes_on_to_the_bit() -> None:
    spec = FpoSpec(learning_rate=0.01)
    one, other = networks()
    ours = Optimiser([FlatNetwork(one), FlatNetwork(other)], spec)
    for step in range(3):
        ours.step(sum(losses(one, other, step)))
    again = copy.deepcopy(networks())
    for net, saved in zip(again, (one, other), strict=True):
        net.load_state_dict(saved.state_dict())
    resumed = Optimiser([FlatNetwork(net) for net in again], spec)
    resumed.load_state_dict({name: value.clone() for name, value in ours.state_dict().items()})
    ours.step(sum(losses(one, other, 9)))
    resumed.step(sum(losses(*again, 9)))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), again[0].parameters(), strict=True))


@pytest.mark.parametrize("bound", [None, 0.5])
def test_the_norm_told_is_the_one_before_the_clip(bound: float | None) -> None:
    net = nn.Linear(1, 1, bias=False)
    (norm,) = Optimiser([FlatNetwork(net)], FpoSpec(gradient_clip=bound)).step(3.0 * net.weight.sum())
    assert norm.item() == 3.0


def test_the_first_network_may_learn_at_a_rate_of_its_own() -> None:
    first, second = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    flat = [FlatNetwork(first), FlatNetwork(second)]
    optimiser = Optimiser(flat, FpoSpec(gradient_clip=None))
    optimiser.set_rate(0.1, first=0.01)
    before = [network.vector.detach().clone() for network in flat]
    optimiser.step(sum((network.vector.sum() for network in flat), torch.zeros(())) + first.weight.sum() * 0.0)
    moved = [float((network.vector.detach() - start).abs().max()) for network, start in zip(flat, before, strict=True)]
    assert moved == pytest.approx([0.01, 0.1], rel=1e-3)  # Adam's first step is the rate itself
    optimiser.set_rate(0.2)
    assert [group["lr"] for group in optimiser._adam.param_groups] == [0.2, 0.2]
