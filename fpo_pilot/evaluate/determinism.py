"""Says from the specs whether an episode is decided by its actions alone, and if not, by what else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fpo_pilot.specs.evaluation import Scenario
from fpo_pilot.specs.plant import Normal, Start, Uniform

if TYPE_CHECKING:
    from fpo_pilot.plants.plant import Plant


def chance_in_plant(plant: Plant, scenario: Scenario) -> tuple[str, ...]:
    """List what is drawn at random in the plant itself: start, parameters, disturbances. Empty: actions decide all."""
    spec = plant.spec
    found = []
    for name in plant.state_names:
        if _is_drawn(scenario.start.get(name, spec.episode.start.get(name))):
            found.append(f"the start of {name}")
    if spec.episode.randomize_parameters:
        found += [
            f"the parameter {name}"
            for name, parameter in spec.parameters.items()
            if parameter.uncertainty is not None
            and parameter.uncertainty.half_width > 0.0
            and name not in scenario.parameters
        ]
    disturbances = spec.disturbances if scenario.disturbances is None else scenario.disturbances
    found += [
        f"the disturbance of {disturbance.channel}"
        for disturbance in disturbances
        if disturbance.kind in {"ou", "white"}
        or 0.0 < disturbance.probability < 1.0
        or (disturbance.replay is not None and disturbance.replay.begin == "random")
    ]
    return tuple(found)


def chance_in_sensors(plant: Plant, scenario: Scenario) -> tuple[str, ...]:
    """List the measured signals whose readings have chance in them: noise, a bias that is drawn, lost readings."""
    found = []
    for name in plant.measured_names:
        sensor = plant.spec.signals[name].sensor
        noise = 0.0 if sensor.noise is None else sensor.noise.std * scenario.noise_factor
        faults = [fault.value for fault in scenario.faults if (fault.signal, fault.kind) == (name, "noise")]
        if noise > 0.0 or any(value > 0.0 for value in faults):
            found.append(f"the noise of {name}")
        if sensor.bias_spread > 0.0 or sensor.bias_walk > 0.0:
            found.append(f"the bias of {name}")
        if sensor.dropout is not None and sensor.dropout.probability > 0.0:
            found.append(f"lost readings of {name}")
    return tuple(found)


def _is_drawn(start: Start | None) -> bool:
    if isinstance(start, Uniform):
        return start.high > start.low
    return isinstance(start, Normal) and start.std > 0.0
