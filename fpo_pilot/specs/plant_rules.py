"""What must hold between the fields of plant.yaml."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path as FilePath

from fpo_pilot.errors import Words
from fpo_pilot.specs.expression.parser import RESERVED
from fpo_pilot.specs.expression_rules import expression_findings, signal_units
from fpo_pilot.specs.findings import Finding, Path, did_you_mean
from fpo_pilot.specs.plant import (
    DisturbanceSpec,
    Fixed,
    Goal,
    Normal,
    ObservationTerm,
    PlantSpec,
    Signal,
    Start,
    Uniform,
)

NOTHING = Words("nothing")
VERBS = ("avoid", "reach", "drive", "minimize", "maximize")


def plant_findings(plant: PlantSpec, folder: FilePath | None = None) -> Iterator[Finding]:
    """Find everything that is wrong with a plant whose fields are sound one by one.

    Args:
        plant: the spec, in engineering units.
        folder: where its file is; with it, the file of the dynamics must exist.
    """
    if folder is not None:
        yield from _dynamics(plant, folder)
        if folder.absolute().parent.name == "envs" and plant.plant.id != folder.absolute().name:
            expected = f"{folder.absolute().name}, the name of its folder"
            yield Finding(
                ("plant", "id"), plant.plant.id, expected, "Rename one of the two: commands find a plant by both."
            )
    for name in plant.parameters:
        if name in plant.signals:
            yield Finding(("parameters", name), name, "a name that no signal has", "Rename one of the two.")
    for name, signal in plant.signals.items():
        yield from _signal(plant, name, signal)
    for role, purpose in (("action", "what a policy may move"), ("state", "what the dynamics integrate")):
        if not names_of(plant, role):
            yield Finding(
                ("signals",), Words(f"no {role}"), f"at least one signal of role {role}", f"Declare {purpose}."
            )
    if not plant.observations:
        yield Finding(
            ("observations",), NOTHING, "at least one observation", "Say what the policy sees, as in `- {signal: T}`."
        )
    for index, term in enumerate(plant.observations):
        yield from _observation(plant, index, term)
    yield from _purpose(plant)
    for index, disturbance in enumerate(plant.disturbances):
        yield from disturbance_findings(plant, disturbance, ("disturbances", index))
    yield from _episode(plant)
    for name, text in plant.kpi.items():
        yield from expression_findings(text, ("kpi", name), signal_units(plant))


def names_of(plant: PlantSpec, *roles: str) -> tuple[str, ...]:
    """List the signals of some roles, in the order of the file."""
    return tuple(name for name, signal in plant.signals.items() if signal.role in roles)


def measured_names(plant: PlantSpec) -> tuple[str, ...]:
    """List the signals that a sensor reads."""
    return tuple(name for name in names_of(plant, "state", "measurement") if plant.signals[name].measured)


def unknown(path: Path, name: str, known: Iterable[str], what: str) -> Finding:
    """Say that a name does not exist, and which do."""
    names = tuple(known)
    listed = f"{what} ({', '.join(names) if names else 'there is none'})"
    return Finding(path, name, listed, did_you_mean(name, names, "Declare it, or correct the name."))


def range_findings(low: float, high: float, path: Path) -> Iterator[Finding]:
    """Find a range that is empty or upside down."""
    if not low < high:
        yield Finding(path, [low, high], "[low, high] with low below high", "Exchange the two, or widen the range.")


def outside_findings(value: float, signal: Signal, path: Path) -> Iterator[Finding]:
    """Find a value outside the physical range of its signal."""
    low, high = signal.range
    if low < high and not low <= value <= high:
        expected = f"a value within the signal's range, {low:g} to {high:g} {signal.unit}"
        yield Finding(path, value, expected, "Correct the value (and its unit), or the range.")


def duplicate_findings(names: Iterable[str], path: Path, key: str | None) -> Iterator[Finding]:
    """Find names that are used more than once in a list."""
    seen: Counter[str] = Counter()
    for index, name in enumerate(names):
        seen[name] += 1
        if seen[name] == 2:
            where = (*path, index) if key is None else (*path, index, key)
            yield Finding(where, name, "each name once", "Rename one of the two, or delete it.")


def start_findings(start: Start, signal: Signal, path: Path) -> Iterator[Finding]:
    """Find a start distribution that is upside down or reaches beyond the signal's range."""
    if isinstance(start, Fixed):
        yield from outside_findings(start.value, signal, path)
    elif isinstance(start, Uniform):
        if start.low > start.high:
            yield Finding(path, [start.low, start.high], "low not above high", "Exchange the two.")
        yield from outside_findings(start.low, signal, (*path, "low"))
        yield from outside_findings(start.high, signal, (*path, "high"))
    elif isinstance(start, Normal):
        reach = start.truncate * start.std
        edges = [edge for edge in (start.mean - reach, start.mean + reach) if any(outside_findings(edge, signal, path))]
        if edges:
            low, high = signal.range
            found = Words(f"{start.mean:g} ± {start.truncate:g}·{start.std:g}, which reaches {edges[0]:g}")
            expected = f"values within the signal's range, {low:g} to {high:g} {signal.unit}"
            yield Finding(path, found, expected, "Lower `std` or `truncate`, or move `mean`.")


def disturbance_findings(plant: PlantSpec, disturbance: DisturbanceSpec, path: Path) -> Iterator[Finding]:
    """Find a disturbance of an unknown channel, of a kind that its channel does not have, or without its period."""
    channels = (*names_of(plant, "disturbance", "state"), *plant.parameters)
    if disturbance.channel not in channels:
        yield unknown((*path, "channel"), disturbance.channel, channels, "a disturbance signal, a state or a parameter")
    elif disturbance.channel in names_of(plant, "state") and disturbance.kind != "impulse":
        fix = "Use `kind: impulse`, or declare a disturbance signal that the dynamics read."
        yield Finding((*path, "kind"), disturbance.kind, "impulse, since the channel is a state", fix)
    if disturbance.kind in {"periodic", "ou"} and disturbance.period_steps is None:
        yield Finding(
            (*path, "period_steps"), NOTHING, f"the period of a {disturbance.kind} disturbance", "Add `period_steps:`."
        )
    if (disturbance.kind == "replay") != (disturbance.replay is not None):
        found = Words("a file") if disturbance.replay is not None else NOTHING
        expected = "`replay:` with file and column, and with `kind: replay` alone"
        yield Finding((*path, "replay"), found, expected, "Add or delete it.")
    if disturbance.kind == "ramp" and disturbance.until_step is None:
        yield Finding((*path, "until_step"), NOTHING, "the step at which the ramp ends", "Add `until_step:`.")
    if disturbance.until_step is not None and disturbance.until_step <= disturbance.at_step:
        expected = f"a step after at_step, which is {disturbance.at_step}"
        yield Finding((*path, "until_step"), disturbance.until_step, expected, "Correct one of the two.")


def _dynamics(plant: PlantSpec, folder: FilePath) -> Iterator[Finding]:
    """Check that the file is there, without running it."""
    path, name = ("dynamics", "file"), plant.dynamics.file
    file = (folder / name).resolve()
    if not name.endswith(".py"):
        yield Finding(path, name, "a Python file, such as cstr.py", "Name the file that holds the dynamics class.")
    elif not file.is_relative_to(folder.resolve().parent):
        yield Finding(
            path, name, "a file beside the spec, or of a plant beside it", "Move the file into the folder of the plant."
        )
    elif not file.is_file():
        near = tuple(sorted(found.name for found in folder.glob("*.py")))
        yield Finding(
            path,
            name,
            f"a file that exists ({', '.join(near) or 'there is no .py file here'})",
            did_you_mean(name, near, f"Write {name} beside the spec."),
        )
    if not plant.dynamics.cls.isidentifier():
        yield Finding(
            ("dynamics", "class"),
            plant.dynamics.cls,
            "the name of a Python class",
            "Write the name alone, such as Cstr.",
        )


def _signal(plant: PlantSpec, name: str, signal: Signal) -> Iterator[Finding]:
    path: Path = ("signals", name)
    if name in RESERVED:
        expected = f"no word of the expression language ({', '.join(sorted(RESERVED))})"
        yield Finding(path, Words(f"the name {name!r}, a word of the expression language"), expected, "Rename it.")
    yield from range_findings(*signal.range, (*path, "range"))
    if signal.start is not None:
        yield from outside_findings(signal.start, signal, (*path, "start"))
        if signal.role not in {"action", "disturbance"}:
            fix = f"Write it under `episode: {{start: {{{name}: …}}}}`." if signal.role == "state" else "Delete it."
            yield Finding((*path, "start"), signal.start, "no start: it is for actions and disturbances", fix)
    elif signal.role == "action":
        fix = "Add `start:`, the value that is read back when an episode begins."
        yield Finding((*path, "start"), NOTHING, "the value at the start of an episode", fix)
    if signal.rate is not None and signal.role != "action":
        yield Finding((*path, "rate"), signal.rate, "no rate: only actuators have one", "Delete it.")
    if "actuator" in signal.model_fields_set and signal.role != "action":
        yield Finding((*path, "actuator"), Words("an actuator"), "none: this signal is no action", "Delete it.")
    if signal.actuator.stiction > 0.0 and signal.actuator.dead_band > 0.0:
        expected = "one of `stiction` and `dead_band`"
        yield Finding((*path, "actuator"), Words("both"), expected, "Keep the one that was seen on the valve.")
    if signal.role == "reference":
        yield from schedule_findings(plant, signal, (*path, "schedule"))
        yield from _steady_actions(plant, name, signal)
    else:
        for key in ("schedule", "steady_actions"):
            if getattr(signal, key):
                yield Finding(
                    (*path, key), Words(f"a {key.replace('_', ' ')}"), "none: only references have one", "Delete it."
                )
    sensed = signal.role == "measurement" or (signal.role == "state" and signal.measured)
    if "sensor" in signal.model_fields_set and not sensed:
        yield Finding(
            (*path, "sensor"),
            Words("a sensor"),
            "none: this signal is not measured",
            "Delete it, or measure the signal.",
        )


def schedule_findings(plant: PlantSpec, signal: Signal, path: Path) -> Iterator[Finding]:
    """Find what is wrong with the values of a reference over the episode."""
    if not signal.schedule:
        yield Finding(path, NOTHING, "the values of the reference", "Add `schedule: [{step: 0, value: …}]`.")
        return
    if signal.schedule[0].step != 0:
        yield Finding(
            (*path, 0, "step"), signal.schedule[0].step, "0: the first value holds from the start", "Write step: 0."
        )
    for index, point in enumerate(signal.schedule):
        yield from outside_findings(point.value, signal, (*path, index, "value"))
        if index and point.step <= signal.schedule[index - 1].step:
            before = signal.schedule[index - 1].step
            yield Finding(
                (*path, index, "step"), point.step, f"a step after {before}", "Put the points in the order of time."
            )
        elif point.step >= plant.timing.horizon:
            yield Finding(
                (*path, index, "step"), point.step, f"a step before the horizon, {plant.timing.horizon}", "Delete it."
            )


def _steady_actions(plant: PlantSpec, name: str, signal: Signal) -> Iterator[Finding]:
    path: Path = ("signals", name, "steady_actions")
    if not signal.steady_actions:
        return
    if len(signal.steady_actions) != len(signal.schedule):
        found = Words(f"{len(signal.steady_actions)} entries")
        yield Finding(
            path, found, f"one for each of the {len(signal.schedule)} points of the schedule", "Add or delete entries."
        )
    actions = names_of(plant, "action")
    for index, steady in enumerate(signal.steady_actions):
        for action, value in steady.items():
            if action not in actions:
                yield unknown((*path, index, action), action, actions, "an action")
            else:
                yield from outside_findings(value, plant.signals[action], (*path, index, action))


def _observation(plant: PlantSpec, index: int, term: ObservationTerm) -> Iterator[Finding]:
    path: Path = ("observations", index)
    if (term.signal is None) == (term.term is None):
        found = NOTHING if term.signal is None else Words("both `signal` and `term`")
        yield Finding(
            path, found, "exactly one of `signal` and `term`", "Write `- {signal: NAME}` or `- {term: KIND}`."
        )
        return
    if term.scale is not None:
        yield from range_findings(*term.scale, (*path, "scale"))
    if term.signal is not None:
        known = (*measured_names(plant), *names_of(plant, "reference", "action"))
        if term.signal not in known:
            yield unknown((*path, "signal"), term.signal, known, "a measured signal, a reference or an action")
    wants_of: dict[str | None, tuple[tuple[str, ...], bool]] = {
        "setpoint_error": (measured_names(plant), True),
        "preview": (names_of(plant, "reference"), True),
        "previous_action": (names_of(plant, "action"), False),
    }
    known, required = wants_of.get(term.term, ((), False))
    if term.of is None and required:
        yield Finding(
            (*path, "of"), NOTHING, f"one of {', '.join(known)}", f"Add `of:`, the signal of this {term.term}."
        )
    elif term.of is not None and term.of not in known:
        yield unknown(
            (*path, "of"), term.of, known, f"a signal that {term.term or 'an observation of a signal'} can be of"
        )
    yield from _reference(plant, term, path)
    allowed = {None: {"history"}, "preview": {"ahead"}, "setpoint_error": {"history"}, "previous_action": {"history"}}
    for key in ("ahead", "history"):
        if key in term.model_fields_set and getattr(term, key) != 1 and key not in allowed.get(term.term, set()):
            yield Finding((*path, key), getattr(term, key), f"no `{key}` in this observation", "Delete it.")


def _reference(plant: PlantSpec, term: ObservationTerm, path: Path) -> Iterator[Finding]:
    references = names_of(plant, "reference")
    if term.term != "setpoint_error":
        if term.reference is not None:
            yield Finding(
                (*path, "reference"), term.reference, "no `reference`: it is for setpoint_error", "Delete it."
            )
    elif term.reference is None:
        yield Finding(
            (*path, "reference"), NOTHING, f"one of {', '.join(references) or 'the references'}", "Add `reference:`."
        )
    elif term.reference not in references:
        yield unknown((*path, "reference"), term.reference, references, "a reference")
    elif term.of in plant.signals and not _same_unit(plant, term.of, term.reference):
        found = Words(f"{term.reference} in {plant.signals[term.reference].unit}")
        yield Finding(
            (*path, "reference"),
            found,
            f"a reference in {plant.signals[str(term.of)].unit}, as {term.of} is",
            "Declare both signals in one unit.",
        )


def _same_unit(plant: PlantSpec, first: str | None, second: str) -> bool:
    from fpo_pilot.specs.units import parse_unit

    return parse_unit(plant.signals[str(first)].unit) == parse_unit(plant.signals[second].unit)


def _purpose(plant: PlantSpec) -> Iterator[Finding]:
    """Check rewards or goals: one of the two."""
    units = signal_units(plant)
    rewarded = [goal for goal in plant.goals if goal.weight > 0.0]
    if plant.reward and rewarded:
        yield Finding(
            ("goals",),
            Words("both `reward` and `goals`"),
            "one of the two",
            "Goals are compiled to a reward: delete one, or give the goals `weight: 0` to measure them only.",
        )
    if not plant.reward and not rewarded:
        found = Words("only goals of weight 0") if plant.goals else NOTHING
        yield Finding(("reward",), found, "`reward` or `goals`", "Say what is good: add terms of a reward, or goals.")
    yield from duplicate_findings((term.name for term in plant.reward), ("reward",), "name")
    for index, term in enumerate(plant.reward):
        yield from expression_findings(term.expression, ("reward", index, "expression"), units, plain=True)
    yield from duplicate_findings((goal.name for goal in plant.goals), ("goals",), "name")
    for index, goal in enumerate(plant.goals):
        yield from _goal(goal, ("goals", index), units, plant.timing.horizon)


def _goal(goal: Goal, path: Path, units: dict[str, str], horizon: int) -> Iterator[Finding]:
    given = [verb for verb in VERBS if getattr(goal, verb) is not None]
    if len(given) != 1:
        found = Words(" and ".join(given)) if given else NOTHING
        yield Finding(path, found, f"exactly one of {', '.join(VERBS)}", "Make a goal of each, or choose one.")
    for verb in given:
        condition = verb in {"avoid", "reach", "drive"}
        yield from expression_findings(getattr(goal, verb), (*path, verb), units, condition=condition)
    if "drive" in given and goal.within_steps is None:
        yield Finding((*path, "within_steps"), NOTHING, "the step from which it must hold", "Add `within_steps:`.")
    if goal.within_steps is not None and goal.within_steps > horizon:
        expected = f"at most the horizon, {horizon}"
        yield Finding((*path, "within_steps"), goal.within_steps, expected, "It would never be asked: lower it.")
    if goal.weight == 0.0 and (goal.minimize is not None or goal.maximize is not None):
        yield Finding(
            (*path, "weight"),
            goal.weight,
            "a weight above 0 for minimize and maximize, which no episode satisfies or fails",
            "To measure the expression only, write it under `kpi:`.",
        )
    if "drive" not in given and goal.within_steps is not None:
        yield Finding(
            (*path, "within_steps"),
            goal.within_steps,
            "no `within_steps`: it is for drive",
            "Delete it, or use `drive`.",
        )


def _episode(plant: PlantSpec) -> Iterator[Finding]:
    path: Path = ("episode", "start")
    states = names_of(plant, "state")
    for name, start in plant.episode.start.items():
        if name not in states:
            yield unknown((*path, name), name, states, "a state")
        else:
            yield from start_findings(start, plant.signals[name], (*path, name))
    for name in states:
        if name not in plant.episode.start:
            yield Finding(
                (*path, name),
                NOTHING,
                "the value of every state at the start",
                f"Add `{name}:` with a value in {plant.signals[name].unit}, or a distribution.",
            )
    if plant.episode.ends_when is not None:
        units = signal_units(plant)
        yield from expression_findings(plant.episode.ends_when, ("episode", "ends_when"), units, condition=True)
    if plant.episode.randomize_parameters and not any(p.uncertainty for p in plant.parameters.values()):
        yield Finding(
            ("episode", "randomize_parameters"),
            True,
            "a parameter with `uncertainty`",
            "Declare one, or delete this line.",
        )
