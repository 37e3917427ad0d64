"""The density of the Euler sampler: closed forms, its integral, the Jacobian of the whole chain, and its refusals."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from fpo_pilot.errors import PolicyError
from fpo_pilot.flow import VelocityNetwork, integrate, log_density

HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("rate", [0.8, -0.5, -20.0])
def test_a_linear_velocity_makes_a_scaled_normal(rate: float) -> None:
    # x1 = (1 + rate/10)^10 · ε; at rate −20 every step mirrors, so that fixed-point iteration alone would fail.
    factor = (1.0 + rate / 10) ** 10
    x1 = factor * torch.randn(7, 2, generator=generator(), dtype=torch.float64)
    expected = -0.5 * (x1 / factor).square().sum(-1) - 2 * HALF_LOG_2PI - 2 * math.log(abs(factor))
    got = log_density(lambda obs, x, time: rate * x, torch.zeros(7, 1), x1, steps=10)
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)


def test_the_full_jacobian_counts_not_its_diagonal() -> None:
    mix = torch.tensor([[0.3, -0.9], [0.4, 0.2]], dtype=torch.float64)
    step = torch.eye(2, dtype=torch.float64) + mix / 4
    matrix = torch.linalg.matrix_power(step, 4)
    x1 = torch.randn(5, 2, generator=generator(), dtype=torch.float64)
    normal = torch.distributions.MultivariateNormal(torch.zeros(2, dtype=torch.float64), matrix @ matrix.T)
    got = log_density(lambda obs, x, time: x @ mix.T, torch.zeros(5, 1), x1, steps=4)
    torch.testing.assert_close(got, normal.log_prob(x1))


def test_the_density_of_a_network_integrates_to_one() -> None:
    network = VelocityNetwork(2, 1, output_scale=1.0, generator=generator(3))
    grid = torch.linspace(-9.0, 9.0, 1801, dtype=torch.float64).unsqueeze(-1)
    density = log_density(network, torch.tensor([[0.4, -1.0]]).expand(1801, 2), grid, steps=8).exp()
    assert torch.trapezoid(density, grid[:, 0]).item() == pytest.approx(1.0, abs=1e-6)


def test_a_sample_is_inverted_to_its_noise() -> None:
    network = VelocityNetwork(3, 2, output_scale=1.0, generator=generator(1)).double()
    obs = torch.randn(6, 3, generator=generator(2), dtype=torch.float64)
    noise = torch.randn(6, 2, generator=generator(4), dtype=torch.float64)

    def chain(start: Tensor, row: Tensor) -> Tensor:
        return integrate(network, row[None], start[None], steps=5)[0]

    x1 = integrate(network, obs, noise, steps=5).detach()
    jacobians = torch.stack(
        [
            torch.autograd.functional.jacobian(lambda e, r=row: chain(e, r), start)
            for start, row in zip(noise, obs, strict=True)
        ]
    )
    expected = -0.5 * noise.square().sum(-1) - 2 * HALF_LOG_2PI - torch.linalg.slogdet(jacobians).logabsdet
    torch.testing.assert_close(log_density(network, obs, x1, steps=5), expected)


def test_float32_weights_are_used_in_float64_also_without_grad() -> None:
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 2)

        def forward(self, obs: Tensor, x: Tensor, time: Tensor) -> Tensor:
            return torch.tanh(self.layer(torch.cat((obs, x, time.unsqueeze(-1)), dim=-1)))

    plain, ours = Plain(), VelocityNetwork(1, 2)
    for velocity in (plain, ours, ours.forward):
        with torch.no_grad():
            got = log_density(velocity, torch.zeros(3, 1), torch.randn(3, 2), steps=4)
        assert got.dtype == torch.float64
        assert got.isfinite().all()
        assert not got.requires_grad


@pytest.mark.parametrize(
    ("velocity", "why"),
    [
        (lambda obs, x, time: -4.0 * x, "everything goes to one point"),
        (lambda obs, x, time: 12.0 * torch.sin(3.0 * x), "each step folds: several points go to one"),
        (lambda obs, x, time: torch.nan * x, "no number"),
        (lambda obs, x, time: 4.0 * (x.square() + 2.0), "nothing goes there"),
    ],
)
def test_what_cannot_be_inverted_is_nan(velocity: object, why: str) -> None:
    got = log_density(velocity, torch.zeros(2, 1), torch.tensor([[0.3], [-0.2]]), steps=4)
    assert got.isnan().all(), why


def test_a_bad_row_leaves_the_others_alone() -> None:
    x1 = torch.tensor([[0.5], [torch.nan], [torch.inf], [0.1]])
    got = log_density(lambda obs, x, time: torch.zeros_like(x), torch.zeros(4, 1), x1, steps=2)
    assert got.isnan().tolist() == [False, True, True, False]
    assert got[0].item() == pytest.approx(-0.125 - HALF_LOG_2PI)


def test_shapes_that_do_not_fit_are_told() -> None:
    with pytest.raises(PolicyError, match=r"obs \(2, 1\), x1 \(3, 1\)"):
        log_density(lambda obs, x, time: x, torch.zeros(2, 1), torch.zeros(3, 1), steps=4)
