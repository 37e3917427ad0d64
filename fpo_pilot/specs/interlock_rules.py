"""What must hold of the interlocks of safety/NAME.yaml, between one another and between them and the plant."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from fpo_pilot.errors import Words
from fpo_pilot.specs.contradiction import can_both_hold, comes_too_late
from fpo_pilot.specs.expression import parse
from fpo_pilot.specs.expression_rules import expression_findings, signal_units, unobservable_findings
from fpo_pilot.specs.findings import Finding, Path
from fpo_pilot.specs.plant import PlantSpec
from fpo_pilot.specs.plant_rules import NOTHING, duplicate_findings, measured_names, names_of, unknown
from fpo_pilot.specs.safety import Interlock, PredictiveShield, SafetySpec


def interlock_findings(safety: SafetySpec, plant: PlantSpec) -> Iterator[Finding]:
    """Find what is wrong with the interlocks."""
    yield from duplicate_findings((interlock.id for interlock in safety.interlocks), ("interlocks",), "id")
    for index, interlock in enumerate(safety.interlocks):
        yield from _interlock(interlock, ("interlocks", index), safety, plant)
        yield from _winner(interlock, ("interlocks", index), safety)
        for before in safety.interlocks[:index]:
            yield from _contradiction(before, interlock, ("interlocks", index))


def _interlock(interlock: Interlock, path: Path, safety: SafetySpec, plant: PlantSpec) -> Iterator[Finding]:
    if interlock.hazard is not None and interlock.hazard not in safety.hazards:
        yield unknown((*path, "hazard"), interlock.hazard, safety.hazards, "a hazard of the hazard log")
    units = signal_units(plant)
    readable = (*measured_names(plant), *names_of(plant, "action"))
    faults = [*_trip_form(interlock, path)]
    for place, text in (*interlock.trips.items(), ("reset_when", interlock.reset_when)):
        here = _place(path, place)
        faults += expression_findings(text, here, units, condition=True)
        faults += unobservable_findings(text, here, plant, readable)
    yield from faults
    if not faults:
        yield from _reset_beside_trip(interlock, path, units, plant.timing.period)
        yield from _too_late(interlock, path, safety, plant)
    if not interlock.set:
        yield Finding((*path, "set"), NOTHING, "the actions while latched", "Add an action and its safe value.")
    looks_ahead = any(isinstance(shield, PredictiveShield) for shield in safety.shields)
    for name, value in interlock.set.items():
        if name not in safety.actions:
            yield unknown((*path, "set", name), name, safety.actions, "an action with limits")
            continue
        limit = safety.actions[name]
        if not limit.low <= value <= limit.high:
            expected = f"a value within the action's limits, {limit.low:g} to {limit.high:g}"
            yield Finding((*path, "set", name), value, expected, "Correct the value, or the limits of the action.")
        elif looks_ahead and value != limit.fallback:
            expected = f"the action's fallback, {limit.fallback:g}, to which the shield that looks ahead goes"
            fix = "Make the two equal: once latched, the plant would go where nothing was looked at."
            yield Finding((*path, "set", name), value, expected, fix)


def _place(path: Path, place: str) -> Path:
    """Return the path of a condition: ``vote.of.1`` below that of its interlock."""
    return (*path, *(int(part) if part.isdigit() else part for part in place.split(".")))


def _too_late(interlock: Interlock, path: Path, safety: SafetySpec, plant: PlantSpec) -> Iterator[Finding]:
    """An interlock that can trip only where a hard limit is reached already protects nothing."""
    hard = [limit for limit in safety.limits if limit.kind == "hard"]
    edges = {
        signal: (
            max((one.low for one in hard if one.signal == signal and one.low is not None), default=-math.inf),
            min((one.high for one in hard if one.signal == signal and one.high is not None), default=math.inf),
        )
        for signal in {limit.signal for limit in hard}
    }
    for place, text in interlock.trips.items():
        signal = comes_too_late(parse(text), edges, signal_units(plant), plant.timing.period)
        if signal is None:
            continue
        ends = (f"{end:g}" for end in edges[signal] if math.isfinite(end))
        names = (limit.id for limit in hard if limit.signal == signal)
        expected = (
            f"a trip before the hard limit {' or '.join(names)}, {' or '.join(ends)} {plant.signals[signal].unit}"
        )
        yield Finding(_place(path, place), text, expected, "Let it trip earlier: it acts when the limit is passed.")


def _contradiction(before: Interlock, interlock: Interlock, path: Path) -> Iterator[Finding]:
    """Both can be latched at once, since a latch stays: one action cannot go to two values, unless one of them is declared to win."""
    if interlock.id in before.over or before.id in interlock.over:  # the second is told by its order
        return
    for name, value in interlock.set.items():
        other = before.set.get(name, value)
        if other != value:
            expected = f"{other:g}, to which {before.id} sets it, or a declared winner"
            fix = f"Set both alike, or write `over: [{interlock.id}]` into {before.id}, which then wins while both are latched."
            yield Finding((*path, "set", name), value, expected, fix)


def _winner(interlock: Interlock, path: Path, safety: SafetySpec) -> Iterator[Finding]:
    """What an interlock is over must be another one, and stand after it: of two latched ones the first of the file wins."""
    names = [other.id for other in safety.interlocks]
    for index, name in enumerate(interlock.over):
        here = (*path, "over", index)
        if name not in names:
            yield unknown(here, name, names, "an interlock of this file")
        elif name == interlock.id:
            yield Finding(here, name, "another interlock", "Name the one that gives way, or delete it.")
        elif names.index(name) < names.index(interlock.id):
            found = Words(f"{name!r}, which stands before {interlock.id}")
            fix = f"Put {interlock.id} before {name}: of two latched interlocks the first of the file wins."
            yield Finding(here, found, "an interlock that stands after this one", fix)


def _trip_form(interlock: Interlock, path: Path) -> Iterator[Finding]:
    """One condition or a vote, and a vote that can be won."""
    if (interlock.trip_when is None) == (interlock.vote is None):
        found = NOTHING if interlock.vote is None else Words("`trip_when` and `vote`")
        fix = "Add `trip_when:` with a condition, or `vote: {least: 2, of: [ … ]}`, not both."
        yield Finding((*path, "trip_when"), found, "`trip_when` or `vote`", fix)
    vote = interlock.vote
    if vote is not None and vote.least > len(vote.of):
        expected = f"at most {len(vote.of)}, the number of conditions"
        yield Finding((*path, "vote", "least"), vote.least, expected, "It could never trip: lower it.")
    if vote is not None:
        yield from duplicate_findings(vote.of, (*path, "vote", "of"), None)


def _reset_beside_trip(interlock: Interlock, path: Path, units: Mapping[str, str], period: float) -> Iterator[Finding]:
    """The reset may hold beside conditions that vote, but not beside enough of them to trip."""
    reset = parse(interlock.reset_when)
    beside = [text for text in interlock.trips.values() if can_both_hold(parse(text), reset, units, period)]
    if len(beside) >= (1 if interlock.vote is None else interlock.vote.least):
        found = Words(f"{interlock.reset_when!r}, which can hold while {'; '.join(beside)!r} holds")
        yield Finding(
            (*path, "reset_when"), found, "a condition on the safe side of the trip", "Leave a gap between the two."
        )
