"""The predictive shield on a plant that one can compute by hand, and what becomes of a model that breaks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fpo_pilot.errors import ShieldError
from fpo_pilot.shields import Envelope, PredictiveShield, ShieldContext, UncertaintyPoints, check_shield
from fpo_pilot.shields.model import Estimator, Lookahead, Model, StateSet
from fpo_pilot.specs.safety import Limit, StateBounds

# The level changes by gain · inflow in a step, and the inflow by at most 0.5 a step; the backup is full outflow.
ENVELOPE = Envelope(("inflow",), (-1.0,), (1.0,), (0.5,), (-1.0,))
LIMITS = (Limit(id="overflow", signal="level", high=10.0, kind="hard"),)
NOMINAL = UncertaintyPoints.build((1.0,), {}, (0.0,))

Step = Callable[[Tensor, Tensor, Tensor | None, Tensor | None], tuple[Tensor, Tensor]]


def step(state: Tensor, action: Tensor, disturbance: Tensor | None, parameters: Tensor | None) -> tuple[Tensor, Tensor]:
    assert parameters is not None
    return state + parameters * action, torch.zeros_like(state[:, 0], dtype=torch.bool)


def shield(
    points: UncertaintyPoints = NOMINAL,
    *,
    part: Step = step,
    parts: int = 1,
    delay: int = 0,
    candidates: int = 5,
    **options,
) -> PredictiveShield:
    model = Model(part, parts)
    lookahead = Lookahead(
        model,
        StateSet.of_limits(LIMITS, ("level",), (20.0,), options.pop("margin", {})),
        StateSet.of_box({"level": StateBounds(high=options.pop("terminal", 9.0))}, ("level",), (20.0,)),
        ENVELOPE,
        options.pop("horizon", 6),
    )
    return PredictiveShield(
        lookahead,
        Estimator(model, points, (0,), delay=delay, actions=1),
        tolerance=(1e-6,),
        candidates=candidates,
        **options,
    )


def context(level: float, last: float = 1.0, *, rows: int = 1) -> ShieldContext:
    def column(value: float) -> Tensor:
        return torch.full((rows, 1), value, dtype=torch.float64)

    return ShieldContext(
        column(level), torch.zeros(rows, 1, dtype=torch.uint8), column(0.0), column(last), column(math.nan), 1.0
    )


def inflow(value: float, *, rows: int = 1) -> Tensor:
    return torch.full((rows, 1), value, dtype=torch.float64)


@pytest.mark.parametrize(
    ("level", "alpha", "action"),
    [
        # From an inflow of 1 the backup makes 0.5, 0, −0.5, −1: with u = 1 the level rises by 1 + 0.5 = 1.5 before it falls.
        (8.5, 1.0, 1.0),
        # u = 0.875: 0.875 + 0.375 = 1.25; 8.75 + 1.25 = 10 exactly
        (8.75, 0.75, 0.875),
        # u = 0.75: 0.75 + 0.25 = 1
        (9.0, 0.5, 0.75),
        # u = 0.5, the backup itself: 0.5, then 0
        (9.5, 0.0, 0.5),
    ],
)
def test_the_share_of_the_proposal_is_the_greatest_that_keeps_the_limit(
    level: float, alpha: float, action: float
) -> None:
    verdict = shield()(context(level), inflow(1.0))
    assert verdict.alpha is not None
    assert verdict.alpha.item() == alpha
    assert verdict.action.item() == action
    assert verdict.feasible.all()
    assert verdict.margins["predictive:overflow"].item() == pytest.approx(0.0)
    assert ("predictive.limit:overflow" in verdict.reasons_of(0)) == (alpha < 1.0)


def test_where_even_the_backup_passes_the_limit_it_acts_and_says_infeasible() -> None:
    verdict = shield()(context(9.6), inflow(1.0))
    assert verdict.action.item() == 0.5
    assert not verdict.feasible.any()
    assert {"predictive.infeasible", "predictive.backup"} <= set(verdict.reasons_of(0))


def test_a_roll_out_that_does_not_reach_the_terminal_set_is_not_certified() -> None:
    # From 8.5 with u = 1 the levels are 9.5, 10, 10, 9.5, 8.5: in the set (9 and below) after 5 steps, with 4 of the backup.
    assert shield(horizon=4)(context(8.5), inflow(1.0)).action.item() == 1.0
    short = shield(horizon=3)(context(8.5), inflow(1.0))
    assert short.action.item() < 1.0
    assert "predictive.terminal" in short.reasons_of(0)
    assert "predictive.limit:overflow" not in short.reasons_of(0)


def test_every_corner_must_hold() -> None:
    # With a gain of 1.1, u = 1 rises by 1.65: allowed from 8.35 only, and u = 0.875 by 1.375 from 8.625.
    wide = UncertaintyPoints.build((1.0,), {0: 0.1}, (0.0,))
    assert shield(wide)(context(8.34), inflow(1.0)).action.item() == 1.0
    assert shield(wide)(context(8.36), inflow(1.0)).action.item() == 0.875
    # and with a reading that may be 0.2 too low, all that 0.2 earlier
    wider = UncertaintyPoints.build((1.0,), {0: 0.1}, (0.2,))
    assert wider.count == 4
    assert shield(wider)(context(8.14), inflow(1.0)).action.item() == 1.0
    assert shield(wider)(context(8.16), inflow(1.0)).action.item() == 0.875


def test_a_model_that_is_worst_inside_the_set_is_found_by_the_samples() -> None:
    def humped(
        state: Tensor, action: Tensor, disturbance: Tensor | None, parameters: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        assert parameters is not None
        gain = 1.0 + 20.0 * (0.01 - (parameters - 1.0).square())  # 1 at both corners, 1.2 in the middle
        return state + gain * action, torch.zeros_like(state[:, 0], dtype=torch.bool)

    corners = UncertaintyPoints.build((1.0,), {0: 0.1}, (0.0,))
    inside = UncertaintyPoints.build((1.0,), {0: 0.1}, (0.0,), samples=8)
    assert (corners.count, inside.count) == (2, 10)
    assert shield(corners, part=humped)(context(8.5), inflow(1.0)).action.item() == 1.0
    assert shield(inside, part=humped)(context(8.5), inflow(1.0)).action.item() < 1.0  # 1.5 · 1.2 > 1.5


def test_the_terminal_set_counts_only_once_the_backup_is_at_its_targets() -> None:
    # From 8.8, u = 1 leads to 9.8, in the set; but an inflow of 0.5 follows, to 10.3.
    verdict = shield(terminal=9.8)(context(8.8), inflow(1.0))
    assert verdict.action.item() < 1.0
    assert "predictive.limit:overflow" in verdict.reasons_of(0)


def test_where_the_model_says_that_the_plant_trips_nothing_is_certified() -> None:
    def trips(
        state: Tensor, action: Tensor, disturbance: Tensor | None, parameters: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        after, _ = step(state, action, disturbance, parameters)
        return after, after[:, 0] > 9.2

    # From 8.5: u = 0.625 leads to 9.125 and then to 9.25, and trips; u = 0.5 leads to 9 and stays there for a step.
    assert shield()(context(8.5), inflow(1.0)).action.item() == 1.0
    verdict = shield(part=trips)(context(8.5), inflow(1.0))
    assert verdict.action.item() == 0.5
    assert verdict.feasible.all()


def test_a_peak_between_two_control_steps_counts() -> None:
    def halves(
        state: Tensor, action: Tensor, disturbance: Tensor | None, parameters: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        up = state[:, :1] == state[:, :1].round()  # from a whole level up by 1.25, and from there down by 1.25
        return torch.where(up, state + 1.25, state - 1.25), torch.zeros_like(state[:, 0], dtype=torch.bool)

    assert shield(part=halves, parts=2)(context(8.0), inflow(1.0)).feasible.all()
    assert not shield(part=halves, parts=2)(context(9.0), inflow(1.0)).feasible.any()


def test_a_margin_is_kept() -> None:
    assert shield(margin={"level": 0.3})(context(8.2), inflow(1.0)).action.item() == 1.0
    assert shield(margin={"level": 0.3})(context(8.21), inflow(1.0)).action.item() < 1.0


def test_a_backup_that_was_not_certified_leaves_nothing_to_inherit() -> None:
    layer = shield(horizon=0)  # too short for any certificate while the backup is on its way
    assert layer(context(5.0), inflow(1.0)).action.item() == 0.5
    second = layer(context(5.5, 0.5), inflow(0.5))
    assert not second.feasible.any()
    assert "predictive.inherited" not in second.reasons_of(0)


def test_a_late_reading_is_rolled_forward_with_what_was_sent() -> None:
    late = shield(delay=2)
    late.reset()
    late(context(5.0, 0.0), inflow(0.0))  # the first reading is taken as fresh
    late(context(5.0, 0.5), inflow(0.5))  # one step since: 5 + 0.5
    # two steps, 0.5 and 1: the level is 8.5 where the reading is 7
    assert late(context(7.0, 1.0), inflow(1.0)).action.item() == 1.0
    late.reset()
    late(context(5.0, 0.0), inflow(0.0))
    late(context(5.0, 0.5), inflow(0.5))
    assert late(context(7.01, 1.0), inflow(1.0)).action.item() == 0.875


def test_what_was_sent_is_rolled_forward_in_the_order_in_which_it_was_sent() -> None:
    def halves(
        state: Tensor, action: Tensor, disturbance: Tensor | None, parameters: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        return 0.5 * state + action, torch.zeros_like(state[:, 0], dtype=torch.bool)

    estimator = Estimator(Model(halves, 1), NOMINAL, (0,), delay=2, actions=1)
    for last in (0.0, 0.2, 0.8):
        estimator.advance(context(4.0, last))
    # first 0.2, then 0.8: 4 / 2 + 0.2 = 2.2, and 2.2 / 2 + 0.8 = 1.9
    assert estimator.states(context(4.0, 0.8), inflow(0.0)).tolist() == [[[pytest.approx(1.9)]]]


def test_a_certified_proposal_passes_untouched_even_where_box_and_rate_have_yet_to_cut_it() -> None:
    verdict = shield()(context(2.0, 0.0), inflow(7.0))
    assert verdict.action.item() == 7.0
    assert verdict.alpha is not None
    assert verdict.alpha.item() == 1.0
    assert shield().holds(context(2.0, 0.0), verdict.action).all()
    assert not shield().holds(context(9.6, 1.0), verdict.action).any()


def test_the_backup_inherits_the_certificate_of_what_was_applied_but_not_from_a_reading_that_cannot_be() -> None:
    noisy = UncertaintyPoints.build((1.0,), {}, (0.3,))
    layer = shield(noisy)
    first = layer(context(8.2), inflow(1.0))  # true level up to 8.5: certified, level 9.2 ± 0.3 next
    assert first.action.item() == 1.0
    # A reading of 9.45 could mean 9.75, from where 0.5 passes the limit; but the level is at most 9.5.
    second = layer(context(9.45, 1.0), inflow(1.0))
    assert second.action.item() == 0.5
    assert second.feasible.all()
    assert "predictive.inherited" in second.reasons_of(0)
    assert layer.holds(context(9.45, 1.0), inflow(0.5)).tolist() == [False]  # of another cycle nothing is inherited

    for level, last in ((9.9, 1.0), (9.45, 0.9)):  # cannot be; or something else was applied
        layer.reset()
        layer(context(8.2), inflow(1.0))
        lost = layer(context(level, last), inflow(1.0))
        assert not lost.feasible.any()
        assert "predictive.inherited" not in lost.reasons_of(0)


def test_without_a_reading_the_backup_acts_and_is_infeasible_and_the_next_reading_must_fit_the_tail() -> None:
    # Two steps on the level is from 7.7 + 0.9 + 0.4 = 9 to 9.6. A reading of 9.85 may be 9.55, and may be 10.15, which the backup's −0.1
    # does not bring below 10: only the tail speaks for it. One of 15 cannot be.
    for level, stands in ((9.85, True), (15.0, False)):
        layer = shield(UncertaintyPoints.build((1.0,), {}, (0.3,)))
        layer(context(8.0), inflow(0.9))
        blind = layer(context(math.nan, 0.9), inflow(0.9))
        assert blind.action.item() == pytest.approx(0.4)
        assert not blind.feasible.any()
        assert {"predictive.infeasible", "predictive.not_finite"} <= set(blind.reasons_of(0))
        after = layer(context(level, 0.4), inflow(0.9))
        assert after.feasible.item() is stands, level
        assert ("predictive.inherited" in after.reasons_of(0)) is stands


def test_an_inherited_certificate_says_where_the_plant_must_be_in_every_later_cycle() -> None:
    noisy = UncertaintyPoints.build((1.0,), {}, (0.3,))
    layer = shield(noisy)
    layer(context(8.2), inflow(1.0))  # level up to 8.5; the backup makes +1, +0.5, 0, −0.5: at most 9.5, 10, 10, 9.5
    assert layer(context(9.45, 1.0), inflow(1.0)).feasible.all()  # inherited
    # Two cycles on the level is at most 10, and at least 9.4: a reading of 10.4 cannot be, although the reading before was near it.
    lost = layer(context(10.4, 0.5), inflow(1.0))
    assert not lost.feasible.any()
    assert "predictive.inherited" not in lost.reasons_of(0)


def test_beyond_a_limit_wherever_in_its_error_the_plant_is_nothing_is_inherited() -> None:
    wide = UncertaintyPoints.build((1.0,), {}, (0.3,))
    layer = shield(wide, margin={"level": 1.0})  # kept: 9
    layer(context(7.1), inflow(1.0))
    assert "predictive.inherited" in layer(context(8.6, 1.0), inflow(1.0)).reasons_of(0)  # 8.3 may be inside
    layer.reset()
    layer(context(7.1), inflow(1.0))
    assert not layer(context(9.35, 1.0), inflow(1.0)).feasible.any()  # at least 9.05


def test_a_model_that_is_gone_for_good_is_infeasible_in_every_cycle() -> None:
    alive = [True]

    def dying(state: Tensor, *rest: Tensor | None) -> tuple[Tensor, Tensor]:
        if not alive[0]:
            raise ZeroDivisionError
        return step(state, *rest)

    layer = shield(part=dying)
    action = layer(context(5.0), inflow(0.5)).action
    alive[0] = False
    for _ in range(5):
        verdict = layer(context(5.0, action.item()), inflow(0.5))
        assert not verdict.feasible.any()
        assert "predictive.raised" in verdict.reasons_of(0)
        action = verdict.action
    assert layer.failures.tolist() == [5]


def test_on_a_running_plant_a_late_reading_certifies_nothing_until_it_can_be_rolled_forward() -> None:
    layer = shield(delay=2)
    feasible = [bool(layer(context(5.0, 0.0), inflow(0.0)).feasible) for _ in range(4)]
    assert feasible == [False, False, True, True]
    layer.reset()  # a simulated plant starts: its first reading is fresh
    assert bool(layer(context(5.0, 0.0), inflow(0.0)).feasible)


def test_a_reading_that_integrity_does_not_believe_certifies_nothing() -> None:
    layer = shield()
    given = context(5.0)
    assert layer(given, inflow(0.5)).feasible.all()
    layer.reset()
    distrusted = replace(given, sound=torch.zeros(1, 1, dtype=torch.bool))
    assert not layer(distrusted, inflow(0.5)).feasible.any()


def test_a_limit_that_single_precision_cannot_say_is_rounded_inward() -> None:
    limit = Limit(id="T", signal="level", high=350.1, kind="hard")  # float32: 350.1000061
    bounds = StateSet.of_limits((limit,), ("level",), (100.0,), {})
    assert bounds.distance(torch.tensor([[350.1]], dtype=torch.float32)).item() < 0.0


def nan_above_five(
    state: Tensor, action: Tensor, disturbance: Tensor | None, parameters: Tensor | None
) -> tuple[Tensor, Tensor]:
    after, trip = step(state, action, disturbance, parameters)
    return torch.where(after > 5.0, math.nan, after), trip


def test_a_model_that_gives_no_number_makes_the_backup_act_and_is_counted() -> None:
    layer = shield(part=nan_above_five)
    assert layer(context(2.0, 0.0), inflow(0.5)).action.item() == 0.5
    verdict = layer(context(4.8, 0.5), inflow(1.0))
    assert verdict.action.item() == 0.0
    assert {"predictive.not_finite", "predictive.backup"} <= set(verdict.reasons_of(0))
    assert layer.failures.tolist() == [1]


def test_a_model_that_raises_makes_the_backup_act_and_is_counted() -> None:
    def broken(*_: object) -> tuple[Tensor, Tensor]:
        raise ZeroDivisionError("no heat of reaction")

    layer = shield(part=broken)
    verdict = layer(context(2.0, 0.0), inflow(0.5))
    assert verdict.action.item() == -0.5
    assert not verdict.feasible.any()
    assert {"predictive.raised", "predictive.infeasible"} <= set(verdict.reasons_of(0))
    assert layer.failures.tolist() == [1]
    assert "no heat of reaction" in layer.last_error


def test_a_decision_over_its_budget_becomes_the_backup_and_without_a_budget_no_clock_is_read() -> None:
    seconds = iter(range(100))
    late = shield(budget=0.5, clock=lambda: float(next(seconds)))
    verdict = late(context(2.0, 0.0), inflow(0.5))
    assert verdict.action.item() == -0.5
    assert "predictive.late" in verdict.reasons_of(0)
    assert "predictive.raised" not in verdict.reasons_of(0)

    def never() -> float:
        raise AssertionError("the clock was read")

    assert shield(clock=never)(context(2.0, 0.0), inflow(0.5)).action.item() == 0.5


def test_failures_cannot_be_asked_for_before_the_first_cycle() -> None:
    with pytest.raises(ShieldError, match="found no cycle yet"):
        _ = shield().failures


@settings(max_examples=200, deadline=None)
@given(*(st.floats(width=64),) * 3)
def test_whatever_comes_in_the_action_is_finite(level: float, last: float, proposal: float) -> None:
    layer = shield(UncertaintyPoints.build((1.0,), {0: 0.1}, (0.2,)), delay=1)
    for _ in range(3):
        assert layer(context(level, last), inflow(proposal)).action.isfinite().all()


def test_the_conformance_checks_pass() -> None:
    layer = shield(UncertaintyPoints.build((1.0,), {0: 0.1}, (0.2,)), delay=2)
    findings = check_shield(layer, measured=1, actions=1, normal=(4.0, 10.0))
    assert [finding for finding in findings if not finding.passed] == []


@pytest.mark.parametrize("rows", [1, 40])
def test_rows_that_are_judged_together_or_pruned_are_judged_as_alone(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = UncertaintyPoints.build((1.0,), {0: 0.1}, (0.2,), samples=3)
    generator = torch.Generator().manual_seed(0)
    levels = 7.0 + 3.0 * torch.rand(rows, 1, generator=generator, dtype=torch.float64)
    asked = 2.0 * torch.rand(rows, 1, generator=generator, dtype=torch.float64) - 1.0
    last = 2.0 * torch.rand(rows, 1, generator=generator, dtype=torch.float64) - 1.0

    def judged() -> list[Tensor]:
        many = context(8.0, rows=rows)
        object.__setattr__(many, "measurement", levels)
        object.__setattr__(many, "previous", last)
        verdict = shield(points)(many, asked)
        assert verdict.alpha is not None
        return [verdict.action, verdict.alpha, verdict.feasible, verdict.margin, *verdict.reasons.values()]

    dense = judged()
    monkeypatch.setattr("fpo_pilot.shields.model.search.DENSE_ROWS", 0)
    monkeypatch.setattr("fpo_pilot.shields.model.search.CHUNK_ROWS", 50)
    assert all(torch.equal(a, b) for a, b in zip(dense, judged(), strict=True))
    if rows > 1:
        assert 0.0 < dense[1].mean() < 1.0  # some were refused


@pytest.mark.parametrize("dense_rows", [0, 2048])
def test_a_pruned_search_goes_on_where_another_point_refuses(dense_rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def two_edges(
        state: Tensor, action: Tensor, disturbance: Tensor | None, parameters: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        assert parameters is not None
        # One corner rises by 3 above an inflow of 0.9, the other by 2 above 0.7: at the worst corner of u = 1, u = 0.875 is safe.
        rise = torch.where(parameters > 1.0, 3.0 * (action > 0.9), 2.0 * (action > 0.7))
        return state + rise.to(state.dtype), torch.zeros_like(state[:, 0], dtype=torch.bool)

    monkeypatch.setattr("fpo_pilot.shields.model.search.DENSE_ROWS", dense_rows)
    verdict = shield(UncertaintyPoints.build((1.0,), {0: 0.1}, (0.0,)), part=two_edges)(context(9.0), inflow(1.0))
    assert verdict.action.item() == 0.625
    assert verdict.feasible.all()
