from __future__ import annotations

import torch

from fpo_pilot.learn.critic import Critic


def critic() -> Critic:
    return Critic(3, width=8, depth=2, generator=torch.Generator().manual_seed(0))


def test_moving_the_moments_changes_no_value() -> None:
    net, obs = critic(), torch.randn(20, 3)
    for returns in (torch.randn(50) * 300.0 - 1000.0, torch.randn(50) - 3.0, torch.full((50,), 7.0)):
        before = net(obs)
        net.rescale(returns)
        torch.testing.assert_close(net(obs), before, rtol=1e-3, atol=1e-3)


def test_the_first_returns_set_the_scale_and_later_ones_move_it() -> None:
    net = critic()
    net.rescale(torch.tensor([1.0, 3.0]))
    assert net.mean.item() == 2.0
    assert net.std.item() == 1.0
    torch.testing.assert_close(net.scaled(torch.tensor([4.0])), torch.tensor([2.0]))
    net.rescale(torch.tensor([12.0, 12.0]))
    assert net.mean.item() == 3.0  # 2 + 0.1·(12 − 2)
    assert abs(net.std.item() - (0.9 * 5.0 + 0.1 * 144.0 - 9.0) ** 0.5) < 1e-9


def test_the_loss_does_not_depend_on_the_units_of_the_reward() -> None:
    obs, returns = torch.randn(30, 3), torch.randn(30)
    losses = []
    for factor in (1.0, 1000.0):
        net = critic()
        net.rescale(factor * returns)
        # PopArt kept the values of before; from the same weights the loss in units of the spread is what one compares
        net.members.load_state_dict(critic().members.state_dict())
        losses.append(net.loss(obs, net.scaled(factor * returns)))
    torch.testing.assert_close(losses[0], losses[1])


def test_values_are_unscaled_before_anything_was_seen() -> None:
    net, obs = critic(), torch.randn(4, 3)
    torch.testing.assert_close(net(obs), net.members[0](obs).squeeze(-1))


def test_equal_returns_leave_the_weights_finite() -> None:
    net = critic()
    net.rescale(torch.zeros(10))
    assert net(torch.randn(4, 3)).isfinite().all()
    assert net.scaled(torch.zeros(10)).isfinite().all()
