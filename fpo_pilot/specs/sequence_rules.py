"""What must hold of the sequences of safety/NAME.yaml, and between them and the plant."""

from __future__ import annotations

from collections.abc import Iterator

from fpo_pilot.errors import Words
from fpo_pilot.specs.expression_rules import expression_findings, signal_units, unobservable_findings
from fpo_pilot.specs.findings import Finding, Path
from fpo_pilot.specs.plant import PlantSpec
from fpo_pilot.specs.plant_rules import NOTHING, duplicate_findings, measured_names, names_of, unknown
from fpo_pilot.specs.safety import BarrierShield, PredictiveShield, SafetySpec, Sequence, SequencePhase


def sequence_findings(safety: SafetySpec, plant: PlantSpec) -> Iterator[Finding]:
    """Find what is wrong with the sequences."""
    kinds = [shield.kind for shield in safety.shields]
    if safety.sequences and "sequence" not in kinds:
        found = Words("no sequence shield")
        yield Finding(("shields",), found, "sequence, since sequences are declared", "Add `- {kind: sequence}`.")
    if not safety.sequences and "sequence" in kinds:
        place = ("shields", kinds.index("sequence"), "kind")
        yield Finding(place, "sequence", "sequences in this file", "Declare `sequences:`, or take the shield out.")
    yield from duplicate_findings((sequence.id for sequence in safety.sequences), ("sequences",), "id")
    for index, sequence in enumerate(safety.sequences):
        yield from _sequence(sequence, ("sequences", index), safety, plant)


def _sequence(sequence: Sequence, path: Path, safety: SafetySpec, plant: PlantSpec) -> Iterator[Finding]:
    if sequence.hazard is not None and sequence.hazard not in safety.hazards:
        yield unknown((*path, "hazard"), sequence.hazard, safety.hazards, "a hazard of the hazard log")
    if sequence.start not in sequence.phases:
        yield unknown((*path, "start"), sequence.start, sequence.phases, "a phase of the sequence")
        return
    if not any(phase.hold for phase in sequence.phases.values()):
        yield Finding((*path, "phases"), NOTHING, "a phase that holds an action", "Say what must wait: `hold: {…}`.")
    reached = _reached(sequence)
    for name, phase in sequence.phases.items():
        place = (*path, "phases", name)
        if name not in reached:
            found = Words(f"{name}, to which no way leads from {sequence.start}")
            yield Finding(place, found, "a phase that can be entered", "Add a way to it, or take it out.")
        yield from _phase(phase, place, sequence, safety, plant)


def _phase(
    phase: SequencePhase, path: Path, sequence: Sequence, safety: SafetySpec, plant: PlantSpec
) -> Iterator[Finding]:
    looks_ahead = any(isinstance(shield, PredictiveShield | BarrierShield) for shield in safety.shields)
    for name, value in phase.hold.items():
        place = (*path, "hold", name)
        if name not in safety.actions:
            yield unknown(place, name, safety.actions, "an action with limits")
            continue
        limit = safety.actions[name]
        if not limit.low <= value <= limit.high:
            expected = f"a value within the action's limits, {limit.low:g} to {limit.high:g}"
            yield Finding(place, value, expected, "Correct the value, or the limits of the action.")
        elif looks_ahead and value != limit.fallback:
            expected = f"the action's fallback, {limit.fallback:g}, since a shield looks ahead with it"
            yield Finding(
                place, value, expected, "A backup that leaves the hold would break the sequence: make them equal."
            )
    units = signal_units(plant)
    readable = (*measured_names(plant), *names_of(plant, "action"))
    for index, way in enumerate(phase.next):
        place = (*path, "next", index)
        if way.to not in sequence.phases:
            yield unknown((*place, "to"), way.to, sequence.phases, "a phase of the sequence")
        yield from expression_findings(way.when, (*place, "when"), units, condition=True)
        yield from unobservable_findings(way.when, (*place, "when"), plant, readable)


def _reached(sequence: Sequence) -> set[str]:
    """Return the phases to which a way leads from the first."""
    reached, ahead = set(), [sequence.start]
    while ahead:
        name = ahead.pop()
        if name in reached or name not in sequence.phases:
            continue
        reached.add(name)
        ahead += [way.to for way in sequence.phases[name].next]
    return reached
