"""Interlocks by hand: samples in a row, hysteresis, priority, rows of a batch, and the human who resets."""

from __future__ import annotations

import math
from itertools import count

import pytest
import torch

from fpo_pilot.errors import ShieldError
from fpo_pilot.plants.load import load_plant
from fpo_pilot.shields import ShieldContext, ShieldStack, build_stack
from fpo_pilot.specs.safety import Interlock, Vote

PLANT = load_plant("cstr_safety")
HOT = Interlock(id="HOT", trip_when="T >= 345 K", reset_when="T < 335 K", samples=2, set={"Tc": 290.0})
THIN = Interlock(id="THIN", trip_when="Ca < 0.3 mol/L", reset_when="Ca > 0.5 mol/L", set={"Tc": 305.0})
FAST = Interlock(id="FAST", trip_when="delta(T) > 5 K/step", reset_when="abs(delta(T)) < 1 K/step", set={"Tc": 290.0})


def stack(*rules: Interlock) -> ShieldStack:
    assert PLANT.safety is not None
    return build_stack(PLANT.safety.model_copy(update={"interlocks": rules}), PLANT.spec)


TICK = count()  # a reading that never changes would be taken for frozen


def step(shield: ShieldStack, *temperatures: float, ca: float = 0.87, last: float = 300.0) -> list[float]:
    rows = len(temperatures)
    noise = 1e-6 * next(TICK)
    context = ShieldContext(
        measurement=torch.tensor(
            [[ca + noise, temperature + noise] for temperature in temperatures], dtype=torch.float64
        ),
        quality=torch.zeros(rows, 2, dtype=torch.uint8),
        age=torch.zeros(rows, 2, dtype=torch.float64),
        previous=torch.full((rows, 1), last, dtype=torch.float64),
        fallback=torch.full((rows, 1), 299.0, dtype=torch.float64),
        period=26.0,
    )
    return shield(context, torch.full((rows, 1), 301.0, dtype=torch.float64)).action[:, 0].tolist()


def test_it_trips_after_the_declared_samples_in_a_row_and_not_before() -> None:
    shield = stack(HOT)
    assert [step(shield, T)[0] for T in (346.0, 340.0, 346.0, 346.0)] == [301.0, 301.0, 301.0, 297.0]


def test_the_target_is_set_by_the_layer_and_not_by_the_last_resort() -> None:
    shield = stack(HOT)
    assert [step(shield, 346.0)[0] for _ in range(2)] == [301.0, 297.0]
    assert shield.infeasible_count.tolist() == [0]


def test_a_reading_that_is_no_number_neither_counts_nor_breaks_the_count() -> None:
    shield = stack(HOT)
    assert step(shield, 346.0) == [301.0]
    assert step(shield, math.nan) == [299.0]  # integrity: the fallback
    assert step(shield, 346.0) == [297.0]


def test_each_row_of_a_batch_has_its_own_latch() -> None:
    shield = stack(HOT)
    step(shield, 346.0, 320.0)
    assert step(shield, 346.0, 346.0) == [297.0, 301.0]
    assert shield.interlock is not None
    assert shield.interlock.latched.tolist() == [[True], [False]]


def test_the_first_interlock_of_the_file_wins_over_a_later_one() -> None:
    assert step(stack(HOT.model_copy(update={"samples": 1}), THIN), 350.0, ca=0.2) == [297.0]
    assert step(stack(THIN, HOT.model_copy(update={"samples": 1})), 350.0, ca=0.2) == [303.0]


def test_a_change_since_the_last_cycle_can_trip_and_the_first_cycle_has_none() -> None:
    shield = stack(FAST)
    assert [step(shield, T)[0] for T in (324.0, 328.0, 334.0)] == [301.0, 301.0, 297.0]


def test_between_the_thresholds_and_without_a_reading_nobody_can_reset_it() -> None:
    shield = stack(HOT)
    for temperature in (346.0, 346.0, 340.0):
        step(shield, temperature)
    assert shield.reset_latch("operator").tolist() == [[False]]
    step(shield, math.nan)
    assert shield.reset_latch("operator").tolist() == [[False]]
    step(shield, 330.0)
    assert shield.reset_latch("operator", torch.tensor([False])).tolist() == [[False]]
    assert shield.reset_latch("operator", torch.tensor([True])).tolist() == [[True]]
    assert step(shield, 330.0) == [301.0]


def test_it_is_not_reset_while_what_trips_it_cannot_be_read() -> None:
    shield = stack(HOT.model_copy(update={"samples": 1, "reset_when": "Ca > 0.5 mol/L"}))
    step(shield, 346.0)
    step(shield, math.nan)  # the reset condition holds, but it may be as hot as ever
    assert shield.reset_latch("operator").tolist() == [[False]]
    step(shield, 330.0)
    assert shield.reset_latch("operator").tolist() == [[True]]


def test_the_layer_alone_refuses_a_batch_of_another_size_as_well() -> None:
    shield = stack(HOT)
    step(shield, 346.0)
    two = ShieldContext(
        measurement=torch.tensor([[0.87, 346.0]] * 2, dtype=torch.float64),
        quality=torch.zeros(2, 2, dtype=torch.uint8),
        age=torch.zeros(2, 2, dtype=torch.float64),
        previous=torch.full((2, 1), 300.0, dtype=torch.float64),
        fallback=torch.full((2, 1), 299.0, dtype=torch.float64),
        period=26.0,
    )
    assert shield.interlock is not None
    with pytest.raises(ShieldError, match="InterlockShield: found a batch of 2 rows, expected 1"):
        shield.interlock(two, two.previous)


def test_a_reset_needs_a_name() -> None:
    shield = stack(HOT)
    step(shield, 320.0)
    with pytest.raises(ShieldError, match="human"):
        shield.reset_latch(" ")


def test_a_latch_survives_a_restart_and_a_batch_of_another_size_cannot_wash_it_away() -> None:
    shield = stack(HOT)
    step(shield, 346.0)
    step(shield, 346.0)
    restarted = stack(HOT)
    restarted.load_state_dict(shield.state_dict())
    assert step(restarted, 320.0) == [297.0]
    with pytest.raises(ShieldError, match="batch of 2 rows, expected 1"):
        step(restarted, 320.0, 320.0)
    assert step(restarted, 320.0) == [297.0]
    restarted.reset()  # another plant
    assert step(restarted, 320.0) == [301.0]


def test_only_the_rows_of_the_mask_are_forgotten() -> None:
    shield = stack(HOT)
    step(shield, 346.0, 346.0)
    step(shield, 346.0, 346.0)
    shield.reset(torch.tensor([True, False]))
    assert step(shield, 320.0, 320.0) == [301.0, 297.0]


def test_a_target_outside_the_box_is_refused_when_the_shield_is_built() -> None:
    with pytest.raises(ShieldError, match=r"interlocks\.HOT\.set\.Tc: found 280"):
        stack(HOT.model_copy(update={"set": {"Tc": 280.0}}))


def test_a_condition_on_what_is_not_measured_is_refused() -> None:
    with pytest.raises(ShieldError, match="Ca_sp"):
        stack(HOT.model_copy(update={"trip_when": "Ca - Ca_sp > 0.1 mol/L"}))


def test_the_target_is_approached_at_the_rate_for_somebody_elses_action_too() -> None:
    shield = stack(HOT)
    step(shield, 346.0)
    step(shield, 346.0)
    context = ShieldContext(
        measurement=torch.tensor([[0.87, 346.0]], dtype=torch.float64),
        quality=torch.zeros(1, 2, dtype=torch.uint8),
        age=torch.zeros(1, 2, dtype=torch.float64),
        previous=torch.tensor([[300.0]], dtype=torch.float64),
        fallback=torch.tensor([[310.0]], dtype=torch.float64),
        period=26.0,
    )
    verdict = shield.enforce(context, torch.tensor([[310.0]], dtype=torch.float64))  # the incumbent's wish
    assert verdict.action.item() == 297.0
    assert "interlock:HOT" in verdict.reasons_of(0)


REDUNDANT = ("T >= 345 K", "T - 2 [K] >= 345 K", "Ca < 0.3 mol/L")


def voting(least: int, lost: str = "abstains") -> ShieldStack:
    vote = Vote(least=least, of=REDUNDANT, lost=lost)
    return stack(Interlock(id="V", vote=vote, reset_when="T < 335 K and Ca > 0.5 mol/L", set={"Tc": 290.0}))


@pytest.mark.parametrize(
    ("least", "temperature", "ca", "trips"),
    [
        (1, 345.5, 0.87, True),
        (2, 345.5, 0.87, False),
        (2, 348.0, 0.87, True),
        (2, 345.5, 0.2, True),
        (3, 348.0, 0.87, False),
        (3, 348.0, 0.2, True),
    ],
)
def test_n_of_m_conditions_trip_and_fewer_do_not(least: int, temperature: float, ca: float, trips: bool) -> None:
    shield = voting(least)
    step(shield, temperature, ca=ca)
    assert shield.interlock is not None
    assert shield.interlock.latched.tolist() == [[trips]]


@pytest.mark.parametrize(("lost", "trips"), [("abstains", False), ("trips", True)])
def test_a_lost_reading_abstains_or_trips_as_declared(lost: str, trips: bool) -> None:
    """Of 2 of 3 one condition holds and one has no reading."""
    shield = voting(2, lost)
    step(shield, 345.5, ca=math.nan)
    assert shield.interlock is not None
    assert shield.interlock.latched.tolist() == [[trips]]
    step(shield, 348.0, ca=math.nan)  # two known votes decide, whatever the lost one would say
    assert shield.interlock.latched.tolist() == [[True]]
    step(shield, 324.0, ca=math.nan)
    assert shield.reset_latch("operator").tolist() == [[False]]  # not while a reading is lost
    step(shield, 324.0)
    assert shield.reset_latch("operator").tolist() == [[True]]


def test_the_margin_of_a_vote_is_that_of_the_condition_that_decides() -> None:
    columns = [torch.tensor([value], dtype=torch.float64) for value in (0.87, 344.0, 300.0)]
    shield = voting(2)
    assert shield.interlock is not None
    _, known, excess = shield.interlock.rules[0].trip.judge(columns, columns)
    assert known.tolist() == [True]
    assert excess.item() == pytest.approx(-3.0 / 140.0)  # T − 2 K ≥ 345 K is the second to trip; T spans 140 K


def test_a_vote_that_cannot_be_won_is_refused() -> None:
    with pytest.raises(ShieldError, match="found 4 of 3 conditions"):
        voting(4)


def test_a_latch_does_not_go_to_another_rule_when_a_state_is_loaded() -> None:
    before = stack(HOT, THIN)
    step(before, 346.0)
    step(before, 346.0)
    state = before.state_dict()
    for rules in ((THIN, HOT), (HOT,), (HOT, FAST), (HOT, THIN, FAST)):
        with pytest.raises(ShieldError, match=r"other rules|with"):
            stack(*rules).load_state_dict(state)
    same = stack(HOT, THIN)
    same.load_state_dict(state)
    assert step(same, 330.0) == [297.0]
