"""Climbs the stages of a safety spec again on finished blocks: what must have been decided, if the blocks are what they say.

It is written apart from the machine that decided (``rollout/machine.py``), so that an error there is not made here as well.
What only the control loop can tell, that a guard fired, is taken from the events.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fpo_pilot.evidence.blocks import Block, judge
from fpo_pilot.evidence.gates import GateResult
from fpo_pilot.specs.safety import SafetySpec, Stage


@dataclass(frozen=True)
class Step:
    """A rung of the ladder."""

    stage: Stage
    authority: float


@dataclass(frozen=True)
class Change:
    """A transition that must have been made after an episode."""

    episode: int
    from_stage: str
    to_stage: str
    authority_from: float
    authority_to: float

    def __str__(self) -> str:
        levels = f"authority {self.authority_from:g} to {self.authority_to:g}"
        return f"{self.from_stage} to {self.to_stage} ({levels}) after episode {self.episode}"


@dataclass(frozen=True)
class Judged:
    """What one gate says of a rung that was left."""

    stage: str
    authority: float
    result: GateResult


@dataclass(frozen=True)
class Climb:
    """What follows from the blocks."""

    changes: tuple[Change, ...]
    judged: tuple[Judged, ...]
    stage: str
    authority: float
    trouble: tuple[tuple[int, str, str], ...]
    """Blocks that cannot have come like this: number, what was found, what was expected."""


def ladder(safety: SafetySpec) -> tuple[Step, ...]:
    """Return the rungs of a safety spec from below: each stage, ``bounded`` once for each level of authority."""
    fixed: Mapping[str, tuple[float, ...]] = {"shadow": (0.0,), "full": (1.0,)}
    return tuple(Step(stage, level) for stage in safety.stages for level in fixed.get(stage.name, stage.authority))


def climb(safety: SafetySpec, blocks: Sequence[Block], guarded: Mapping[int, str]) -> Climb:
    """Decide again after each block, from the first rung on.

    Args:
        safety: the spec whose gates bind.
        blocks: in the order in which they were finished.
        guarded: the first guard of each episode in which one fired.
    """
    rungs = ladder(safety)
    rung, mode, own = 0, "", list[Block]()
    changes: list[Change] = []
    judged: list[Judged] = []
    trouble: list[tuple[int, str, str]] = []
    for number, block in enumerate(blocks):
        if mode or _is_done(rungs, rung, own):
            trouble.append((number, "a block", f"none: the roll-out had ended in {mode or rungs[rung].stage.name}"))
            break
        here = rungs[rung]
        if (block.stage, block.rung, block.authority) != (here.stage.name, rung, here.authority):
            told = f"{block.stage} with authority {block.authority:g}"
            trouble.append((number, told, f"{here.stage.name} with authority {here.authority:g}: no gate had passed"))
            break
        own.append(block)
        if block.episode in guarded:
            mode = "rolled_back"
            changes.append(Change(block.episode, here.stage.name, mode, here.authority, 0.0))
            continue
        if (block.arm == "policy" and block.violations_hard) or block.infeasible:
            trouble.append((number, "a violation or no safe action, and no guard", "a guard in events.parquet"))
        results = judge(here.stage, own)
        to = _decide(here.stage, results, len(own), is_last=rung == len(rungs) - 1, authority=here.authority)
        if to == "":
            continue
        judged += [Judged(here.stage.name, here.authority, result) for result in results]
        if to == "up":
            rung, own = rung + 1, []
            above = rungs[rung]
            change = Change(block.episode, here.stage.name, above.stage.name, here.authority, above.authority)
        else:
            mode = to
            change = Change(block.episode, here.stage.name, to, here.authority, 0.0)
        changes.append(change)
    if not mode and own:
        here = rungs[rung]
        judged += [Judged(here.stage.name, here.authority, result) for result in judge(here.stage, own)]
    end = rungs[rung]
    return Climb(tuple(changes), tuple(judged), mode or end.stage.name, 0.0 if mode else end.authority, tuple(trouble))


def _decide(stage: Stage, results: Sequence[GateResult], blocks: int, *, is_last: bool, authority: float) -> str:
    """Return ``up``, ``hold``, ``rolled_back``, or nothing where no decision was due."""
    binding = [result.verdict for result in results if result.mode == "enforce"]
    if "fail" in binding:
        return "rolled_back" if authority > 0.0 else "hold"
    if is_last:
        return ""
    if blocks >= stage.min_blocks and all(verdict == "pass" for verdict in binding):
        return "up"
    return "hold" if blocks >= stage.max_blocks else ""


def _is_done(rungs: Sequence[Step], rung: int, own: Sequence[Block]) -> bool:
    return rung == len(rungs) - 1 and len(own) >= rungs[rung].stage.min_blocks
