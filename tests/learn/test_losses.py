from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fpo_pilot.errors import PolicyError
from fpo_pilot.learn.losses import explained_variance, straight_through_clamp, surrogate

GOLDEN = [  # ratio, advantage, ppo, spo, aspo: hand-computed at clip 0.05
    (1.5, 1.0, -1.05, 1.0, -1.05),
    (0.8, -2.0, 1.9, 2.4, 2.4),
    (1.5, -2.0, 3.0, 8.0, 8.0),
    (1.5, 0.0, 0.0, 0.0, 0.0),
]


@pytest.mark.parametrize(("ratio", "advantage", "ppo", "spo", "aspo"), GOLDEN)
def test_each_trust_region_has_its_hand_computed_value(ratio, advantage, ppo, spo, aspo) -> None:
    log_ratio = torch.tensor([ratio], dtype=torch.float64).log()
    for name, wanted in (("ppo", ppo), ("spo", spo), ("aspo", aspo)):
        got = surrogate(log_ratio, torch.tensor([advantage], dtype=torch.float64), clip=0.05, trust_region=name)
        assert got.item() == pytest.approx(wanted, abs=1e-12), name


def test_aspo_selects_element_by_element_before_anything_is_averaged() -> None:
    ratios = torch.tensor([row[0] for row in GOLDEN], dtype=torch.float64)
    advantages = torch.tensor([row[1] for row in GOLDEN], dtype=torch.float64)
    got = surrogate(ratios.log(), advantages, clip=0.05, trust_region="aspo")
    assert got.tolist() == pytest.approx([row[4] for row in GOLDEN], abs=1e-12)


def test_an_advantage_applies_to_every_draw_of_its_action() -> None:
    log_ratio = torch.tensor([[1.5, 0.8], [1.5, 0.8]], dtype=torch.float64).log()
    got = surrogate(log_ratio, torch.tensor([1.0, -2.0], dtype=torch.float64), clip=0.05)
    assert got.flatten().tolist() == pytest.approx([-1.05, -0.8, 3.0, 1.9])


def test_a_clip_may_be_a_tensor_of_one_value_a_draw() -> None:
    log_ratio = torch.full((1, 2), 1.5, dtype=torch.float64).log()
    got = surrogate(log_ratio, torch.ones(1, dtype=torch.float64), clip=torch.tensor([0.05, 0.2], dtype=torch.float64))
    assert got.flatten().tolist() == pytest.approx([-1.05, -1.2])


@given(st.floats(-3, 3), st.floats(-5, 5), st.floats(0.01, 0.5))
def test_at_ratio_one_all_trust_regions_have_the_policy_gradient(shift, advantage, clip) -> None:
    for name in ("ppo", "spo", "aspo"):
        theta = torch.tensor([shift], dtype=torch.float64, requires_grad=True)
        surrogate(
            theta - shift, torch.tensor([advantage], dtype=torch.float64), clip=clip, trust_region=name
        ).sum().backward()
        assert theta.grad is not None
        assert theta.grad.item() == pytest.approx(-advantage, abs=1e-9)


def test_an_unknown_trust_region_is_refused_with_the_known_ones() -> None:
    with pytest.raises(PolicyError, match="ppo, spo, aspo"):
        surrogate(torch.zeros(1), torch.zeros(1), clip=0.1, trust_region="trpo")  # type: ignore[arg-type]


def test_a_straight_through_clamp_bounds_the_value_and_keeps_the_gradient() -> None:
    x = torch.tensor([-9.0, 0.5, 9.0], requires_grad=True)
    y = straight_through_clamp(x, 3.0)
    y.sum().backward()
    assert y.tolist() == [-3.0, 0.5, 3.0]
    assert x.grad is not None
    assert x.grad.tolist() == [1.0, 1.0, 1.0]


def test_explained_variance_is_one_for_a_perfect_prediction_and_zero_where_nothing_varies() -> None:
    actual = torch.tensor([1.0, 2.0, 4.0])
    assert explained_variance(actual, actual).item() == 1.0
    assert explained_variance(torch.zeros(3), actual).item() == pytest.approx(0.0)
    assert explained_variance(actual, torch.ones(3)).item() == 0.0
    assert math.isfinite(explained_variance(-actual, actual).item())
