"""The stages as a pure state machine: no clock, no file, no tensor. What it decides is a function of state, event and plan.

Invariants, for any sequence of events: authority grows only by a promotion whose enforced gates all passed after the least number
of blocks; a guard takes all authority away, in whatever mode the machine is; what is not decided is never promoted; after a hold,
a guard or a changed spec the way up begins in shadow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

Mode = Literal["running", "hold", "rolled_back"]
Decision = Literal["pass", "fail", "inconclusive"]


@dataclass(frozen=True)
class Rung:
    """One rung of the ladder: a stage, and of ``bounded`` one level of authority."""

    stage: str
    authority: float
    min_blocks: int
    max_blocks: int
    enforced: tuple[str, ...] = ()
    """Ids of the gates that must pass to leave it upward."""
    approvals_required: int = 0
    """Signed approvals that a promotion from here needs."""


@dataclass(frozen=True)
class StagePlan:
    """The ladder, frozen by the hash of the specs that it was made from."""

    rungs: tuple[Rung, ...]
    hashes: tuple[str, ...]


@dataclass(frozen=True)
class RolloutState:
    """Where a roll-out stands."""

    rung: int
    mode: Mode
    authority: float
    blocks: int
    """Blocks finished on this rung."""
    clock: int = 0
    """Latest time seen, in control cycles."""
    approvals: int = 0


@dataclass(frozen=True)
class BlockFinished:
    """A block ended; what each gate of the rung says now."""

    clock: int
    verdicts: Mapping[str, Decision]


@dataclass(frozen=True)
class GuardFired:
    """Something that takes authority away at once."""

    clock: int
    reason: str


@dataclass(frozen=True)
class HashesSeen:
    """The hashes of model, plant and safety spec as they are now."""

    clock: int
    hashes: tuple[str, ...]


@dataclass(frozen=True)
class Approved:
    """A signed approval of the next promotion."""

    clock: int
    by: str


@dataclass(frozen=True)
class OperatorHold:
    """An operator takes the plant."""

    clock: int
    by: str


@dataclass(frozen=True)
class OperatorResume:
    """An operator lets the roll-out begin again, in shadow."""

    clock: int
    by: str


Event = BlockFinished | GuardFired | HashesSeen | Approved | OperatorHold | OperatorResume


@dataclass(frozen=True)
class Transition:
    """A change of stage, mode or authority, and why."""

    from_stage: str
    to_stage: str
    authority_from: float
    authority_to: float
    reason: str


def start(plan: StagePlan) -> RolloutState:
    """Return the state in which every roll-out begins: the first rung, with its authority, which is none."""
    return RolloutState(rung=0, mode="running", authority=0.0, blocks=0)


def stage_name(state: RolloutState, plan: StagePlan) -> str:
    """Return the stage for people: ``hold`` and ``rolled_back`` stand beside the ladder."""
    return plan.rungs[state.rung].stage if state.mode == "running" else state.mode


def advance(state: RolloutState, event: Event, plan: StagePlan) -> tuple[RolloutState, tuple[Transition, ...]]:
    """Return the next state and the transitions on the way.

    Args:
        state: where the roll-out stands.
        event: what happened.
        plan: the ladder.
    """
    if isinstance(event, GuardFired):
        return _leave(state, plan, "rolled_back", event.reason, event.clock)
    if event.clock < state.clock:
        return _leave(state, plan, "hold", f"the clock went back from {state.clock} to {event.clock}", state.clock)
    state = replace(state, clock=event.clock)
    if isinstance(event, HashesSeen):
        if event.hashes == plan.hashes:
            return state, ()
        return _leave(state, plan, "hold", "model, plant or safety spec changed", event.clock)
    if isinstance(event, OperatorHold):
        return _leave(state, plan, "hold", f"hold by {event.by}", event.clock)
    if isinstance(event, OperatorResume):
        return _resume(state, plan, event)
    if state.mode != "running":
        return state, ()
    if isinstance(event, Approved):
        return replace(state, approvals=state.approvals + 1), ()
    return _block(state, plan, event)


def _block(state: RolloutState, plan: StagePlan, event: BlockFinished) -> tuple[RolloutState, tuple[Transition, ...]]:
    rung = plan.rungs[state.rung]
    state = replace(state, blocks=state.blocks + 1)
    verdicts = [event.verdicts.get(gate, "inconclusive") for gate in rung.enforced]
    if "fail" in verdicts:
        failed = ", ".join(gate for gate in rung.enforced if event.verdicts.get(gate) == "fail")
        mode: Mode = "rolled_back" if state.authority > 0.0 else "hold"
        return _leave(state, plan, mode, f"gate failed: {failed}", event.clock)
    last = state.rung == len(plan.rungs) - 1
    decided = state.blocks >= rung.min_blocks and all(verdict == "pass" for verdict in verdicts)
    if decided and not last and state.approvals >= rung.approvals_required:
        above = plan.rungs[state.rung + 1]
        passed = f"gates passed after {state.blocks} blocks: {', '.join(rung.enforced) or 'none is asked for'}"
        after = replace(state, rung=state.rung + 1, authority=above.authority, blocks=0, approvals=0)
        return after, (Transition(rung.stage, above.stage, state.authority, above.authority, passed),)
    if not last and state.blocks >= rung.max_blocks:
        open_gates = ", ".join(g for g in rung.enforced if event.verdicts.get(g, "inconclusive") != "pass")
        return _leave(
            state, plan, "hold", f"no decision after {state.blocks} blocks: {open_gates or 'approval'}", event.clock
        )
    return state, ()


def _leave(
    state: RolloutState, plan: StagePlan, mode: Mode, reason: str, clock: int
) -> tuple[RolloutState, tuple[Transition, ...]]:
    """Take all authority away. A hold does not lift a roll-back."""
    before = stage_name(state, plan)
    to: Mode = "rolled_back" if state.mode == "rolled_back" else mode
    after = replace(state, mode=to, authority=0.0, blocks=0, approvals=0, clock=max(clock, state.clock))
    if before == to and state.authority == 0.0:
        return after, ()
    return after, (Transition(before, to, state.authority, 0.0, reason),)


def _resume(state: RolloutState, plan: StagePlan, event: OperatorResume) -> tuple[RolloutState, tuple[Transition, ...]]:
    if state.mode == "running":
        return state, ()
    before = stage_name(state, plan)
    after = replace(start(plan), clock=state.clock)
    return after, (Transition(before, plan.rungs[0].stage, 0.0, 0.0, f"resumed by {event.by}"),)
