"""The integrity layer alone, by hand: held values, ages that are no number, proposals of several actions, the kind of fallback."""

from __future__ import annotations

import math
from typing import Literal

import pytest
import torch

from fpo_pilot.shields import Envelope, FallbackAction, IntegrityShield, SensorCheck, ShieldContext

ENVELOPE = Envelope(("u", "v"), (0.0, 0.0), (10.0, 10.0), (1.0, 1.0), (2.0, 3.0))
GOOD, HELD = 0, 2


def shield(stale_after: float | None, kind: Literal["incumbent", "value"] = "incumbent") -> IntegrityShield:
    return IntegrityShield((SensorCheck("level", 0.0, 5.0, stale_after),), FallbackAction(kind, ENVELOPE))


def context(quality: int = GOOD, age: float = 0.0, reading: float = 1.0) -> ShieldContext:
    return ShieldContext(
        measurement=torch.tensor([[reading]], dtype=torch.float64),
        quality=torch.tensor([[quality]], dtype=torch.uint8),
        age=torch.tensor([[age]], dtype=torch.float64),
        previous=torch.tensor([[5.0, 5.0]], dtype=torch.float64),
        fallback=torch.tensor([[6.0, 7.0]], dtype=torch.float64),
        period=1.0,
    )


def passes(layer: IntegrityShield, seen: ShieldContext, asked: tuple[float, float] = (5.5, 5.5)) -> bool:
    action = layer(seen, torch.tensor([asked], dtype=torch.float64)).action[0].tolist()
    assert action in ([*asked], [6.0, 7.0])
    return action == [*asked]


def test_a_held_value_is_believed_only_where_its_age_is_limited() -> None:
    assert passes(shield(3.0), context(HELD, 3.0))
    assert not passes(shield(3.0), context(HELD, 3.1))
    assert not passes(shield(None), context(HELD, 0.5))
    assert passes(shield(None), context(GOOD, 1e9))  # nothing was said of age


@pytest.mark.parametrize("stale_after", [3.0, None])
def test_an_age_that_is_no_number_is_not_young(stale_after: float | None) -> None:
    assert not passes(shield(stale_after), context(age=math.nan))


def test_one_action_that_is_no_number_spoils_the_proposal() -> None:
    assert passes(shield(3.0), context())
    assert not passes(shield(3.0), context(), (5.5, math.nan))


def test_a_fallback_of_the_kind_value_asks_no_controller() -> None:
    asked = torch.tensor([[5.5, 5.5]], dtype=torch.float64)
    verdict = shield(3.0, "value")(context(reading=math.nan), asked)
    assert verdict.action[0].tolist() == [2.0, 3.0]
    assert {"integrity.nan:level", "fallback.value"} == set(verdict.reasons_of(0))
