"""What uses each signal, and what nothing covers: what a process engineer looks at before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from fpo_pilot.specs.expression_rules import names_in
from fpo_pilot.specs.plant import PlantSpec
from fpo_pilot.specs.plant_rules import VERBS, measured_names, names_of
from fpo_pilot.specs.safety import BarrierShield, ConstantController, SafetySpec
from fpo_pilot.specs.shield_rules import hard_state_limits
from fpo_pilot.specs.uncertainty import state_names

UseKind = Literal[
    "observation",
    "reward",
    "goal",
    "kpi",
    "end",
    "disturbance",
    "limit",
    "interlock",
    "sequence",
    "controller",
    "sensor",
]


@dataclass(frozen=True)
class Use:
    """One place that names a signal: the kind of place, its name, and the hazard that it guards against, if any."""

    kind: UseKind
    name: str
    hazard: str | None = None


@dataclass(frozen=True)
class LimitView:
    """A limit of a signal, in the signal's unit."""

    name: str
    kind: Literal["hard", "soft", "action"]
    low: float | None
    high: float | None
    rate: float | None = None
    """Of an action, per step."""


@dataclass(frozen=True)
class SignalView:
    """A signal, its limits and everything that uses it."""

    name: str
    role: str
    tag: str
    unit: str
    range: tuple[float, float]
    measured: bool
    limits: tuple[LimitView, ...]
    uses: tuple[Use, ...]

    def named(self, kind: UseKind) -> tuple[str, ...]:
        """List the uses of one kind by name."""
        return tuple(use.name for use in self.uses if use.kind == kind)


@dataclass(frozen=True)
class Gap:
    """Something that is unused or not covered: ``subject`` is its YAML path, ``message`` says what is missing."""

    subject: str
    message: str


@dataclass(frozen=True)
class Coverage:
    """All signals of a plant, what is unused, and what is not covered. Neither is an error: a person decides."""

    plant: str
    signals: tuple[SignalView, ...]
    unused: tuple[Gap, ...]
    not_covered: tuple[Gap, ...]


def coverage(plant: PlantSpec, safety: SafetySpec | None) -> Coverage:
    """Work out what uses each signal of a plant, and what nothing covers."""
    uses = (*_plant_uses(plant), *(_safety_uses(safety) if safety else ()))
    signals = tuple(
        SignalView(
            name=name,
            role=signal.role,
            tag=signal.tag,
            unit=signal.unit,
            range=signal.range,
            measured=name in measured_names(plant),
            limits=tuple(_limits(name, safety)),
            uses=tuple(dict.fromkeys(use for used, use in uses if used == name)),
        )
        for name, signal in plant.signals.items()
    )
    return Coverage(plant.plant.id, signals, tuple(_unused(signals)), tuple(_not_covered(plant, safety, signals)))


def _plant_uses(plant: PlantSpec) -> Iterator[tuple[str, Use]]:
    """Yield signal and use, for everything in plant.yaml."""
    for index, term in enumerate(plant.observations):
        label = f"{term.term or 'signal'}[{index}]"
        actions = names_of(plant, "action") if term.term == "previous_action" and term.of is None else ()
        for name in (term.signal, term.of, term.reference, *actions):
            if name is not None:
                yield name, Use("observation", label)
    for reward in plant.reward:
        yield from ((name, Use("reward", reward.name)) for name in names_in(reward.expression))
    for goal in plant.goals:
        for verb in VERBS:
            yield from ((name, Use("goal", goal.name, goal.hazard)) for name in names_in(getattr(goal, verb) or ""))
    for key, text in plant.kpi.items():
        yield from ((name, Use("kpi", key)) for name in names_in(text))
    yield from ((name, Use("end", "ends_when")) for name in names_in(plant.episode.ends_when or ""))
    for index, disturbance in enumerate(plant.disturbances):
        yield disturbance.channel, Use("disturbance", f"{disturbance.kind}[{index}]")


def _safety_uses(safety: SafetySpec) -> Iterator[tuple[str, Use]]:
    """Yield signal and use, for everything in the safety spec."""
    for limit in safety.limits:
        yield limit.signal, Use("limit", limit.id, limit.hazard)
    for interlock in safety.interlocks:
        use = Use("interlock", interlock.id, interlock.hazard)
        names = (
            *(name for text in interlock.trips.values() for name in names_in(text)),
            *names_in(interlock.reset_when),
            *interlock.set,
        )
        yield from ((name, use) for name in names)
    for sequence in safety.sequences:
        use = Use("sequence", sequence.id, sequence.hazard)
        for phase in sequence.phases.values():
            names = (*phase.hold, *(name for way in phase.next for name in names_in(way.when)))
            yield from ((name, use) for name in names)
    for name in safety.actions:
        yield name, Use("limit", f"actions.{name}")
    for name in safety.sensors:
        yield name, Use("sensor", f"sensors.{name}", safety.sensors[name].hazard)
    incumbent = safety.incumbent
    if isinstance(incumbent, ConstantController):
        yield from ((name, Use("controller", incumbent.kind)) for name in incumbent.values)
    else:
        for loop in incumbent.loops:
            use = Use("controller", f"{incumbent.kind}({loop.action})")
            yield from ((name, use) for name in (loop.action, loop.measurement, loop.reference))


def _limits(name: str, safety: SafetySpec | None) -> Iterator[LimitView]:
    if safety is None:
        return
    for limit in safety.limits:
        if limit.signal == name:
            yield LimitView(limit.id, limit.kind, limit.low, limit.high)
    if name in safety.actions:
        action = safety.actions[name]
        yield LimitView(f"actions.{name}", "action", action.low, action.high, action.rate)


def _unused(signals: tuple[SignalView, ...]) -> Iterator[Gap]:
    for signal in signals:
        if not signal.uses and signal.role != "action":
            what = "never varies: no disturbance names it" if signal.role == "disturbance" else "nothing names it"
            yield Gap(f"signals.{signal.name}", f"the {signal.role} {signal.name} is declared, but {what}")


def _not_covered(plant: PlantSpec, safety: SafetySpec | None, signals: tuple[SignalView, ...]) -> Iterator[Gap]:
    for signal in signals:
        if signal.role in {"state", "measurement", "reference"} and not signal.named("observation"):
            yield Gap(
                f"signals.{signal.name}",
                f"the {signal.role} {signal.name} is in no observation: the policy cannot see it",
            )
    for goal in plant.goals:
        if goal.hazard is not None and (safety is None or goal.hazard not in safety.hazards):
            yield Gap(
                f"goals.{goal.name}",
                f"the goal {goal.name} names the hazard {goal.hazard}, which is not in the hazard log",
            )
    if safety is None:
        yield Gap("safety", "there is no safety spec: no limits, no shield, no incumbent to give the plant back to")
        return
    for signal in signals:
        if signal.role == "state" and not any(limit.kind == "hard" for limit in signal.limits):
            yield Gap(f"signals.{signal.name}", f"the state {signal.name} has no hard limit")
    yield from _uncovered_hazards(safety, signals)
    for name, action in safety.actions.items():
        if action.rate is None:
            yield Gap(
                f"actions.{name}",
                f"the action {name} has no rate: the policy may move it over its whole span in a step",
            )
    yield from _unwatched_readings(plant, safety)
    yield from _exact_predictions(plant, safety)
    if not safety.stages:
        yield Gap("stages", "no stages are declared: this plant cannot be rolled out")
    elif not any(gate.kind == "rate" for stage in safety.stages for gate in stage.gates):
        yield Gap("stages", "no stage has a gate on violations")


def _unwatched_readings(plant: PlantSpec, safety: SafetySpec) -> Iterator[Gap]:
    """A layer acts on readings: something must say from when on an old or frozen one is not believed."""
    readers: dict[str, str] = {}
    for shield in safety.shields:
        if shield.kind in {"predictive", "barrier"}:
            readers |= dict.fromkeys(state_names(plant), f"the {shield.kind} shield")
    for interlock in safety.interlocks:
        for text in interlock.trips.values():
            readers |= dict.fromkeys(names_in(text), f"interlock {interlock.id}")
    words = {
        "stale_after": "when its reading is too old",
        "frozen_after": "when its reading has stood still for too long",
    }
    if readers and not any(shield.kind == "integrity" for shield in safety.shields):
        name, reader = next(iter(readers.items()))
        yield Gap("shields", f"{reader} acts on {name}, and no integrity layer notices a reading that is none")
    for name in measured_names(plant):
        sensor, (low, high) = safety.sensors.get(name), plant.signals[name].range
        if sensor is not None and sensor.range is not None and (sensor.range[0] < low or sensor.range[1] > high):
            yield Gap(
                f"sensors.{name}.range",
                f"the range is wider than that of {name}, {low:g} to {high:g}: readings beyond are believed",
            )
        for key, when in words.items() if name in readers else ():
            if sensor is None or getattr(sensor, key) is None:
                yield Gap(f"sensors.{name}.{key}", f"{readers[name]} acts on {name}, and no `{key}` says {when}")


def _exact_predictions(plant: PlantSpec, safety: SafetySpec) -> Iterator[Gap]:
    """A barrier whose model error is left out believes its model."""
    for index, shield in enumerate(safety.shields):
        if isinstance(shield, BarrierShield):
            for name in dict.fromkeys(limit.signal for limit in hard_state_limits(safety, plant)):
                if name not in shield.model_error:
                    yield Gap(
                        f"shields[{index}].model_error.{name}",
                        f"the barrier takes its prediction of {name} for exact: no `model_error` says how far off it may be",
                    )


def _uncovered_hazards(safety: SafetySpec, signals: tuple[SignalView, ...]) -> Iterator[Gap]:
    guarded = {
        use.hazard
        for signal in signals
        for use in signal.uses
        if use.kind in {"limit", "interlock", "sequence", "sensor"}
    }
    for name in safety.hazards:
        if name not in guarded:
            yield Gap(
                f"hazards.{name}", f"no limit, interlock, sequence or sensor check guards against the hazard {name}"
            )
    for limit in safety.limits:
        if limit.hazard is None:
            yield Gap(f"limits.{limit.id}", f"the limit {limit.id} names no hazard: nobody can tell why it is there")
    for interlock in safety.interlocks:
        if interlock.hazard is None:
            yield Gap(f"interlocks.{interlock.id}", f"the interlock {interlock.id} names no hazard")
    for sequence in safety.sequences:
        if sequence.hazard is None:
            yield Gap(f"sequences.{sequence.id}", f"the sequence {sequence.id} names no hazard")
