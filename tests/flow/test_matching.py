"""The flow-matching loss by hand, and the two weightings."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fpo_pilot.errors import PolicyError
from fpo_pilot.flow import flow_matching_loss, path_point


def half_point(obs: Tensor, x: Tensor, time: Tensor) -> Tensor:
    return 0.5 * x + obs[..., :1] + time.unsqueeze(-1)


OBS = torch.tensor([[1.0]])
ACTION = torch.tensor([[2.0, -1.0]])
NOISE = torch.tensor([[[0.0, 1.0], [1.0, 1.0]]])
TIME = torch.tensor([[0.5, 0.25]])
# draw 1: x = (1, 0), v = (½ + 1 + ½, 0 + 1 + ½) = (2, 1.5), target (2, −2): error (0, 3.5), squares 0 and 12.25
# draw 2: x = (1.25, 0.5), v = (0.625 + 1.25, 0.25 + 1.25) = (1.875, 1.5), target (1, −2): squares 0.765625 and 12.25


@pytest.mark.parametrize(
    ("reduction", "expected"),
    [("mean", (6.125, 6.5078125)), ("sum", (12.25, 13.015625)), ("sqrt", (12.25 / 2**0.5, 13.015625 / 2**0.5))],
)
def test_the_loss_of_a_draw_is_the_square_of_what_the_velocity_misses(
    reduction: str, expected: tuple[float, float]
) -> None:
    got = flow_matching_loss(half_point, OBS, ACTION, NOISE, TIME, reduction=reduction)
    assert got.tolist()[0] == pytest.approx(expected)


def test_noise_weighting_is_the_time_squared() -> None:
    got = flow_matching_loss(half_point, OBS, ACTION, NOISE, TIME, weighting="noise", reduction="sum")
    assert got.tolist()[0] == pytest.approx((12.25 * 0.25, 13.015625 * 0.0625))


@given(st.floats(0.0, 1.0), st.integers(0, 2**31))
def test_noise_weighting_is_the_error_of_the_noise_that_the_velocity_implies(time: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    action, velocity = (torch.randn(1, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    noise = torch.randn(1, 1, 3, generator=generator, dtype=torch.float64)
    moment = torch.full((1, 1), time, dtype=torch.float64)
    implied = path_point(noise, action[:, None], moment)[0] - time * velocity
    got = flow_matching_loss(
        lambda obs, x, t: velocity.expand_as(x), OBS, action, noise, moment, weighting="noise", reduction="sum"
    )
    torch.testing.assert_close(got, (implied - noise).square().sum(-1))


def test_the_path_begins_at_the_noise_and_ends_at_the_action() -> None:
    noise, action = torch.randn(4, 2), torch.randn(4, 2)
    assert torch.equal(path_point(noise, action, torch.zeros(4))[0], noise)
    torch.testing.assert_close(path_point(noise, action, torch.ones(4))[0], action)
    point, velocity = path_point(noise, action, torch.full((4,), 0.25))
    torch.testing.assert_close(point + 0.75 * velocity, action)


def test_a_velocity_that_knows_the_action_has_no_loss() -> None:
    got = flow_matching_loss(
        lambda obs, x, time: (ACTION - x) / (1.0 - time).unsqueeze(-1), OBS, ACTION, NOISE, TIME, reduction="sum"
    )
    torch.testing.assert_close(got, torch.zeros(1, 2))


def test_any_callable_gets_leading_dimensions_that_agree() -> None:
    def checking(obs: Tensor, x: Tensor, time: Tensor) -> Tensor:
        return torch.cat((obs, x, time.unsqueeze(-1)), dim=-1)[..., :2]  # fails unless all are [1, 2, ...]

    assert flow_matching_loss(checking, OBS, ACTION, NOISE, TIME).shape == (1, 2)


def test_what_does_not_fit_is_told() -> None:
    with pytest.raises(PolicyError, match=r"noise \(2, 2\)"):
        flow_matching_loss(half_point, OBS, ACTION, NOISE[0], TIME)
    with pytest.raises(PolicyError, match="weighting 'time'"):
        flow_matching_loss(half_point, OBS, ACTION, NOISE, TIME, weighting="time")
    with pytest.raises(PolicyError, match="reduction 'max'"):
        flow_matching_loss(half_point, OBS, ACTION, NOISE, TIME, reduction="max")
