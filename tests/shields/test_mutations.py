"""Each layer earns its place: a property that the whole stack has is lost when the layer is taken out."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from fpo_pilot.plants.load import load_plant
from fpo_pilot.shields import ShieldContext, ShieldStack, Verdict, build_stack

PLANT = load_plant("cstr_safety")


def stack(*, without: str = "") -> ShieldStack:
    assert PLANT.safety is not None
    whole = build_stack(PLANT.safety, PLANT.spec)
    assert [name for name, _ in whole.stages] == ["integrity", "interlock", "box_rate"]
    whole.stages = tuple((name, stage) for name, stage in whole.stages if name != without)
    return whole


def ask(
    shield: ShieldStack, proposal: float, temperature: float = 324.0, last: float = 300.0, ca: float = 0.87
) -> Verdict:
    context = ShieldContext(
        measurement=torch.tensor([[ca, temperature]], dtype=torch.float64),
        quality=torch.zeros(1, 2, dtype=torch.uint8),
        age=torch.zeros(1, 2, dtype=torch.float64),
        previous=torch.tensor([[last]], dtype=torch.float64),
        fallback=torch.tensor([[299.0]], dtype=torch.float64),
        period=26.0,
    )
    return shield(context, torch.tensor([[proposal]], dtype=torch.float64))


def believes_no_broken_sensor(shield: ShieldStack) -> None:
    assert ask(shield, 302.0, temperature=math.nan).action.item() == 299.0


def obeys_the_interlock(shield: ShieldStack) -> None:
    for _ in range(5):
        verdict = ask(shield, 302.0, temperature=346.0)
    assert verdict.action.item() == 297.0


def goes_as_far_toward_the_proposal_as_the_rate_allows(shield: ShieldStack) -> None:
    verdict = ask(shield, 309.0)
    assert verdict.action.item() == 303.0
    assert verdict.feasible.all()


PROPERTIES = {
    "integrity": believes_no_broken_sensor,
    "interlock": obeys_the_interlock,
    "box_rate": goes_as_far_toward_the_proposal_as_the_rate_allows,
}


@pytest.mark.parametrize("layer", PROPERTIES)
def test_the_whole_stack_has_the_property_and_without_the_layer_it_is_lost(layer: str) -> None:
    prove: Callable[[ShieldStack], None] = PROPERTIES[layer]
    prove(stack())
    with pytest.raises(AssertionError):
        prove(stack(without=layer))


def test_without_any_layer_the_verification_alone_still_keeps_box_and_rate() -> None:
    shield = stack()
    shield.stages = ()
    for proposal in (math.nan, math.inf, 1e38, 309.0, 200.0):
        verdict = ask(shield, proposal)
        assert abs(verdict.action.item() - 300.0) <= 3.0
        assert not verdict.feasible.any()
    assert shield.infeasible_count.tolist() == [5]


def test_without_the_verification_a_broken_last_stage_would_reach_the_actuator(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(context: ShieldContext, proposal: torch.Tensor) -> Verdict:
        return Verdict(proposal + 50.0, {}, torch.zeros(1), torch.ones(1, dtype=torch.bool))

    shield = stack()
    monkeypatch.setattr(type(shield.stages[-1][1]), "__call__", staticmethod(broken))
    caught = ask(shield, 300.0)
    assert caught.action.item() == 299.0  # the fallback
    assert {"reverify:envelope", "reverify:box_rate"} <= set(caught.reasons_of(0))
    monkeypatch.setattr(ShieldStack, "_verify", lambda *_: {"envelope": torch.ones(1, dtype=torch.bool)})
    assert ask(shield, 300.0).action.item() == 350.0
