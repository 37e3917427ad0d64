from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fpo_pilot.rollout.machine import (
    Approved,
    BlockFinished,
    Event,
    GuardFired,
    HashesSeen,
    OperatorHold,
    OperatorResume,
    RolloutState,
    Rung,
    StagePlan,
    advance,
    stage_name,
    start,
)

PLAN = StagePlan(
    (
        Rung("shadow", 0.0, 2, 5, ("s",)),
        Rung("bounded", 0.1, 2, 5, ("a", "b")),
        Rung("bounded", 0.3, 2, 5, ("a", "b"), approvals_required=1),
        Rung("full", 1.0, 2, 5, ("f",)),
    ),
    ("model", "plant", "safety"),
)
ALL = ("s", "a", "b", "f")


def passing(clock: int = 1) -> BlockFinished:
    return BlockFinished(clock, dict.fromkeys(ALL, "pass"))


def after(*events: Event, state: RolloutState | None = None) -> RolloutState:
    state = start(PLAN) if state is None else state
    for event in events:
        state, _ = advance(state, event, PLAN)
    return state


def test_it_begins_in_shadow_without_authority() -> None:
    assert stage_name(start(PLAN), PLAN) == "shadow"
    assert start(PLAN).authority == 0.0


def test_passed_gates_promote_only_after_the_least_number_of_blocks() -> None:
    assert after(passing()).rung == 0
    state, changes = advance(after(passing()), passing(), PLAN)
    assert (state.rung, state.authority, state.blocks) == (1, 0.1, 0)
    assert [(c.from_stage, c.to_stage, c.authority_to) for c in changes] == [("shadow", "bounded", 0.1)]


@pytest.mark.parametrize("verdict", ["inconclusive", "missing"])
def test_a_gate_that_is_not_decided_or_not_reported_never_promotes(verdict: str) -> None:
    verdicts = {} if verdict == "missing" else {"s": "inconclusive"}
    state = after(*[BlockFinished(1, verdicts)] * 4)  # type: ignore[arg-type]
    assert state.rung == 0
    state, changes = advance(state, BlockFinished(1, verdicts), PLAN)  # type: ignore[arg-type]
    assert stage_name(state, PLAN) == "hold"
    assert "no decision after 5 blocks: s" in changes[0].reason


def test_one_passed_gate_of_two_does_not_promote() -> None:
    state = after(passing(), passing(), *[BlockFinished(1, {"a": "pass", "b": "inconclusive"})] * 3)
    assert state.rung == 1


def test_a_rung_that_asks_for_approval_waits_for_it() -> None:
    state = after(*[passing()] * 4)
    assert state.rung == 2
    assert after(*[passing()] * 3, state=state).rung == 2
    approved = after(passing(), Approved(1, "safety"), passing(), state=state)
    assert stage_name(approved, PLAN) == "full"
    assert approved.authority == 1.0


def test_a_failed_gate_rolls_back_where_there_is_authority_and_holds_in_shadow() -> None:
    assert stage_name(after(BlockFinished(1, {"s": "fail"})), PLAN) == "hold"
    failed = after(passing(), passing(), BlockFinished(1, {"a": "pass", "b": "fail"}))
    assert stage_name(failed, PLAN) == "rolled_back"
    assert failed.authority == 0.0


@pytest.mark.parametrize("mode", ["running", "hold", "rolled_back"])
def test_a_guard_takes_all_authority_whatever_the_mode(mode: str) -> None:
    before = RolloutState(rung=1, mode=mode, authority=0.1 if mode == "running" else 0.0, blocks=1)  # type: ignore[arg-type]
    state, _ = advance(before, GuardFired(3, "integrity.nan:T"), PLAN)
    assert (state.mode, state.authority) == ("rolled_back", 0.0)


def test_a_hold_does_not_lift_a_roll_back() -> None:
    assert after(GuardFired(1, "x"), OperatorHold(2, "op")).mode == "rolled_back"


def test_a_changed_spec_a_clock_that_goes_back_and_an_operator_hold_take_authority_away() -> None:
    bounded = after(passing(5), passing(5))
    for event in (HashesSeen(6, ("model", "plant", "another")), passing(4), OperatorHold(6, "op")):
        state = after(event, state=bounded)
        assert (state.mode, state.authority, state.blocks) == ("hold", 0.0, 0)
    assert after(HashesSeen(6, PLAN.hashes), state=bounded) == RolloutState(1, "running", 0.1, 0, clock=6)


def test_after_a_resume_the_way_up_begins_in_shadow_with_empty_counters() -> None:
    state = after(*[passing()] * 3, GuardFired(1, "x"), OperatorResume(2, "op"))
    assert (state.rung, state.mode, state.authority, state.blocks) == (0, "running", 0.0, 0)


VERDICTS = st.dictionaries(st.sampled_from(ALL), st.sampled_from(["pass", "fail", "inconclusive"]))
EVENTS = st.one_of(
    st.builds(BlockFinished, st.integers(0, 9), VERDICTS),
    st.builds(BlockFinished, st.just(9), st.just(dict.fromkeys(ALL, "pass"))),
    st.builds(GuardFired, st.integers(0, 9), st.just("guard")),
    st.builds(HashesSeen, st.integers(0, 9), st.sampled_from([PLAN.hashes, ("other",)])),
    st.builds(Approved, st.integers(0, 9), st.just("a")),
    st.builds(OperatorHold, st.integers(0, 9), st.just("o")),
    st.builds(OperatorResume, st.integers(0, 9), st.just("o")),
)


@given(st.lists(EVENTS, max_size=60))
def test_authority_grows_only_by_a_promotion_whose_gates_all_passed(events: list[Event]) -> None:
    state = start(PLAN)
    for event in events:
        before = state
        state, changes = advance(state, event, PLAN)
        assert state.clock >= before.clock
        if state.mode != "running":
            assert state.authority == 0.0
        else:
            assert state.authority == PLAN.rungs[state.rung].authority
        if isinstance(event, GuardFired):
            assert state.mode == "rolled_back"
        if state.authority > before.authority:
            assert isinstance(event, BlockFinished)
            assert before.mode == "running"
            rung = PLAN.rungs[before.rung]
            assert all(event.verdicts.get(gate) == "pass" for gate in rung.enforced)
            assert before.blocks + 1 >= rung.min_blocks
            assert before.approvals >= rung.approvals_required
            assert state.rung == before.rung + 1
        if state.authority != before.authority:
            assert [(c.authority_from, c.authority_to) for c in changes] == [(before.authority, state.authority)]
