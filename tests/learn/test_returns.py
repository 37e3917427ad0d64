from __future__ import annotations

import pytest
import torch

from fpo_pilot.learn.returns import gae


def column(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None]


def test_truncation_bootstraps_and_termination_does_not() -> None:
    # r = 1..5, V = .5 … .1, truncated at 1 with V(final) = .25, terminated at 3, last bootstrap .7, γ .99, λ .95:
    # A4 = 5 + .99·.7 − .1 = 5.593; A3 = 4 − .2 = 3.8; A2 = 3 + .99·.2 − .3 + .9405·3.8 = 6.4719
    # A1 = 2 + .99·.25 − .4 = 1.8475; A0 = 1 + .99·.4 − .5 + .9405·1.8475 = 2.63357375
    advantage, returns = gae(
        column(1, 2, 3, 4, 5),
        column(0.5, 0.4, 0.3, 0.2, 0.1),
        column(0.4, 0.25, 0.2, 99.0, 0.7),
        column(0, 0, 0, 1, 0).bool(),
        column(0, 1, 0, 0, 0).bool(),
        discount=0.99,
        lam=0.95,
    )
    assert advantage.flatten().tolist() == pytest.approx([2.63357375, 1.8475, 6.4719, 3.8, 5.593])
    assert (returns - advantage).flatten().tolist() == pytest.approx([0.5, 0.4, 0.3, 0.2, 0.1])


def test_a_batch_is_its_columns() -> None:
    generator = torch.Generator().manual_seed(3)
    reward, value, following = torch.randn(3, 7, 5, generator=generator).unbind(0)
    terminated = torch.rand(7, 5, generator=generator) < 0.2
    truncated = (torch.rand(7, 5, generator=generator) < 0.2) & ~terminated
    whole, _ = gae(reward, value, following, terminated, truncated, discount=0.9, lam=0.8)
    for b in range(5):
        rows = (x[:, b : b + 1] for x in (reward, value, following, terminated, truncated))
        single, _ = gae(*rows, discount=0.9, lam=0.8)
        assert torch.equal(single[:, 0], whole[:, b])
