"""Box and rate by hand: what is made of a target, what the second check allows, and where the last resort goes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from fpo_pilot.plants.load import load_plant
from fpo_pilot.shields import Envelope, ShieldContext, build_stack

BOX = Envelope(("u",), (0.0,), (10.0,), (2.0,), (4.0,))
NAN = math.nan


def one(value: float) -> Tensor:
    return torch.tensor([[value]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("previous", "target", "applied"),
    [
        (5.0, 6.0, 6.0),
        (5.0, 9.0, 7.0),  # two up
        (5.0, 1.0, 3.0),  # two down
        (1.0, -3.0, 0.0),  # the box ends before the rate does
        (9.0, 99.0, 10.0),
        (13.0, 5.0, 11.0),  # from outside back to the box, at the rate
        (-1.5, -9.0, 0.0),  # into the box at once, where the rate allows it
        (5.0, NAN, 4.0),  # no number: the safe value
        (9.0, NAN, 7.0),
        (NAN, 9.0, 4.0),  # no read-back: the safe value, for nobody knows from where to count
    ],
)
def test_the_limit_by_hand(previous: float, target: float, applied: float) -> None:
    assert BOX.limit(one(previous), one(target)).item() == applied


@pytest.mark.parametrize(
    ("previous", "action", "allowed"),
    [
        (5.0, 7.0, True),
        (5.0, 7.1, False),
        (5.0, 2.9, False),
        (9.0, 10.0, True),
        (9.0, 10.5, False),  # within the rate, and out of the box
        (13.0, 11.0, True),
        (13.0, 12.0, False),  # toward the box, but not at the rate
        (13.0, 14.0, False),
        (5.0, NAN, False),
        (NAN, 4.0, True),
        (NAN, 5.0, False),
    ],
)
def test_the_check_by_hand(previous: float, action: float, allowed: bool) -> None:
    assert BOX.permits(one(previous), one(action)).tolist() == [allowed]


@pytest.mark.parametrize(
    ("previous", "target", "applied"),
    [
        (5.0, 6.0, 6.0),
        (5.0, 9.0, 7.0),
        (5.0, 0.0, 3.0),
        (5.0, 99.0, 4.0),  # outside the box: the safe value instead
        (5.0, NAN, 4.0),
        (13.0, 9.0, 11.0),
        (NAN, 9.0, 4.0),  # no read-back: the safe value, and not a target at some unknown distance
    ],
)
def test_the_last_resort_by_hand(previous: float, target: float, applied: float) -> None:
    assert BOX.toward(one(previous), one(target)).item() == applied


def test_a_float32_action_is_in_the_declared_box() -> None:
    narrow = Envelope(
        ("u",), (0.1,), (0.7,), (0.3,), (0.1,)
    )  # 0.1 and 0.3 are a little more in float32, 0.7 a little less
    wide = Envelope(("u",), (0.7,), (1.1,), (0.3,), (0.7,))
    for box in (narrow, wide):
        bounds = box.bounds(torch.zeros(1, dtype=torch.float32))
        assert bounds.low.double().item() >= box.low[0]
        assert bounds.high.double().item() <= box.high[0]
        assert bounds.rate.double().item() <= box.rate[0]
        assert bounds.high.double().item() == pytest.approx(box.high[0], rel=1e-6)


def test_rates_are_counted_from_the_read_back_and_not_from_the_last_command() -> None:
    plant = load_plant("cstr_safety")
    assert plant.safety is not None
    shield = build_stack(plant.safety, plant.spec)
    for cycle in range(3):  # the jacket stays at 300 K, whatever it is told
        context = ShieldContext(
            measurement=torch.tensor([[0.87, 324.0 + 0.01 * cycle]], dtype=torch.float64),
            quality=torch.zeros(1, 2, dtype=torch.uint8),
            age=torch.zeros(1, 2, dtype=torch.float64),
            previous=one(300.0),
            fallback=one(299.0),
            period=26.0,
        )
        verdict = shield(context, one(309.0))
        assert verdict.action.item() == 303.0
        assert verdict.reasons_of(0) == ("rate:Tc",)
