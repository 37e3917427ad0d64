"""From the stages of a safety spec to the ladder of the machine, and the gates of each rung."""

from __future__ import annotations

from collections.abc import Sequence

from fpo_pilot.errors import RolloutError
from fpo_pilot.evidence import GateResult, non_inferiority_gate, rate_gate
from fpo_pilot.rollout.blocks import Block
from fpo_pilot.rollout.machine import Rung, StagePlan
from fpo_pilot.specs.safety import RateGate, SafetySpec, Stage


def make_plan(safety: SafetySpec, hashes: tuple[str, ...]) -> StagePlan:
    """Return the ladder: shadow, one rung for each level of ``bounded``, full.

    Raises:
        RolloutError: the spec declares no stages, or does not begin in shadow.
    """
    if not safety.stages or safety.stages[0].name != "shadow":
        raise RolloutError(
            f"safety/{safety.plant}.yaml: stages: found {[stage.name for stage in safety.stages]}, expected shadow first, then "
            "bounded, then full. Declare them; those of a shipped plant are an example."
        )
    rungs: list[Rung] = []
    for stage in safety.stages:
        levels = {"shadow": (0.0,), "full": (1.0,)}.get(stage.name, stage.authority)
        enforced = tuple(gate.id for gate in stage.gates if gate.mode == "enforce")
        rungs += [Rung(stage.name, level, stage.min_blocks, stage.max_blocks, enforced) for level in levels]
    return StagePlan(tuple(rungs), hashes)


def stage_spec(safety: SafetySpec, name: str) -> Stage:
    """Return the declaration of a stage."""
    return next(stage for stage in safety.stages if stage.name == name)


def judge(stage: Stage, blocks: Sequence[Block]) -> list[GateResult]:
    """Judge all gates of a stage on the blocks of one rung.

    A rate is counted over the blocks of the policy (in shadow all blocks are); a difference over switchback pairs.
    """
    policy = [block for block in blocks if block.arm == "policy" or stage.name == "shadow"]
    results: list[GateResult] = []
    for gate in stage.gates:
        if isinstance(gate, RateGate):
            results.append(rate_gate(gate, sum(block.had(gate.event) for block in policy), len(policy)))
        else:
            results.append(non_inferiority_gate(gate, pair_differences(blocks)))
    return results


def pair_differences(blocks: Sequence[Block]) -> list[float]:
    """Return policy minus incumbent for every whole switchback pair."""
    returns: dict[int, dict[str, float]] = {}
    for block in blocks:
        if block.pair is not None:
            returns.setdefault(block.pair, {})[block.arm] = block.returned
    return [both["policy"] - both["incumbent"] for both in returns.values() if len(both) == 2]
