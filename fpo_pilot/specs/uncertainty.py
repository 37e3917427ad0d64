"""What a model-based shield does not know of a plant: read from the safety spec, else from what plant.yaml declares."""

from __future__ import annotations

from fpo_pilot.specs.plant import PlantSpec, Sensor, Uncertainty
from fpo_pilot.specs.safety import SafetySpec


def state_names(plant: PlantSpec) -> tuple[str, ...]:
    """List the states, in the order of the file."""
    return tuple(name for name, signal in plant.signals.items() if signal.role == "state")


def half_width(plant: PlantSpec, name: str, uncertainty: Uncertainty) -> float:
    """Return half the width of the interval of a parameter, in its unit."""
    relative = uncertainty.kind == "relative"
    return uncertainty.half_width * abs(plant.parameters[name].value) if relative else uncertainty.half_width


def parameter_half_widths(safety: SafetySpec, plant: PlantSpec) -> dict[str, float]:
    """Return half the width of each uncertain parameter, in its unit: as the safety spec says, else as plant.yaml does."""
    declared = safety.uncertainty.parameters
    if declared is None:
        declared = {name: own.uncertainty for name, own in plant.parameters.items() if own.uncertainty is not None}
    widths = {name: half_width(plant, name, own) for name, own in declared.items() if name in plant.parameters}
    return {name: width for name, width in widths.items() if width > 0.0}


def sensor_error(sensor: Sensor) -> float | None:
    """Return how far a reading can be from the true value; None where nothing bounds it.

    Nothing bounds noise that is not cut, a bias that is drawn or walks, a lag (its error grows with the rate of change), or a
    reading that may be lost and held.
    """
    lost = sensor.dropout is not None and sensor.dropout.probability > 0.0
    if sensor.lag > 0.0 or sensor.bias_spread > 0.0 or sensor.bias_walk > 0.0 or lost:
        return None
    noise = 0.0
    if sensor.noise is not None and sensor.noise.std > 0.0:
        if sensor.noise.truncate is None:
            return None
        noise = sensor.noise.std * sensor.noise.truncate
    return noise + abs(sensor.bias) + sensor.quantize / 2.0


def state_errors(safety: SafetySpec, plant: PlantSpec) -> dict[str, float | None]:
    """Return how far the reading of each state can be from the true one, in its unit; None where nothing bounds it."""
    declared = safety.uncertainty.states or {}
    return {name: declared.get(name, sensor_error(plant.signals[name].sensor)) for name in state_names(plant)}


def reading_delays(plant: PlantSpec) -> dict[str, int]:
    """Return how many steps old the reading of each state is."""
    return {name: plant.signals[name].sensor.delay_steps for name in state_names(plant)}
