from __future__ import annotations

import pytest
import torch

from fpo_pilot.learn.constraint import Multiplier
from fpo_pilot.specs.training import Constraint

SPEC = Constraint(limit=0.1, proportional=2.0, integral=1.0, derivative=3.0, most=5.0)


def moved(multiplier: Multiplier, *rates: float) -> list[float]:
    return [float(multiplier.move(torch.tensor(rate))) for rate in rates]


def test_the_three_parts_by_hand() -> None:
    # e .2: 2·.2 + .2 + 0; then e .3, Σ .5, rise .1: .6 + .5 + .3; then e −.1, Σ .4, no rise: −.2 + .4
    assert moved(Multiplier(SPEC), 0.3, 0.4, 0.0) == pytest.approx([0.6, 1.4, 0.2], abs=1e-6)


def test_it_is_never_negative_and_never_beyond_its_bound() -> None:
    multiplier = Multiplier(SPEC)
    assert moved(multiplier, 0.0, 0.0, 0.0) == [0.0, 0.0, 0.0]
    assert max(moved(multiplier, *[1.0] * 50)) == 5.0
    assert moved(multiplier, *[0.0] * 60)[-1] == 0.0


def test_its_state_can_be_taken_up() -> None:
    first, second = Multiplier(SPEC), Multiplier(SPEC)
    moved(first, 0.3, 0.4)
    second.load_state_dict(first.state_dict())
    assert moved(first, 0.2) == moved(second, 0.2)
