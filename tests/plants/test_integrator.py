"""The order of convergence is measured, not believed."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from fpo_pilot.plants.integrator import rk4


def oscillator(state: Tensor) -> Tensor:
    return torch.stack((state[:, 1], -state[:, 0] - 0.1 * state[:, 0] ** 3), dim=-1)


def run(steps: int) -> Tensor:
    state = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    for _ in range(steps):
        state = rk4(oscillator, state, 2.0 / steps)
    return state


def test_the_error_falls_with_the_fourth_power_of_the_step() -> None:
    exact = run(1024)
    errors = [float((run(steps) - exact).abs().max()) for steps in (16, 32)]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(4.0, abs=0.15)


def test_one_step_on_an_exponential_is_the_first_five_terms_of_its_series() -> None:
    got = rk4(lambda x: x, torch.ones((1, 1), dtype=torch.float64), 0.5)
    assert float(got) == pytest.approx(1 + 0.5 + 0.5**2 / 2 + 0.5**3 / 6 + 0.5**4 / 24, rel=1e-15)
