from __future__ import annotations

import math

import pytest
import torch

from fpo_pilot.errors import PolicyError
from fpo_pilot.flow import flow_matching_loss, integrate
from fpo_pilot.flow.matching import reduce_square
from fpo_pilot.flow.path import path_point

PATHS = ["straight", "variance_preserving"]


@pytest.mark.parametrize("path", PATHS)
def test_a_path_begins_at_the_noise_and_ends_at_the_action(path) -> None:
    noise, action = torch.randn(2, 5, 3, dtype=torch.float64)
    for time, end in ((0.0, noise), (1.0, action)):
        point, _ = path_point(noise, action, torch.full((5,), time, dtype=torch.float64), path)
        torch.testing.assert_close(point, end)


@pytest.mark.parametrize("path", PATHS)
def test_the_velocity_is_the_derivative_of_the_point(path) -> None:
    noise, action = torch.randn(2, 7, 2, dtype=torch.float64)
    time, h = torch.rand(7, dtype=torch.float64), 1e-6
    ahead, _ = path_point(noise, action, time + h, path)
    behind, _ = path_point(noise, action, time - h, path)
    _, velocity = path_point(noise, action, time, path)
    torch.testing.assert_close(velocity, (ahead - behind) / (2 * h), rtol=1e-7, atol=1e-7)


def test_the_diffusion_keeps_the_variance_of_standard_normal_data() -> None:
    noise, action = torch.randn(2, 200_000, 1)
    point, _ = path_point(noise, action, torch.full((200_000,), 0.3), "variance_preserving")
    assert abs(float(point.var()) - 1.0) < 4 * math.sqrt(2 / 200_000)
    straight, _ = path_point(noise, action, torch.full((200_000,), 0.3))
    assert abs(float(straight.var()) - (0.7**2 + 0.3**2)) < 0.01


def test_the_learned_velocity_of_a_diffusion_is_integrated_by_the_same_sampler() -> None:
    """For one action a the field is known: v(x, t) = π/2·(a − sin·x)/cos, singular only at the end."""
    action = torch.tensor([[0.4, -0.7]], dtype=torch.float64)

    def velocity(obs, x, time):
        angle = (time * math.pi / 2).unsqueeze(-1)
        noise = (x - angle.sin() * action) / angle.cos()
        return (math.pi / 2) * (angle.cos() * action - angle.sin() * noise)

    start = torch.randn(4, 2, dtype=torch.float64)
    found = integrate(velocity, torch.zeros(4, 1), start, steps=2000)
    torch.testing.assert_close(found, action.expand(4, -1), atol=2e-3, rtol=0)


def test_the_loss_of_the_perfect_velocity_of_a_path_is_zero() -> None:
    action, noise, time = torch.randn(6, 2), torch.randn(6, 3, 2), torch.rand(6, 3)
    _, target = path_point(noise, action.unsqueeze(1), time, "variance_preserving")
    found = flow_matching_loss(
        lambda obs, x, t: target, torch.zeros(6, 1), action, noise, time, path="variance_preserving"
    )
    assert torch.equal(found, torch.zeros(6, 3))
    other = flow_matching_loss(lambda obs, x, t: target, torch.zeros(6, 1), action, noise, time)
    assert float(other.min()) > 0.0


def test_an_unknown_path_is_refused() -> None:
    with pytest.raises(PolicyError, match="path: found 'curly'"):
        path_point(torch.zeros(1, 1), torch.zeros(1, 1), torch.zeros(1), "curly")  # type: ignore[arg-type]


def test_huber_counts_small_errors_as_squares_and_large_ones_linearly() -> None:
    error = torch.tensor([[0.5, 3.0]])
    # 0.25 and 2·1·3 − 1 = 5, where the square would be 9
    assert float(reduce_square(error, "sum", 1.0)) == pytest.approx(5.25)
    assert float(reduce_square(error, "mean")) == pytest.approx((0.25 + 9.0) / 2)
