"""The shields of a plant, and what only its dynamics show of its safety spec: told with file and line, as all faults of a spec are."""

from __future__ import annotations

from collections.abc import Iterator

from fpo_pilot.errors import ShieldError, SpecError, SpecErrors, Words
from fpo_pilot.plants.plant import Plant
from fpo_pilot.plants.prediction import Prediction
from fpo_pilot.shields import Envelope, build_stack
from fpo_pilot.shields.build import action_signals, measured_signals
from fpo_pilot.shields.model_stages import ModelStages, needs_model
from fpo_pilot.shields.stack import ShieldStack
from fpo_pilot.specs.content import PLANT_FILE, find_safety
from fpo_pilot.specs.document import read_document
from fpo_pilot.specs.findings import Finding, dotted
from fpo_pilot.specs.safety import PredictiveShield, SafetySpec


def plant_stack(plant: Plant, safety: SafetySpec) -> ShieldStack:
    """Build the shields that the safety spec of a plant names.

    Raises:
        SpecErrors: the backup leaves a terminal set, with file and line.
        ShieldError: the safety spec cannot be kept for another reason.
    """
    try:
        return build_stack(safety, plant.spec, dynamics=Prediction(plant) if needs_model(safety) else None)
    except ShieldError:
        require_kept_terminal_sets(plant, safety)
        raise


def require_kept_terminal_sets(plant: Plant, safety: SafetySpec) -> None:
    """Refuse a terminal set that the backup leaves in simulation.

    Raises:
        SpecErrors: it does, with file and line.
    """
    found = [_placed(fault, plant) for fault in left_terminal_sets(plant, safety)]
    if found:
        raise SpecErrors(found)


def left_terminal_sets(plant: Plant, safety: SafetySpec) -> Iterator[Finding]:
    """Simulate the backup from each terminal set; find those that it leaves."""
    for index, shield in enumerate(safety.shields):
        if not isinstance(shield, PredictiveShield):
            continue
        envelope = Envelope.from_spec(safety.actions, action_signals(plant.spec))
        stages = ModelStages(safety, plant.spec, Prediction(plant), envelope, measured_signals(plant.spec))
        check = stages.terminal_check(shield)
        if not check.passed:
            state = ", ".join(f"{name} = {value:.6g}" for name, value in zip(stages.states, check.state, strict=True))
            yield Finding(
                ("shields", index, "terminal_set"),
                Words(f"that the backup leads out of it from {state}, by {-check.margin:.3g} of the range"),
                "a set in which the backup can be held for ever",
                "Make the set smaller, or the backup stronger.",
            )


def _placed(fault: Finding, plant: Plant) -> SpecError:
    file = None if plant.folder is None else find_safety(plant.folder / PLANT_FILE)
    line = None if file is None else read_document(file).line(fault.path)
    return SpecError(dotted(fault.path), fault.found, fault.expected, fault.fix, file=file, line=line)
