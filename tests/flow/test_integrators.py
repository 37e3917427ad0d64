"""Orders are measured, coefficients are checked against the theory, and the adaptive method keeps its tolerance."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from fpo_pilot.errors import PolicyError
from fpo_pilot.flow import TABLEAUS, integrate

FIXED = [name for name, tableau in TABLEAUS.items() if tableau.lower is None]
OBS = torch.zeros(1, 1, dtype=torch.float64)
START = torch.tensor([[0.7]], dtype=torch.float64)


def growing(obs: Tensor, x: Tensor, time: Tensor) -> Tensor:
    """x' = sin(2x + 3t), with no closed form needed: the error is measured against a fine solution."""
    return torch.sin(2.0 * x + 3.0 * time.unsqueeze(-1))


REFERENCE = integrate(growing, OBS, START, method="rk4", steps=1000)


@pytest.mark.parametrize("name", FIXED)
def test_a_method_reaches_its_order(name: str) -> None:
    def error(steps: int) -> float:
        return float((integrate(growing, OBS, START, method=name, steps=steps) - REFERENCE).abs())

    assert math.log2(error(32) / error(64)) == pytest.approx(TABLEAUS[name].order, abs=0.15)


@pytest.mark.parametrize("name", TABLEAUS)
def test_the_coefficients_are_consistent(name: str) -> None:
    tableau = TABLEAUS[name]
    assert sum(tableau.weights) == pytest.approx(1.0)
    for node, row in zip(tableau.nodes, tableau.matrix, strict=True):
        assert sum(row) == pytest.approx(node)  # a stage looks at the time at which its point is
    assert len(tableau.weights) == len(tableau.nodes) == len(tableau.matrix)


def test_the_embedded_pair_is_of_orders_five_and_four() -> None:
    tableau = TABLEAUS["adaptive"]
    assert tableau.lower is not None
    # quadrature conditions: Σ b·c^(k−1) = 1/k up to the order (necessary, and enough to catch a wrong digit)
    for weights, order in ((tableau.weights, 5), (tableau.lower, 4)):
        for k in range(1, order + 1):
            moment = sum(b * c ** (k - 1) for b, c in zip(weights, tableau.nodes, strict=True))
            assert moment == pytest.approx(1.0 / k, abs=1e-14)


def test_euler_adds_the_velocity_at_the_start_of_each_step() -> None:
    got = integrate(
        lambda obs, x, time: obs + time.unsqueeze(-1), torch.tensor([[2.0]]), torch.tensor([[1.0]]), steps=2
    )
    assert got.item() == pytest.approx(3.25)  # 1 + ½·(2 + 0) + ½·(2 + ½)


def test_time_runs_from_noise_to_action() -> None:
    # The exact flow to the action 3: v = (3 − x)/(1 − t) carries any noise to 3; backwards in time it would blow up.
    def velocity(obs: Tensor, x: Tensor, time: Tensor) -> Tensor:
        return (3.0 - x) / (1.0 - time).unsqueeze(-1)

    noise = torch.randn(5, 1, generator=torch.Generator().manual_seed(0))
    got = integrate(velocity, torch.zeros(5, 1), noise, steps=10)
    torch.testing.assert_close(got, torch.full_like(got, 3.0))


@pytest.mark.parametrize("rate", [-0.5, -5.0, -80.0])
def test_the_adaptive_method_keeps_its_tolerance_also_where_it_is_stiff(rate: float) -> None:
    got = integrate(lambda obs, x, time: rate * x, OBS, START, method="adaptive", rtol=1e-7, atol=1e-9)
    assert got.item() == pytest.approx(0.7 * math.exp(rate), abs=1e-6)


def test_an_adaptive_row_does_not_depend_on_its_neighbours() -> None:
    rates = torch.tensor([[-1.0], [-90.0]], dtype=torch.float64)
    both = integrate(lambda obs, x, time: obs * x, rates, START.expand(2, 1), method="adaptive")
    alone = integrate(lambda obs, x, time: obs * x, rates[:1], START, method="adaptive")
    assert both[0].item() == alone.item()


def test_an_adaptive_row_that_does_not_arrive_is_nan_and_leaves_the_others_alone() -> None:
    speed = torch.tensor([[1.0], [torch.nan], [1e9]], dtype=torch.float64)
    got = integrate(
        lambda obs, x, time: obs * torch.sin(obs * x), speed, START.expand(3, 1), method="adaptive", max_steps=50
    )
    assert got[0].isfinite().all()
    assert got[1:].isnan().all()


def test_leading_dimensions_are_free() -> None:
    obs, start = torch.ones(2, 3, 4), torch.zeros(2, 3, 5)
    for name in TABLEAUS:
        seen: list[tuple[torch.Size, ...]] = []

        def velocity(obs: Tensor, x: Tensor, time: Tensor, seen: list[tuple[torch.Size, ...]] = seen) -> Tensor:
            seen.append((obs.shape, x.shape, time.shape))
            return torch.ones_like(x)

        torch.testing.assert_close(integrate(velocity, obs, start, method=name), torch.ones(2, 3, 5))
        assert set(seen) == {((2, 3, 4), (2, 3, 5), (2, 3))}


def test_a_gradient_flows_through_the_sampler() -> None:
    weight = torch.tensor(0.5, requires_grad=True)
    (gradient,) = torch.autograd.grad(
        integrate(lambda obs, x, time: weight * x, torch.zeros(1, 1), torch.ones(1, 1), steps=2).sum(), weight
    )
    assert gradient.item() == pytest.approx(1.25)  # d/dw (1 + w/2)² = 1 + w/2


def test_a_wrong_name_or_number_is_told() -> None:
    with pytest.raises(PolicyError, match="found method 'rk5', expected one of euler"):
        integrate(growing, OBS, START, method="rk5")
    with pytest.raises(PolicyError, match="found 0 steps"):
        integrate(growing, OBS, START, steps=0)
