"""The barrier shield on tanks that one can compute by hand, and on the shipped four tanks."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fpo_pilot.plants.load import load_plant
from fpo_pilot.plants.prediction import Prediction
from fpo_pilot.shields import (
    BarrierShield,
    Envelope,
    ShieldContext,
    ShieldStack,
    UncertaintyPoints,
    build_stack,
    check_shield,
)
from fpo_pilot.shields.model import Estimator, Model, StateSet
from fpo_pilot.specs.safety import BarrierShield as BarrierSpec
from fpo_pilot.specs.safety import Limit

ENVELOPE = Envelope(("first", "second"), (-2.0, -2.0), (2.0, 2.0), (1.5, math.inf), (-2.0, -2.0))
LIMITS = (
    Limit(id="one", signal="one", high=10.0, kind="hard"),
    Limit(id="two", signal="two", low=-10.0, high=10.0, kind="hard"),
)
NOMINAL = UncertaintyPoints.build((1.0,), {}, (0.0, 0.0))
Step = Callable[[Tensor, Tensor, Tensor | None, Tensor | None], tuple[Tensor, Tensor]]


def step(state: Tensor, action: Tensor, disturbance: Tensor | None, parameters: Tensor | None) -> tuple[Tensor, Tensor]:
    """Both levels rise with both flows: one by u1 + u2, two by u1 − u2."""
    first, second = action.unbind(-1)
    after = torch.stack((state[:, 0] + first + second, state[:, 1] + first - second), dim=-1)
    return after, torch.zeros_like(first, dtype=torch.bool)


def bent(state: Tensor, action: Tensor, disturbance: Tensor | None, parameters: Tensor | None) -> tuple[Tensor, Tensor]:
    """As above, but the first level rises with the square of the flow as well."""
    after, trip = step(state, action, disturbance, parameters)
    return after + torch.stack((action[:, 0].square(), torch.zeros_like(action[:, 0])), dim=-1), trip


def shield(
    *, part: Step = step, parts: int = 1, decay: float = 0.5, error: float = 0.0, delay: int = 0
) -> BarrierShield:
    model = Model(part, parts)
    limits = StateSet.of_limits(LIMITS, ("one", "two"), (20.0, 20.0), {})
    estimator = Estimator(model, NOMINAL, (0, 1), delay=delay, actions=2)
    return BarrierShield(model, limits, estimator, ENVELOPE, decay=decay, error=(error,) * 3)


def context(one: float, two: float, last: tuple[float, float] = (0.0, 0.0)) -> ShieldContext:
    row = torch.tensor([[one, two]], dtype=torch.float64)
    return ShieldContext(
        row,
        torch.zeros(1, 2, dtype=torch.uint8),
        torch.zeros_like(row),
        torch.tensor([last], dtype=torch.float64),
        torch.full_like(row, math.nan),
        1.0,
    )


def flows(first: float, second: float) -> Tensor:
    return torch.tensor([[first, second]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("level", "decay", "error", "expected"),
    [
        # h = 2; a decay of 0.5 leaves h = 1 after the step, so u1 + u2 ≤ 1: (1, 1) is moved by (−0.5, −0.5)
        (8.0, 0.5, 0.0, (0.5, 0.5)),
        # all of h may be used up: u1 + u2 ≤ 2
        (8.0, 1.0, 0.0, (1.0, 1.0)),
        # an error of 0.4 is kept in hand: u1 + u2 ≤ 0.6
        (8.0, 0.5, 0.4, (0.3, 0.3)),
        # outside already: h = −1 must come back to −0.5: u1 + u2 ≤ −0.5
        (11.0, 0.5, 0.0, (-0.25, -0.25)),
    ],
)
def test_the_change_is_the_smallest_that_keeps_the_condition(
    level: float, decay: float, error: float, expected: tuple[float, float]
) -> None:
    verdict = shield(decay=decay, error=error)(context(level, 0.0), flows(1.0, 1.0))
    assert verdict.action[0].tolist() == pytest.approx(expected, abs=1e-9)
    assert verdict.feasible.all()
    moved = verdict.altered(flows(1.0, 1.0)).item()
    assert ("barrier.projected" in verdict.reasons_of(0)) == moved
    assert ("barrier.limit:one" in verdict.reasons_of(0)) == moved
    assert "barrier.limit:two" not in verdict.reasons_of(0)


def test_box_and_rate_are_part_of_the_problem_and_not_a_cut_afterwards() -> None:
    # u1 can fall from 1.5 to 0 only, so the second flow must take the whole of u1 + u2 ≤ −1 (h = −2, −1 after): (0, −1)
    verdict = shield()(context(12.0, 0.0, (1.5, 1.5)), flows(1.5, 1.5))
    assert verdict.action[0].tolist() == pytest.approx((0.0, -1.0), abs=1e-9)


def test_a_bent_model_is_tried_after_the_projection() -> None:
    # u1² + u1 + u2 ≤ 1
    verdict = shield(part=bent)(context(8.0, 0.0), flows(1.2, 0.8))
    first, second = verdict.action[0].tolist()
    assert verdict.feasible.all()
    assert first**2 + first + second <= 1.0
    assert first**2 + first + second > 0.9  # and not much less was done than is allowed
    assert shield(part=bent).holds(context(8.0, 0.0), verdict.action).all()
    assert not shield(part=bent).holds(context(8.0, 0.0), flows(1.2, 0.8)).any()


def test_the_worst_part_of_a_step_counts_and_not_its_end() -> None:
    def peaks(
        state: Tensor, action: Tensor, disturbance: Tensor | None, parameters: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        up = state[:, :1] == state[:, :1].round()  # from a whole level up by 1.25, and from there down by 1.25
        change = torch.cat((torch.where(up, 1.25, -1.25), torch.zeros_like(state[:, 1:])), dim=-1)
        return state + change.to(state.dtype), torch.zeros_like(state[:, 0], dtype=torch.bool)

    # h must not fall below half of what it was: from 4 to 2.75 it may, from 2 to 0.75 not, although it ends at 2 again
    assert shield(part=peaks, parts=2)(context(6.0, 0.0), flows(0.0, 0.0)).feasible.all()
    assert not shield(part=peaks, parts=2)(context(8.0, 0.0), flows(0.0, 0.0)).feasible.any()


def test_where_the_model_says_that_the_plant_trips_nothing_is_certified() -> None:
    def trips(
        state: Tensor, action: Tensor, disturbance: Tensor | None, parameters: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        after, _ = step(state, action, disturbance, parameters)
        return after, after[:, 0] > 8.0

    # u1 + u2 = 1.5 leads from 7 to 8.5, which the condition allows (h from 3 to 1.5) and the trip does not
    assert torch.equal(shield()(context(7.0, 0.0), flows(1.0, 0.5)).action, flows(1.0, 0.5))
    verdict = shield(part=trips)(context(7.0, 0.0), flows(1.0, 0.5))
    assert verdict.feasible.all()
    assert verdict.action.sum().item() <= 1.0


def test_where_nothing_keeps_the_condition_the_backup_acts_and_says_infeasible() -> None:
    verdict = shield()(context(30.0, 0.0), flows(1.0, 1.0))
    assert verdict.action[0].tolist() == [-1.5, -2.0]
    assert not verdict.feasible.any()
    assert {"barrier.infeasible", "barrier.backup", "barrier.limit:one"} <= set(verdict.reasons_of(0))


def test_a_proposal_that_keeps_the_condition_passes_untouched() -> None:
    asked = flows(0.3, 7.0)  # box and rate will make 2 of the second
    verdict = shield()(context(0.0, 0.0), asked)
    assert torch.equal(verdict.action, asked)
    assert verdict.margins["barrier:two"].tolist() == [pytest.approx(8.3)]


def test_a_late_reading_is_rolled_forward() -> None:
    late = shield(delay=1)
    late(context(6.0, 0.0), flows(0.0, 0.0))
    # the level was 6, and u1 + u2 = 2 was applied since: 8
    assert late(context(6.0, 0.0, (1.0, 1.0)), flows(1.0, 1.0)).action[0].tolist() == pytest.approx((0.5, 0.5))


@pytest.mark.parametrize("kind", ["raises", "nan"])
def test_a_model_that_breaks_makes_the_backup_act(kind: str) -> None:
    def broken(state: Tensor, *_: object) -> tuple[Tensor, Tensor]:
        if kind == "raises":
            raise ZeroDivisionError("no area")
        return state * math.nan, torch.zeros(len(state), dtype=torch.bool)

    layer = shield(part=broken)
    verdict = layer(context(0.0, 0.0), flows(0.1, 0.1))
    assert verdict.action[0].tolist() == [-1.5, -2.0]
    assert not verdict.feasible.any()
    assert ("barrier.raised" if kind == "raises" else "barrier.not_finite") in verdict.reasons_of(0)
    assert ("no area" in layer.last_error) == (kind == "raises")


@settings(max_examples=60, deadline=None)
@given(*(st.floats(width=64),) * 6)
def test_whatever_comes_in_the_action_is_finite(one: float, two: float, a: float, b: float, u: float, v: float) -> None:
    assert shield(part=bent)(context(one, two, (a, b)), flows(u, v)).action.isfinite().all()


def test_the_conformance_checks_pass() -> None:
    findings = check_shield(shield(part=bent, delay=1), measured=2, actions=2, normal=(-8.0, 8.0))
    assert [finding for finding in findings if not finding.passed] == []


def tanks(*, shields: tuple[str, ...] = ("barrier", "box_rate")) -> ShieldStack:
    plant = load_plant("quad_tank")
    assert plant.safety is not None
    chosen = (BarrierSpec(decay=0.2, margin={"h1": 0.002}), *plant.safety.shields[-1:])
    spec = plant.safety.model_copy(
        update={"interlocks": (), "shields": tuple(one for one in chosen if one.kind in shields)}
    )
    return build_stack(spec, plant.spec, dynamics=Prediction(plant))


@torch.inference_mode()
def overflows(shield: ShieldStack) -> float:
    """Return the share of four tanks that run over with both pumps at their maximum."""
    plant = load_plant("quad_tank")
    generator = torch.Generator().manual_seed(0)
    state = 0.1 + 0.4 * torch.rand(32, 4, generator=generator, dtype=torch.float64)
    applied = torch.full((32, 2), 5.0, dtype=torch.float64)
    tripped = torch.zeros(32, dtype=torch.bool)
    for _ in range(60):
        seen = ShieldContext(
            state, torch.zeros(32, 4, dtype=torch.uint8), torch.zeros_like(state), applied, applied, plant.period
        )
        applied = shield(seen, torch.full_like(applied, 10.0)).action
        state, trip = plant.step(state, applied)
        tripped |= trip
    return float(tripped.double().mean())


def test_four_tanks_do_not_run_over_behind_it_and_do_without_it() -> None:
    assert overflows(tanks(shields=("box_rate",))) > 0.5
    assert overflows(tanks()) == 0.0
