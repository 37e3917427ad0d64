"""The split first layer gives what one whole layer would, and does the observation's work once."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from fpo_pilot.flow import VelocityNetwork, embed_time, flow_matching_loss, integrate


def network(**settings: int) -> VelocityNetwork:
    return VelocityNetwork(3, 2, width=16, generator=torch.Generator().manual_seed(0), **settings)


def whole(net: VelocityNetwork, obs: Tensor, x: Tensor, time: Tensor) -> Tensor:
    """The same network written as one first layer over the joined input."""
    weight = torch.cat((net.observation_weight, net.draw_weight), dim=1)
    hidden = functional.linear(torch.cat((obs, x, embed_time(time, net.frequencies)), dim=-1), weight, net.biases[0])
    for w, b in zip(net.weights, list(net.biases)[1:], strict=True):
        hidden = functional.linear(functional.silu(hidden), w, b)
    return net.output_scale * hidden


def test_the_embedding_is_of_the_time_that_is_left_cosines_first() -> None:
    got = embed_time(torch.tensor(0.25), 2)
    expected = [math.cos(0.75), math.cos(1.5), math.sin(0.75), math.sin(1.5)]
    torch.testing.assert_close(got, torch.tensor(expected))


def test_the_split_layer_equals_the_whole_one() -> None:
    net = network()
    obs, x, time = torch.randn(4, 3), torch.randn(4, 6, 2), torch.rand(4, 6)
    expected = whole(net, obs[:, None].expand(4, 6, 3), x, time)
    torch.testing.assert_close(net.condition(obs[:, None])(x, time), expected)
    torch.testing.assert_close(net(obs[:, None], x, time), expected)
    with torch.no_grad():  # works in place
        torch.testing.assert_close(net(obs[:, None], x, time), expected)
        torch.testing.assert_close(
            net(obs[:, None], x, torch.tensor([[0.3]])),
            whole(net, obs[:, None].expand(4, 6, 3), x, torch.full((4, 6), 0.3)),
        )


def test_working_in_place_changes_no_input() -> None:
    net = network()
    obs, x, time = torch.randn(4, 3), torch.randn(4, 2), torch.rand(4)
    before = [t.clone() for t in (obs, x, time)]
    with torch.no_grad():
        field = net.condition(obs)
        first, second = field(x, time), field(x, time)
    assert torch.equal(first, second)
    assert all(torch.equal(a, b) for a, b in zip(before, (obs, x, time), strict=True))


def test_the_observation_part_is_computed_once_for_all_steps_and_draws(monkeypatch) -> None:
    net = network()
    rows: list[int] = []
    original = VelocityNetwork.observe

    def counting(self: VelocityNetwork, obs: Tensor) -> Tensor:
        rows.append(obs.shape[0] * (obs.shape[1] if obs.ndim > 2 else 1))
        return original(self, obs)

    monkeypatch.setattr(VelocityNetwork, "observe", counting)
    integrate(net, torch.randn(4, 3), torch.randn(4, 2), method="rk4", steps=10)
    assert rows == [4]  # not 4 rows for each of 40 stages
    flow_matching_loss(net, torch.randn(4, 3), torch.randn(4, 2), torch.randn(4, 8, 2), torch.rand(4, 8))
    assert rows == [4, 4]  # not 4·8


def test_a_sampler_that_knows_its_times_gives_what_one_step_at_a_time_gives() -> None:
    net = network(depth=4)
    obs, x = torch.randn(5, 3, dtype=torch.float64), torch.randn(5, 2, dtype=torch.float64)
    with torch.inference_mode():
        integrate(net, obs, x, steps=7)  # fills what is kept between calls
    scheduled = integrate(net, obs, x, steps=7)
    expected = x
    for k in range(7):
        time = torch.full((5,), k / 7, dtype=torch.float64)
        expected = expected + net(obs, expected, time) / 7
    torch.testing.assert_close(scheduled, expected)
    got = torch.autograd.grad(scheduled.square().sum(), list(net.parameters()))
    wanted = torch.autograd.grad(expected.square().sum(), list(net.parameters()))
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b)


def test_the_times_of_a_sampler_are_embedded_once_for_all_calls(monkeypatch) -> None:
    net = network()
    calls: list[Tensor] = []
    monkeypatch.setattr("fpo_pilot.flow.network.embed_time", lambda t, f: calls.append(t) or embed_time(t, f))
    for _ in range(3):
        integrate(net, torch.randn(4, 3), torch.randn(4, 2), method="heun", steps=13)
    assert len(calls) == 1


def test_gradients_equal_those_of_the_whole_layer() -> None:
    net = network()
    obs, x, time = torch.randn(4, 3), torch.randn(4, 6, 2), torch.rand(4, 6)
    split = torch.autograd.grad(net.condition(obs[:, None])(x, time).square().sum(), list(net.parameters()))
    joined = torch.autograd.grad(
        whole(net, obs[:, None].expand(4, 6, 3), x, time).square().sum(), list(net.parameters())
    )
    for one, other in zip(split, joined, strict=True):
        torch.testing.assert_close(one, other)


def test_the_same_generator_gives_the_same_weights_and_leaves_the_global_one_alone() -> None:
    state = torch.get_rng_state()
    one, other = network(), network()
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert torch.equal(torch.get_rng_state(), state)


def test_it_trains_on_the_meta_device() -> None:
    net = VelocityNetwork(3, 2, device="meta")
    optimiser = torch.optim.Adam(net.parameters(), foreach=True)
    obs, action = torch.empty(4, 3, device="meta"), torch.empty(4, 2, device="meta")
    noise, time = torch.empty(4, 8, 2, device="meta"), torch.empty(4, 8, device="meta")
    flow_matching_loss(net, obs, action, noise, time, weighting="noise").mean().backward()
    optimiser.step()
    for method in ("euler", "rk4"):
        assert integrate(net, obs, action, method=method).shape == (4, 2)
