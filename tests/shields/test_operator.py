"""What a person sets by hand: over every layer but latched interlocks, box and rate, and never in silence."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fpo_pilot.errors import ShieldError
from fpo_pilot.plants.load import load_plant
from fpo_pilot.plants.prediction import Prediction
from fpo_pilot.shields import BoxRateShield, ShieldContext, ShieldStack, Verdict, build_stack

PLANT = load_plant("cstr_safety")
LATE = load_plant("cstr_late")
TWO = load_plant("vdv_cstr")
ANY = st.floats(width=64)


def stack(plant=PLANT) -> ShieldStack:
    assert plant.safety is not None
    return build_stack(plant.safety, plant.spec, dynamics=Prediction(plant))


def context(temperature: float, last: float, operator: float | None) -> ShieldContext:
    return ShieldContext(
        measurement=torch.tensor([[0.87, temperature]], dtype=torch.float64),
        quality=torch.zeros(1, 2, dtype=torch.uint8),
        age=torch.zeros(1, 2, dtype=torch.float64),
        previous=torch.tensor([[last]], dtype=torch.float64),
        fallback=torch.tensor([[299.0]], dtype=torch.float64),
        period=26.0,
        operator=None if operator is None else torch.tensor([[operator]], dtype=torch.float64),
    )


def ask(
    shield: ShieldStack, temperature: float, last: float, operator: float | None, proposal: float = 300.0
) -> Verdict:
    return shield(context(temperature, last, operator), torch.tensor([[proposal]], dtype=torch.float64))


def active(verdict: Verdict) -> set[str]:
    return set(verdict.reasons_of(0))


def test_a_value_set_by_hand_is_applied_at_the_rate_limit_and_named() -> None:
    verdict = ask(stack(), 324.0, 300.0, 305.0)
    assert verdict.action.tolist() == [[303.0]]
    assert active(verdict) == {"operator:Tc"}
    assert verdict.feasible.tolist() == [True]
    assert "operator:Tc" not in ask(stack(), 324.0, 300.0, None).reasons


def test_a_value_that_is_no_number_sets_nothing() -> None:
    for value in (math.nan, math.inf, -math.inf):
        verdict = ask(stack(), 324.0, 300.0, value)
        assert verdict.action.tolist() == [[300.0]]
        assert active(verdict) == set()


def test_it_overrides_the_fallback_of_a_lost_reading_and_says_so() -> None:
    verdict = ask(stack(), math.nan, 300.0, 302.0)
    assert verdict.action.tolist() == [[302.0]]
    assert {"operator:Tc", "integrity.nan:T"} <= active(verdict)
    assert verdict.feasible.tolist() == [True]


def test_it_overrides_the_layer_that_looks_ahead_and_says_so() -> None:
    hot, proposal = 334.0, 310.0
    shield = stack(LATE)
    for _ in range(3):
        alone = ask(shield, hot, 300.0, None, proposal)
    assert alone.action.item() < 303.0
    verdict = ask(shield, hot, 300.0, proposal, proposal)
    assert verdict.action.tolist() == [[303.0]]
    assert "overridden:predictive" in active(verdict)


def test_it_does_not_override_a_latched_interlock() -> None:
    shield = stack()
    for _ in range(3):
        verdict = ask(shield, 349.0, 300.0, 305.0)
    assert verdict.action.tolist() == [[297.0]]
    assert not any(code.startswith(("reverify:", "overridden:")) for code in active(verdict))
    assert shield.holds(context(349.0, 300.0, 305.0), torch.tensor([[303.0]], dtype=torch.float64)).tolist() == [False]
    assert any(code.startswith("interlock:") for code in active(verdict))


def test_actuators_that_nobody_sets_stay_with_the_stack() -> None:
    shield = stack(TWO)
    measured = len(shield.measured)
    state = torch.tensor([[2.14, 1.09, 114.2, 112.9][:measured]], dtype=torch.float64)
    given_context = ShieldContext(
        measurement=state,
        quality=torch.zeros(1, measured, dtype=torch.uint8),
        age=torch.zeros(1, measured, dtype=torch.float64),
        previous=torch.tensor([[14.19, -1113.5]], dtype=torch.float64),
        fallback=torch.tensor([[14.19, -1113.5]], dtype=torch.float64),
        period=18.0,
        operator=torch.tensor([[math.nan, -1300.0]], dtype=torch.float64),
    )
    verdict = shield(given_context, torch.tensor([[15.0, -1000.0]], dtype=torch.float64))
    assert verdict.action.tolist() == [[15.0, -1300.0]]
    assert active(verdict) == {"operator:Q"}


def test_the_incumbent_is_overridden_as_well() -> None:
    shield = stack()
    ask(shield, 324.0, 300.0, 305.0)
    asked = torch.tensor([[298.0]], dtype=torch.float64)
    assert shield.enforce(context(324.0, 300.0, 305.0), asked).action.tolist() == [[303.0]]
    assert shield.enforce(context(324.0, 300.0, None), asked).action.tolist() == [[298.0]]


def test_a_wrong_shape_is_refused() -> None:
    one = context(324.0, 300.0, 305.0)
    wrong = ShieldContext(**{**vars(one), "operator": torch.zeros(1, 2, dtype=torch.float64)})
    with pytest.raises(ShieldError, match=r"context\.operator: found shape"):
        stack()(wrong, torch.tensor([[300.0]], dtype=torch.float64))


@settings(max_examples=200, deadline=None)
@given(ANY, ANY, ANY, ANY)
def test_whatever_a_person_sets_a_finite_action_goes_out_within_box_and_rate(operator, proposal, seen, last) -> None:
    action = ask(stack(), seen, last, operator, proposal).action.item()
    assert math.isfinite(action)
    if math.isfinite(last) and 290.0 <= last <= 310.0:
        assert 290.0 <= action <= 310.0
        assert abs(action - last) <= 3.0 * (1 + 1e-12)


def test_actuators_that_nobody_sets_get_the_last_resort_where_the_whole_is_not_certified() -> None:
    shield = stack(TWO)
    measured = len(shield.measured)

    class Refuses(BoxRateShield):
        """Any layer whose promise the person breaks: here nothing is kept."""

        def holds(self, context: ShieldContext, action: torch.Tensor) -> torch.Tensor:
            return torch.zeros(len(action), dtype=torch.bool)

    shield.stages = (*shield.stages[:-1], ("predictive", Refuses(shield.envelope)), shield.stages[-1])
    given_context = ShieldContext(
        measurement=torch.tensor([[2.14, 1.09, 114.2, 112.9][:measured]], dtype=torch.float64),
        quality=torch.zeros(1, measured, dtype=torch.uint8),
        age=torch.zeros(1, measured, dtype=torch.float64),
        previous=torch.tensor([[14.19, -1113.5]], dtype=torch.float64),
        fallback=torch.tensor([[13.0, -1200.0]], dtype=torch.float64),
        period=18.0,
        operator=torch.tensor([[math.nan, -1300.0]], dtype=torch.float64),
    )
    verdict = shield(given_context, torch.tensor([[15.0, -1000.0]], dtype=torch.float64))
    resort, _ = shield.resort.choose(given_context, torch.float64)
    assert verdict.action[0].tolist() == [
        shield.envelope.toward(given_context.previous, resort)[0, 0].item(),
        -1300.0,
    ]
    assert verdict.action[0, 0].item() != 15.0
    assert verdict.feasible.tolist() == [False]
    assert "overridden:predictive" in active(verdict)
    assert shield.infeasible_count.tolist() == [1]
