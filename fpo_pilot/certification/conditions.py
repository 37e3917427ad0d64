"""Under what a campaign runs: the nominal plant, corners and inside of the declared set, faults; and which of these decide."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import torch

from fpo_pilot.certification.words import WHY
from fpo_pilot.plants.plant import Plant
from fpo_pilot.specs.base import Text
from fpo_pilot.specs.evaluation import ActuatorFault, Scenario, SensorFault
from fpo_pilot.specs.safety import SafetySpec
from fpo_pilot.specs.uncertainty import parameter_half_widths, sensor_error, state_errors

INSIDE_SAMPLES = 4
BEYOND = 3.0
"""A plant outside the set: its parameters are so many half widths away."""
_SLOW_SHARE = 0.25
"""Of the declared rate, or of the span in one episode where there is no rate: how fast a slow actuator still is."""


@dataclass(frozen=True)
class CampaignCondition:
    """One condition; ``covered`` where the assumptions of the spec hold, so that it decides."""

    name: str
    kind: str
    scenario: Scenario
    covered: bool
    why: Text
    searched: bool = False
    """Whether the sequence search runs here as well."""


def campaign_conditions(plant: Plant, safety: SafetySpec, *, corners: int) -> tuple[CampaignCondition, ...]:
    """List the conditions of a plant.

    Args:
        plant: whose signals and parameters.
        safety: its safety spec: uncertainty set, sensors, shields.
        corners: the most corners of the parameters that are run; :func:`corner_count` tells how many there are.
    """
    nominal = CampaignCondition("nominal", "nominal", Scenario(), covered=True, why=WHY["nominal"], searched=True)
    return (
        nominal,
        *_corners(plant, safety, corners),
        *_inside(plant, safety),
        *_beyond(plant, safety),
        *_sensor_faults(plant, safety),
        *_actuator_faults(plant, safety),
    )


def corner_count(plant: Plant, safety: SafetySpec) -> int:
    """Count the corners of the declared set of parameters; 1 where nothing is uncertain."""
    return int(2 ** len(parameter_half_widths(safety, plant.spec)))


def _moved(plant: Plant, widths: dict[str, float], shares: tuple[float, ...]) -> dict[str, float]:
    """Return parameters ``share`` half widths away from nominal, in the unit of plant.yaml."""
    values = {name: plant.spec.parameters[name].value for name in widths}
    return {name: values[name] + share * widths[name] for name, share in zip(widths, shares, strict=True)}


def _corners(plant: Plant, safety: SafetySpec, most: int) -> Iterator[CampaignCondition]:
    widths = parameter_half_widths(safety, plant.spec)
    errors = {name: error for name, error in state_errors(safety, plant.spec).items() if error}
    errors = {name: error for name, error in errors.items() if plant.spec.signals[name].measured}
    for shares in list(product((-1.0, 1.0), repeat=len(widths)))[:most]:
        label = "".join("+" if share > 0.0 else "-" for share in shares)
        parameters = _moved(plant, widths, shares)
        if widths:
            scenario = Scenario(parameters=parameters)
            yield CampaignCondition(f"corner {label}", "corner", scenario, True, WHY["corner"], searched=True)
        for sign in (-1.0, 1.0) if errors else ():
            faults = tuple(
                SensorFault(signal=name, kind="bias", value=sign * error - plant.spec.signals[name].sensor.bias)
                for name, error in errors.items()
            )
            side = "high" if sign > 0.0 else "low"
            scenario = Scenario(parameters=parameters, faults=faults, noise_factor=0.0)
            name = f"corner {label} readings {side}".replace("  ", " ")
            yield CampaignCondition(name, "reading", scenario, True, WHY["reading"])


def _inside(plant: Plant, safety: SafetySpec) -> Iterator[CampaignCondition]:
    widths = parameter_half_widths(safety, plant.spec)
    if not widths:
        return
    generator = torch.Generator().manual_seed(0)
    drawn = 2.0 * torch.rand(INSIDE_SAMPLES, len(widths), generator=generator, dtype=torch.float64) - 1.0
    for index, shares in enumerate(drawn.tolist()):
        scenario = Scenario(parameters=_moved(plant, widths, tuple(shares)))
        yield CampaignCondition(f"inside {index}", "inside", scenario, True, WHY["inside"])


def _beyond(plant: Plant, safety: SafetySpec) -> Iterator[CampaignCondition]:
    """Leave the set one parameter at a time: a campaign that cannot fail outside says nothing inside."""
    widths = parameter_half_widths(safety, plant.spec)
    for name, width in widths.items():
        nominal = plant.spec.parameters[name].value
        for sign in (-1.0, 1.0):
            value = nominal + sign * BEYOND * width
            if value * nominal > 0.0:
                scenario = Scenario(parameters={name: value})
                label = f"outside {name} {sign * BEYOND:+g} half widths"
                yield CampaignCondition(label, "outside", scenario, False, WHY["outside_set"])


def _sensor_faults(plant: Plant, safety: SafetySpec) -> Iterator[CampaignCondition]:
    begin = plant.horizon // 3
    errors = state_errors(safety, plant.spec)
    integrity = any(shield.kind == "integrity" for shield in safety.shields)

    def condition(signal: str, kind: str, why: str, value: float = 0.0, label: str = "") -> CampaignCondition:
        fault = SensorFault.model_validate({"signal": signal, "kind": kind, "from_step": begin, "value": value})
        covered = why in ("caught", "within_error")
        return CampaignCondition(
            f"{signal} {kind}{label}", "sensor fault", Scenario(faults=(fault,)), covered, WHY[why]
        )

    for signal in plant.measured_names:
        caught = "caught" if integrity else "believed"
        yield condition(signal, "nan", caught)
        yield condition(signal, "range", caught)
        yield condition(signal, "stale", caught if _stale_at_once(plant, safety, signal) else "believed")
        yield condition(signal, "stuck", "believed")
        known = errors.get(signal)
        own = sensor_error(plant.spec.signals[signal].sensor)
        slack = None if known is None or own is None else known - own
        low, high = plant.spec.signals[signal].range
        large = 0.03 * (high - low)
        for sign in (-1.0, 1.0):
            if slack is not None and slack > 1e-9 * (high - low):
                yield condition(signal, "bias", "within_error", sign * slack, f" {sign * slack:+.3g}")
                step = sign * slack / max(plant.horizon - begin + 1, 1)
                yield condition(signal, "drift", "within_error", step, f" {step:+.2g} a step")
            yield condition(signal, "bias", "believed", sign * large, f" {sign * large:+.3g}")
        yield condition(signal, "drift", "believed", -0.1 * large, f" {-0.1 * large:+.2g} a step")


def _stale_at_once(plant: Plant, safety: SafetySpec, signal: str) -> bool:
    """Tell whether a held reading is recognised in its first cycle: by its quality, or since its age is over the limit."""
    sensor = safety.sensors.get(signal)
    late = plant.spec.signals[signal].sensor.delay_steps * plant.period
    return sensor is None or sensor.stale_after is None or sensor.stale_after < late + plant.period


def _actuator_faults(plant: Plant, safety: SafetySpec) -> Iterator[CampaignCondition]:
    begin = plant.horizon // 3
    for name in plant.action_names:
        limit = safety.actions[name]
        rate = (limit.high - limit.low) if limit.rate is None else limit.rate
        for kind, value in (("stuck", 0.0), ("slow", _SLOW_SHARE * rate)):
            fault = ActuatorFault.model_validate({"action": name, "kind": kind, "from_step": begin, "value": value})
            label = f"{name} {kind}" if kind == "stuck" else f"{name} {kind} {value:.3g} a step"
            scenario = Scenario(actuator_faults=(fault,))
            yield CampaignCondition(label, "actuator fault", scenario, False, WHY["actuator"])
