"""What every number of the four files is measured in, and how short forms are written out before validation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fpo_pilot.specs import quantities as q
from fpo_pilot.specs import units
from fpo_pilot.specs.findings import Finding
from fpo_pilot.specs.quantities import Meaning, Place, Scale, Table
from fpo_pilot.specs.units import UnitError

if TYPE_CHECKING:
    from pint import Unit

    from fpo_pilot.specs.plant import PlantSpec


def _own(depth: int, read: str = "point") -> q.Rule:
    """Unit of the signal whose name is the path's part at ``depth``."""
    return lambda scale, place: getattr(q, read)(scale.signals.get(str(place.path[depth])))


def _rate(depth: int) -> q.Rule:
    return lambda scale, place: q.rate(scale.signals.get(str(place.path[depth])), scale.period)


def _sibling(key: str, read: str = "point") -> q.Rule:
    """Unit of the signal or parameter that the key beside this number names."""
    return lambda scale, place: getattr(q, read)(scale.channel(_get(place.above[0], key)))


def _get(mapping: Any, key: str) -> Any:
    return mapping.get(key) if isinstance(mapping, dict) else None


def _parameter(depth: int) -> q.Rule:
    return lambda scale, place: q.point(scale.parameters.get(str(place.path[depth])))


def _half_width(scale: Scale, place: Place) -> Meaning:
    absolute = _get(place.above[0], "kind") == "absolute"
    name = str(place.path[place.path.index("parameters") + 1])
    return q.difference(scale.parameters.get(name)) if absolute else q.pure(scale, place)


def _observation_scale(scale: Scale, place: Place) -> Meaning:
    entry = place.above[1]
    term, of = _get(entry, "term"), _get(entry, "of")
    if term in ("progress", "shield_active"):  # a list, which is no term, has no hash
        return q.pure(scale, place)
    if term == "previous_action" and of is None:
        return Meaning(_several, "plain numbers, since each action has its own unit")
    unit = scale.signals.get(str(_get(entry, "signal") if term is None else of))
    return q.difference(unit) if term == "setpoint_error" else q.point(unit)


def _several(value: float, given: Unit) -> float:
    raise UnitError("this scale is for all actions", "Give each action an observation of its own: add `of:`.")


def _goal_scale(scale: Scale, place: Place) -> Meaning:
    from fpo_pilot.specs.expression import ExpressionError, margin_unit, parse

    names = {name: units.name(unit) for name, unit in scale.signals.items()}
    for verb in ("avoid", "reach", "drive", "minimize", "maximize"):
        text = _get(place.above[0], verb)
        if isinstance(text, str):
            try:
                return q.difference(margin_unit(parse(text), names))
            except ExpressionError:
                return q.point(None)
    return q.point(None)


def _gain(scale: Scale, place: Place) -> Meaning:
    action = scale.signals.get(str(_get(place.above[0], "action")))
    measurement = scale.signals.get(str(_get(place.above[0], "measurement")))
    if action is None or measurement is None:
        return q.point(None)
    return q.difference(units.difference_unit(action) / units.difference_unit(measurement))


def _starts(prefix: str, depth: int) -> dict[str, q.Rule]:
    return {
        prefix: _own(depth),
        **{f"{prefix}.{key}": _own(depth) for key in ("value", "low", "high", "mean")},
        f"{prefix}.std": _own(depth, "difference"),
        f"{prefix}.truncate": q.pure,
    }


def _disturbances(prefix: str) -> dict[str, q.Rule]:
    return {
        f"{prefix}.at_step": q.count,
        f"{prefix}.until_step": q.count,
        f"{prefix}.period_steps": q.count,
        f"{prefix}.size": _sibling("channel", "difference"),
        f"{prefix}.probability": q.pure,
        f"{prefix}.replay.longest_gap": q.duration,
    }


PLANT: Table = {
    "timing.horizon": q.count,
    "dynamics.substeps": q.count,
    "parameters.*.value": _parameter(1),
    "parameters.*.uncertainty.half_width": _half_width,
    "signals.*.range.*": _own(1),
    "signals.*.rate": _rate(1),
    "signals.*.start": _own(1),
    "signals.*.sensor.noise.std": _own(1, "difference"),
    "signals.*.sensor.noise.truncate": q.pure,
    "signals.*.sensor.bias": _own(1, "difference"),
    "signals.*.sensor.quantize": _own(1, "difference"),
    "signals.*.sensor.delay_steps": q.count,
    "signals.*.sensor.lag": q.duration,
    "signals.*.sensor.bias_spread": _own(1, "difference"),
    "signals.*.sensor.bias_walk": _own(1, "difference"),
    "signals.*.sensor.dropout.probability": q.pure,
    "signals.*.actuator.stiction": _own(1, "difference"),
    "signals.*.actuator.dead_band": _own(1, "difference"),
    "signals.*.actuator.lag": q.duration,
    "signals.*.schedule.*.step": q.count,
    "signals.*.schedule.*.value": _own(1),
    "signals.*.steady_actions.*.*": _own(-1),
    "observations.*.scale.*": _observation_scale,
    "observations.*.ahead": q.count,
    "observations.*.history": q.count,
    "reward.*.weight": q.pure,
    "goals.*.weight": q.pure,
    "goals.*.within_steps": q.count,
    "goals.*.scale": _goal_scale,
    **_disturbances("disturbances.*"),
    **_starts("episode.start.*", 2),
}

SAFETY: Table = {
    "limits.*.low": _sibling("signal"),
    "limits.*.high": _sibling("signal"),
    "actions.*.low": _own(1),
    "actions.*.high": _own(1),
    "actions.*.rate": _rate(1),
    "actions.*.fallback": _own(1),
    "interlocks.*.samples": q.count,
    "interlocks.*.set.*": _own(-1),
    "sequences.*.phases.*.hold.*": _own(-1),
    "sequences.*.phases.*.next.*.samples": q.count,
    "sensors.*.range.*": _own(1),
    "sensors.*.stale_after": q.duration,
    "sensors.*.frozen_after": q.count,
    "incumbent.values.*": _own(-1),
    "incumbent.loops.*.gain": _gain,
    "incumbent.loops.*.bias": _sibling("action"),
    "incumbent.loops.*.integral_time": q.duration,
    "shields.*.horizon": q.count,
    "shields.*.candidates": q.count,
    "shields.*.terminal_set.*.low": _own(3),
    "shields.*.terminal_set.*.high": _own(3),
    "shields.*.margin.*": _own(3, "difference"),
    "shields.*.substeps": q.count,
    "shields.*.budget": q.duration,
    "shields.*.decay": q.pure,
    "shields.*.model_error.*": _own(3, "difference"),
    "uncertainty.parameters.*.half_width": _half_width,
    "uncertainty.states.*": _own(2, "difference"),
    "stages.*.authority.*": q.pure,
    "stages.*.agreement_band": q.pure,
    "stages.*.gates.*.limit_rate": q.pure,
    "stages.*.gates.*.confidence": q.pure,
}

EVALUATION: Table = {
    **_starts("scenarios.*.start.*", 3),
    "scenarios.*.parameters.*": _parameter(-1),
    "scenarios.*.faults.*.from_step": q.count,
    "scenarios.*.faults.*.to_step": q.count,
    "scenarios.*.faults.*.value": _sibling("signal", "difference"),
    "scenarios.*.actuator_faults.*.from_step": q.count,
    "scenarios.*.actuator_faults.*.to_step": q.count,
    "scenarios.*.actuator_faults.*.value": _sibling("action", "difference"),
    "scenarios.*.references.*.*.step": q.count,
    "scenarios.*.references.*.*.value": _own(-3),
    "scenarios.*.action_limits.*.*": _own(-2),
    "scenarios.*.noise_factor": q.pure,
    **_disturbances("scenarios.*.disturbances.*"),
    "noise_scales.*": q.pure,
    "confidence": q.pure,
}


def read_scale(data: Any) -> tuple[Scale, list[Finding]]:
    """Read period and units of plant data (the period is converted in place), with what is wrong with them."""
    scale = Scale()
    findings = list(q.convert_table(data, {"timing.period": q.duration}, scale))
    period = _get(_get(data, "timing"), "period")
    if isinstance(period, (int, float)) and not isinstance(period, bool) and period > 0:
        scale.period = float(period)
    _split_parameter_units(data)
    scale.signals = dict(_units(data, "signals", findings))
    scale.parameters = dict(_units(data, "parameters", findings))
    return scale, findings


def scale_of(plant: PlantSpec) -> Scale:
    """Return units and period of a plant that was loaded."""
    signals = {name: units.parse_unit(signal.unit) for name, signal in plant.signals.items()}
    parameters = {name: units.parse_unit(parameter.unit) for name, parameter in plant.parameters.items()}
    return Scale(signals, parameters, plant.timing.period)


def _units(data: Any, section: str, findings: list[Finding]) -> Iterator[tuple[str, Unit]]:
    entries = _get(data, section)
    for name, entry in entries.items() if isinstance(entries, dict) else ():
        if not isinstance(entry, dict):
            continue
        if entry.get("unit") == 1:
            entry["unit"] = "1"
        text = entry.get("unit", "1" if section == "parameters" else None)
        if isinstance(text, str):
            try:
                yield name, units.parse_unit(text)
            except UnitError as error:
                findings.append(Finding((section, name, "unit"), text, "a unit of measurement", error.fix))


def _split_parameter_units(data: Any) -> None:
    """Let ``value: 100 L/min`` declare the unit of a parameter that has none."""
    parameters = _get(data, "parameters")
    for entry in parameters.values() if isinstance(parameters, dict) else ():
        value = _get(entry, "value")
        if (
            isinstance(value, str)
            and "unit" not in entry
            and (split := units.split_quantity(value)) is not None
            and split[1]
        ):
            entry["value"], entry["unit"] = split


def write_out_starts(starts: Any) -> None:
    """Write a bare start value out as a fixed one."""
    for name, value in starts.items() if isinstance(starts, dict) else ():
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            starts[name] = {"kind": "fixed", "value": value}
