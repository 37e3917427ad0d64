"""From the stages of a safety spec to the ladder of the machine, and the gates of each rung."""

from __future__ import annotations

from fpo_pilot.errors import RolloutError
from fpo_pilot.rollout.machine import Rung, StagePlan
from fpo_pilot.specs.safety import SafetySpec, Stage


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
