"""What must hold for the shields that know a model, and for what they are told not to know."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from fpo_pilot.errors import Words
from fpo_pilot.specs.findings import Finding, Path
from fpo_pilot.specs.plant import Actuator, PlantSpec
from fpo_pilot.specs.plant_rules import NOTHING, outside_findings, unknown
from fpo_pilot.specs.safety import BarrierShield, Limit, PredictiveShield, SafetySpec
from fpo_pilot.specs.uncertainty import (
    half_width,
    parameter_half_widths,
    reading_delays,
    sensor_error,
    state_errors,
    state_names,
)

MOST_CORNERS = 256
"""Corners of the uncertainty set; more would be simulated in every cycle."""
_MODEL_KINDS = ("predictive", "barrier")


def model_shield_findings(safety: SafetySpec, plant: PlantSpec) -> Iterator[Finding]:
    """Find what is wrong with predictive and barrier shields and with the uncertainty set."""
    kinds: list[str] = [shield.kind for shield in safety.shields]
    yield from _order(kinds)
    yield from _uncertainty(safety, plant)
    for index, shield in enumerate(safety.shields):
        path: Path = ("shields", index)
        if isinstance(shield, PredictiveShield | BarrierShield):
            yield from _model(path, safety, plant)
            yield from _distances(shield.margin, (*path, "margin"), safety, plant)
        if isinstance(shield, BarrierShield):
            yield from _distances(shield.model_error, (*path, "model_error"), safety, plant)
            yield from _room(shield, path, safety, plant)
        if isinstance(shield, PredictiveShield):
            yield from _room(shield, path, safety, plant)
            yield from _terminal_set(shield, (*path, "terminal_set"), safety, plant)
            yield from _horizon(shield, path, safety)
            yield from _set_size(safety, plant, path)


def hard_state_limits(safety: SafetySpec, plant: PlantSpec) -> tuple[Limit, ...]:
    """List the hard limits on states: what a model-based shield keeps."""
    states = state_names(plant)
    return tuple(limit for limit in safety.limits if limit.kind == "hard" and limit.signal in states)


def _order(kinds: list[str]) -> Iterator[Finding]:
    used = [kind for kind in kinds if kind in _MODEL_KINDS]
    if len(set(used)) > 1:
        yield Finding(
            ("shields", kinds.index(used[1]), "kind"),
            used[1],
            f"one shield that knows a model ({used[0]} is there already)",
            "Keep one of the two: each would undo what the other has certified.",
        )
    for kind in used[:1]:
        after = kinds[kinds.index(kind) + 1 :]
        for name in ("integrity", "interlock"):
            if name in after:
                fix = f"Put `{name}` before `{kind}`: an interlock beats it, and it believes what it reads."
                yield Finding(("shields", kinds.index(kind), "kind"), kind, f"{name} before {kind}", fix)


def _model(path: Path, safety: SafetySpec, plant: PlantSpec) -> Iterator[Finding]:
    unmeasured = [name for name in state_names(plant) if not plant.signals[name].measured]
    if unmeasured:
        found = Words(f"no reading of {', '.join(unmeasured)}")
        fix = "Measure every state, or leave this shield out: it must know where the plant is."
        yield Finding((*path, "kind"), found, "a reading of every state", fix)
    delays = reading_delays(plant)
    if len(set(delays.values())) > 1:
        found = Words(", ".join(f"{name} {steps} steps late" for name, steps in delays.items()))
        yield Finding((*path, "kind"), found, "readings that are all equally late", "Give every state one delay_steps.")
    states = state_names(plant)
    beyond = [limit.id for limit in safety.limits if limit.kind == "hard" and limit.signal not in states]
    beyond = [name for name in beyond if _signal_of(name, safety) not in safety.actions]
    if beyond:
        found = Words(f"the hard limit {', '.join(beyond)} on a computed signal")
        fix = "Limit states, or leave this shield out: what it does not watch it cannot keep."
        yield Finding((*path, "kind"), found, "hard limits on states", fix)
    yield from _actuators((*path, "kind"), safety, plant)
    if not hard_state_limits(safety, plant):
        yield Finding((*path, "kind"), Words("no hard limit on a state"), "something to keep", "Add a hard limit.")


def _actuators(path: Path, safety: SafetySpec, plant: PlantSpec) -> Iterator[Finding]:
    """The model steps with the action that is sent; nothing in it lags, sticks or has play."""
    for name in safety.actions:
        actuator = plant.signals[name].actuator if name in plant.signals else Actuator()
        found = [key for key in ("stiction", "dead_band", "lag") if getattr(actuator, key) > 0.0]
        if found:
            expected = "actuators that go where they are sent, at their rate"
            fix = "Make the actuator's position a state of the dynamics, or leave this shield out: its model knows nothing of it."
            yield Finding(path, Words(f"{' and '.join(found)} of {name}"), expected, fix)


def _signal_of(name: str, safety: SafetySpec) -> str:
    return next(limit.signal for limit in safety.limits if limit.id == name)


def _distances(given: Iterable[str], path: Path, safety: SafetySpec, plant: PlantSpec) -> Iterator[Finding]:
    known = tuple(dict.fromkeys(limit.signal for limit in hard_state_limits(safety, plant)))
    for name in given:
        if name not in known:
            yield unknown((*path, name), name, known, "a state with a hard limit")


def _room(
    shield: PredictiveShield | BarrierShield, path: Path, safety: SafetySpec, plant: PlantSpec
) -> Iterator[Finding]:
    """A margin must leave something between the limits of one state."""
    error = shield.model_error if isinstance(shield, BarrierShield) else {}
    limits = hard_state_limits(safety, plant)
    for name in dict.fromkeys(limit.signal for limit in limits):
        own = [limit for limit in limits if limit.signal == name]
        low = max((limit.low for limit in own if limit.low is not None), default=plant.signals[name].range[0])
        high = min((limit.high for limit in own if limit.high is not None), default=plant.signals[name].range[1])
        kept = shield.margin.get(name, 0.0) + error.get(name, 0.0)
        sides = sum(any(getattr(limit, side) is not None for limit in own) for side in ("low", "high"))
        if kept * sides >= high - low:
            key = "margin" if name in shield.margin else "model_error"
            expected = f"a distance that leaves room between {low:g} and {high:g}"
            yield Finding((*path, key, name), kept, expected, "Lower it: nothing would be safe.")


def _terminal_set(shield: PredictiveShield, path: Path, safety: SafetySpec, plant: PlantSpec) -> Iterator[Finding]:
    states = state_names(plant)
    if not shield.terminal_set:
        yield Finding(path, NOTHING, "bounds of a state", "Say where the backup can be held for ever.")
    for name, bounds in shield.terminal_set.items():
        if name not in states:
            yield unknown((*path, name), name, states, "a state")
            continue
        if bounds.low is None and bounds.high is None:
            yield Finding((*path, name), NOTHING, "`low`, `high` or both", "Add a bound, or leave the state out.")
        for side in ("low", "high"):
            value = getattr(bounds, side)
            if value is not None:
                yield from outside_findings(value, plant.signals[name], (*path, name, side))
        if bounds.low is not None and bounds.high is not None and bounds.low >= bounds.high:
            yield Finding((*path, name, "low"), bounds.low, f"a value below high, {bounds.high:g}", "Exchange the two.")
    for limit in hard_state_limits(safety, plant):
        yield from _inside(limit, shield, path)


def _inside(limit: Limit, shield: PredictiveShield, path: Path) -> Iterator[Finding]:
    """The terminal set must lie inside every hard limit, margin included."""
    margin = shield.margin.get(limit.signal, 0.0)
    bounds = shield.terminal_set.get(limit.signal)
    for side, sign in (("low", -1.0), ("high", 1.0)):
        edge = getattr(limit, side)
        value = None if bounds is None else getattr(bounds, side)
        if edge is None or (value is not None and sign * value <= sign * edge - margin):
            continue
        kept = edge - sign * margin
        expected = f"a {side} end inside the hard limit {limit.id} and its margin, {kept:g}"
        found = NOTHING if value is None else value
        where = path if bounds is None else (*path, limit.signal)
        fix = f"Bound {limit.signal} there: a roll-out may not end where the limit is passed."
        yield Finding(where if value is None else (*where, side), found, expected, fix)


def _horizon(shield: PredictiveShield, path: Path, safety: SafetySpec) -> Iterator[Finding]:
    for name, limit in safety.actions.items():
        if limit.rate is None:
            continue
        steps = math.ceil(max(limit.high - limit.fallback, limit.fallback - limit.low) / limit.rate - 1e-9)
        if steps > shield.horizon:
            expected = f"at least {steps} steps, which {name} needs to its backup at {limit.rate:g} a step"
            yield Finding((*path, "horizon"), shield.horizon, expected, "Look farther ahead, or allow a faster rate.")


def _set_size(safety: SafetySpec, plant: PlantSpec, path: Path) -> Iterator[Finding]:
    errors = state_errors(safety, plant)
    for name, error in errors.items():
        if error is None:
            found = Words(f"noise of {name} without a bound")
            fix = f"Add `truncate` to the noise in plant.yaml, or `uncertainty: {{states: {{{name}: …}}}}` here."
            yield Finding((*path, "kind"), found, "readings with a bounded error", fix)
    known = parameter_half_widths(safety, plant)
    corners = 2 ** (len(known) + sum(bool(error) for error in errors.values()))
    if corners > MOST_CORNERS:
        fix = "Name fewer parameters and states: the others are nominal and exact then."
        yield Finding(("uncertainty",), Words(f"{corners} corners"), f"at most {MOST_CORNERS}", fix)


def _uncertainty(safety: SafetySpec, plant: PlantSpec) -> Iterator[Finding]:
    path: Path = ("uncertainty",)
    declared = safety.uncertainty.parameters
    for name, parameter in plant.parameters.items():
        if declared is not None and name not in declared and parameter.uncertainty is not None:
            fix = f"Add {name}, or leave `parameters` out to take all that plant.yaml declares."
            yield Finding((*path, "parameters"), Words(f"nothing of {name}"), "every uncertain parameter", fix)
    for name, uncertainty in (declared or {}).items():
        here = (*path, "parameters", name)
        if name not in plant.parameters:
            yield unknown(here, name, plant.parameters, "a parameter of the plant")
            continue
        own = plant.parameters[name].uncertainty
        given, needed = half_width(plant, name, uncertainty), 0.0 if own is None else half_width(plant, name, own)
        if given < needed * (1.0 - 1e-9):
            expected = f"at least {needed:g} {plant.parameters[name].unit}, which plant.yaml says is not known"
            yield Finding((*here, "half_width"), given, expected, "Widen it, or correct the plant.")
    states = state_names(plant)
    for name, error in (safety.uncertainty.states or {}).items():
        if name not in states:
            yield unknown((*path, "states", name), name, states, "a state")
            continue
        least = sensor_error(plant.signals[name].sensor)
        if least is not None and error < least * (1.0 - 1e-9):
            expected = f"at least {least:g} {plant.signals[name].unit}, by which the sensor of plant.yaml can be wrong"
            yield Finding((*path, "states", name), error, expected, "Raise it, or correct the sensor.")
