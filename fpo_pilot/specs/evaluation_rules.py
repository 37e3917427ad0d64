"""What must hold in evaluate.yaml, and between it and the plant."""

from __future__ import annotations

from collections.abc import Iterator

from fpo_pilot.errors import Words
from fpo_pilot.specs.evaluation import ActuatorFault, EvaluationSpec, Scenario, SensorFault
from fpo_pilot.specs.findings import Finding, Path
from fpo_pilot.specs.plant import PlantSpec
from fpo_pilot.specs.plant_rules import (
    NOTHING,
    disturbance_findings,
    duplicate_findings,
    measured_names,
    names_of,
    range_findings,
    schedule_findings,
    start_findings,
    unknown,
)


def evaluation_findings(evaluation: EvaluationSpec, plant: PlantSpec) -> Iterator[Finding]:
    """Find everything that is wrong with an evaluation spec whose fields are sound one by one."""
    yield from duplicate_findings((scenario.name for scenario in evaluation.scenarios), ("scenarios",), "name")
    if not evaluation.scenarios:
        yield Finding(("scenarios",), NOTHING, "at least one scenario", "Delete the key for the nominal one.")
    if not evaluation.noise_scales:
        yield Finding(("noise_scales",), NOTHING, "at least one noise scale", "Write, for example, [0.0, 1.0].")
    for index, scenario in enumerate(evaluation.scenarios):
        yield from _scenario(scenario, ("scenarios", index), plant)


def _scenario(scenario: Scenario, path: Path, plant: PlantSpec) -> Iterator[Finding]:
    states, measured = names_of(plant, "state"), measured_names(plant)
    for name, start in scenario.start.items():
        if name not in states:
            yield unknown((*path, "start", name), name, states, "a state")
        else:
            yield from start_findings(start, plant.signals[name], (*path, "start", name))
    for name in scenario.parameters:
        if name not in plant.parameters:
            yield unknown((*path, "parameters", name), name, plant.parameters, "a parameter of the plant")
    for index, fault in enumerate(scenario.faults):
        here = (*path, "faults", index)
        if fault.signal not in measured:
            yield unknown((*here, "signal"), fault.signal, measured, "a measured signal")
        if fault.kind == "noise" and fault.value < 0.0:
            yield Finding((*here, "value"), fault.value, "a standard deviation, 0 or more", "Correct it.")
        yield from _window(fault, here, plant)
    yield from _actuators(scenario, path, plant)
    for name, schedule in scenario.references.items():
        here = (*path, "references", name)
        if name not in names_of(plant, "reference"):
            yield unknown(here, name, names_of(plant, "reference"), "a reference of the plant")
        else:
            changed = plant.signals[name].model_copy(update={"schedule": schedule})
            yield from schedule_findings(plant, changed, here)
    for index, disturbance in enumerate(scenario.disturbances or ()):
        yield from disturbance_findings(plant, disturbance, (*path, "disturbances", index))


def _actuators(scenario: Scenario, path: Path, plant: PlantSpec) -> Iterator[Finding]:
    actions = names_of(plant, "action")
    for index, fault in enumerate(scenario.actuator_faults):
        here = (*path, "actuator_faults", index)
        if fault.action not in actions:
            yield unknown((*here, "action"), fault.action, actions, "an action")
        if fault.kind == "slow" and fault.value < 0.0:
            yield Finding((*here, "value"), fault.value, "a rate, 0 or more", "Correct it.")
        yield from _window(fault, here, plant)
    for name, (low, high) in scenario.action_limits.items():
        here = (*path, "action_limits", name)
        if name not in actions:
            yield unknown(here, name, actions, "an action")
            continue
        yield from range_findings(low, high, here)
        least, most = plant.signals[name].range
        if low < least or high > most:
            expected = f"a part of the actuator's range, {least:g} to {most:g}"
            yield Finding(here, Words(f"{low:g} to {high:g}"), expected, "A scenario can only take away.")


def _window(fault: SensorFault | ActuatorFault, path: Path, plant: PlantSpec) -> Iterator[Finding]:
    if fault.to_step is not None and fault.to_step <= fault.from_step:
        expected = f"a step after from_step, which is {fault.from_step}"
        yield Finding((*path, "to_step"), fault.to_step, expected, "Correct one of the two.")
    if fault.from_step >= plant.timing.horizon:
        expected = f"a step before the horizon, {plant.timing.horizon}"
        yield Finding(
            (*path, "from_step"), fault.from_step, expected, "The fault would never happen: start it earlier."
        )
