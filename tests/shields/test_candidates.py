"""Candidates: the first that passes unaltered is taken, and none where the plant, not the proposal, is the reason."""

from __future__ import annotations

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fpo_pilot.plants.load import load_plant
from fpo_pilot.plants.prediction import Prediction
from fpo_pilot.shields import Judged, ShieldContext, ShieldStack, build_stack, judge
from fpo_pilot.specs.safety import Interlock

PLANT, LATE = load_plant("cstr_safety"), load_plant("cstr_late")
ANY = st.floats(width=64)


def stack(plant=PLANT) -> ShieldStack:
    assert plant.safety is not None
    return build_stack(plant.safety, plant.spec, dynamics=Prediction(plant))


def context(temperature: float = 324.0, last: float = 300.0, *, ca: float = 0.87) -> ShieldContext:
    return ShieldContext(
        measurement=torch.tensor([[ca, temperature]], dtype=torch.float64),
        quality=torch.zeros(1, 2, dtype=torch.uint8),
        age=torch.zeros(1, 2, dtype=torch.float64),
        previous=torch.tensor([[last]], dtype=torch.float64),
        fallback=torch.tensor([[299.0]], dtype=torch.float64),
        period=26.0,
    )


def ask(shield: ShieldStack, given_context: ShieldContext, *proposals: float) -> Judged:
    return judge(shield, given_context, torch.tensor([[[value] for value in proposals]], dtype=torch.float64))


def active(judged: Judged) -> set[str]:
    return set(judged.verdict.reasons_of(0))


def test_a_single_proposal_is_judged_as_ever() -> None:
    proposal = torch.tensor([[305.0]], dtype=torch.float64)
    judged = judge(stack(), context(), proposal)
    alone = stack()(context(), proposal)
    assert judged.verdict.action.tolist() == alone.action.tolist() == [[303.0]]
    assert judged.index.tolist() == [0]
    assert judged.proposal is proposal


def test_the_first_candidate_that_passes_is_taken_whole_and_said() -> None:
    judged = ask(stack(), context(), 309.0, 306.0, 302.0, 299.0)
    assert judged.index.tolist() == [2]
    assert judged.verdict.action.tolist() == judged.proposal.tolist() == [[302.0]]
    assert active(judged) == {"resampled"}
    assert judged.verdict.altered(judged.proposal).tolist() == [False]


def test_a_first_candidate_that_passes_is_not_replaced() -> None:
    judged = ask(stack(), context(), 301.0, 302.0)
    assert judged.verdict.action.tolist() == [[301.0]]
    assert active(judged) == set()


def test_where_none_passes_the_verdict_on_the_first_stands() -> None:
    judged = ask(stack(), context(), 309.0, 306.0, math.nan)
    assert judged.index.tolist() == [0]
    assert judged.verdict.action.tolist() == [[303.0]]
    assert active(judged) == {"rate:Tc"}


def test_a_lost_reading_and_a_latched_interlock_are_not_answered_by_another_proposal() -> None:
    lost = ask(stack(), context(math.nan), 309.0, 300.0)
    assert lost.verdict.action.tolist() == [[299.0]]
    assert "resampled" not in active(lost)
    shield = stack()
    for _ in range(3):
        latched = ask(shield, context(349.0), 309.0, 300.0)
    assert latched.verdict.action.tolist() == [[297.0]]
    assert "resampled" not in active(latched)
    broken = ask(stack(), context(), math.nan, 300.0)
    assert "resampled" not in active(broken)


def test_what_the_model_refuses_gives_way_to_a_candidate_that_it_certifies() -> None:
    hot = (334.0, 300.0)
    shields = stack(LATE), stack(LATE)
    for shield in shields:
        shield.reset()  # a simulated plant starts
    alone = shields[0](context(*hot), torch.tensor([[303.0]], dtype=torch.float64))
    assert alone.action.item() < 303.0  # the model refuses it
    cold = ask(shields[1], context(*hot), 303.0, 302.9, 297.0)
    assert cold.verdict.action.tolist() == [[297.0]]
    assert active(cold) == {"resampled"}
    assert cold.verdict.alpha is not None
    assert cold.verdict.alpha.tolist() == [1.0]


def test_the_shield_advances_once_however_many_candidates_there_are() -> None:
    """An interlock that wants two samples in a row does not count candidates."""
    rule = Interlock(id="HOT", trip_when="T >= 345 K", reset_when="T < 335 K", samples=2, set={"Tc": 290.0})
    assert PLANT.safety is not None
    shield = build_stack(PLANT.safety.model_copy(update={"interlocks": (rule,)}), PLANT.spec)
    latched = []
    for _ in range(2):
        ask(shield, context(349.0), 309.0, 308.0, 307.0, 306.0)
        assert shield.interlock is not None
        latched.append(bool(shield.interlock.latched.any()))
    assert latched == [False, True]


@settings(max_examples=200, deadline=None)
@given(ANY, ANY, ANY, ANY, ANY)
def test_whatever_the_candidates_a_finite_action_goes_out_within_box_and_rate(one, other, third, seen, last) -> None:
    action = ask(stack(), context(seen, last), one, other, third).verdict.action.item()
    assert math.isfinite(action)
    if math.isfinite(last) and 290.0 <= last <= 310.0:
        assert 290.0 <= action <= 310.0
        assert abs(action - last) <= 3.0 * (1 + 1e-12)
