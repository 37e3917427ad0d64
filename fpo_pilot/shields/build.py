"""A stack of shields from the specs."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from fpo_pilot.errors import ShieldError
from fpo_pilot.shields.box_rate import BoxRateShield
from fpo_pilot.shields.conditions import Ballot, Condition
from fpo_pilot.shields.envelope import Envelope
from fpo_pilot.shields.fallback import FallbackAction
from fpo_pilot.shields.integrity import IntegrityShield, SensorCheck
from fpo_pilot.shields.interlock import InterlockRule, InterlockShield
from fpo_pilot.shields.model import Dynamics
from fpo_pilot.shields.model_stages import ModelStages, needs_model, require_dynamics
from fpo_pilot.shields.sequence import SequenceRule, SequenceShield, Step
from fpo_pilot.shields.stack import ShieldStack
from fpo_pilot.shields.verdict import Shield
from fpo_pilot.specs.expression import bind, parse
from fpo_pilot.specs.plant import PlantSpec
from fpo_pilot.specs.safety import BarrierShield as BarrierSpec
from fpo_pilot.specs.safety import Interlock, SafetySpec
from fpo_pilot.specs.safety import PredictiveShield as PredictiveSpec
from fpo_pilot.specs.safety import Sequence as SequenceSpec


def build_stack(
    safety: SafetySpec,
    plant_spec: PlantSpec,
    *,
    device: str | torch.device = "cpu",
    measured: Sequence[str] | None = None,
    actions: Sequence[str] | None = None,
    dynamics: Dynamics | None = None,
    live: bool = False,
) -> ShieldStack:
    """Build the shields that a safety spec names: integrity → sequence → interlock → predictive or barrier → box and rate → re-verify.

    Box and rate, and the re-verification, are there even if the spec does not name them.

    Args:
        safety: limits of the actions, interlocks, sensors, shields, fallback.
        plant_spec: of the plant: ranges and units of the signals.
        device: where constants are made beforehand; the stack follows its inputs to any other.
        measured: names of the measurement columns; by default every measured signal in the order of the plant spec.
        actions: names of the action columns; by default every action in the order of the plant spec.
        dynamics: the model for shields that look ahead; needed if the spec names one.
        live: decisions are timed, and those over their budget become the backup.

    Raises:
        ShieldError: the safety spec cannot be kept, such as an interlock target outside the box, a terminal set that the backup leaves,
            or a shield that needs a model where there is none.
    """
    measured = measured_signals(plant_spec) if measured is None else tuple(measured)
    actions = action_signals(plant_spec) if actions is None else tuple(actions)
    envelope = Envelope.from_spec(safety.actions, actions)
    envelope.bounds(torch.empty(0, dtype=torch.float32, device=device))
    fallback = FallbackAction(safety.fallback.kind, envelope)
    wanted = {shield.kind for shield in safety.shields}
    stages: list[tuple[str, Shield]] = []
    if "integrity" in wanted:
        stages.append(("integrity", IntegrityShield(_sensors(safety, plant_spec, measured), fallback)))
    interlock: InterlockShield | None = None
    if "interlock" in wanted and safety.interlocks:
        rules = tuple(_rule(rule, plant_spec, measured, actions) for rule in safety.interlocks)
        interlock = InterlockShield(rules, envelope, len(measured))
    sequence: SequenceShield | None = None
    if "sequence" in wanted and safety.sequences:
        automata = tuple(_sequence(rule, plant_spec, measured, actions) for rule in safety.sequences)
        sequence = SequenceShield(automata, envelope, len(measured), interlock)
        stages.append(("sequence", sequence))
    if interlock is not None:
        stages.append(("interlock", interlock))
    backup: FallbackAction | None = None
    if needs_model(safety):
        made = ModelStages(safety, plant_spec, require_dynamics(dynamics), envelope, measured)
        for spec in safety.shields:
            if isinstance(spec, PredictiveSpec):
                stages.append((spec.kind, made.predictive(spec, live=live)))
            elif isinstance(spec, BarrierSpec):
                stages.append((spec.kind, made.barrier(spec)))
        backup = FallbackAction("value", envelope)
    stages.append(("box_rate", BoxRateShield(envelope)))
    return ShieldStack(
        stages,
        envelope=envelope,
        fallback=fallback,
        measured=measured,
        interlock=interlock,
        sequence=sequence,
        backup=backup,
        live=live,
    )


def measured_signals(plant_spec: PlantSpec) -> tuple[str, ...]:
    """List the measured signals in the order of the plant spec."""
    return tuple(
        name
        for name, signal in plant_spec.signals.items()
        if signal.role in ("state", "measurement") and signal.measured
    )


def action_signals(plant_spec: PlantSpec) -> tuple[str, ...]:
    """List the actions in the order of the plant spec."""
    return tuple(name for name, signal in plant_spec.signals.items() if signal.role == "action")


def _sensors(safety: SafetySpec, plant_spec: PlantSpec, measured: Sequence[str]) -> tuple[SensorCheck, ...]:
    """Check every measured signal: those that the safety spec does not name by the range of the signal itself."""
    checks = []
    for name in measured:
        sensor = safety.sensors.get(name)
        low, high = plant_spec.signals[name].range if sensor is None or sensor.range is None else sensor.range
        checks.append(
            SensorCheck(
                name,
                low,
                high,
                stale_after=None if sensor is None else sensor.stale_after,
                frozen_after=None if sensor is None else sensor.frozen_after,
            )
        )
    return tuple(checks)


def _rule(rule: Interlock, plant_spec: PlantSpec, measured: Sequence[str], actions: Sequence[str]) -> InterlockRule:
    return InterlockRule(
        id=rule.id,
        trip=Ballot(
            tuple(
                _condition(f"interlocks.{rule.id}.{place}", text, plant_spec, (*measured, *actions))
                for place, text in rule.trips.items()
            ),
            least=1 if rule.vote is None else rule.vote.least,
            lost_trips=rule.vote is not None and rule.vote.lost == "trips",
        ),
        reset=_condition(f"interlocks.{rule.id}.reset_when", rule.reset_when, plant_spec, (*measured, *actions)),
        samples=rule.samples,
        targets=tuple(rule.set.get(name) for name in actions),
    )


def _sequence(
    rule: SequenceSpec, plant_spec: PlantSpec, measured: Sequence[str], actions: Sequence[str]
) -> SequenceRule:
    """Build an automaton; its first phase is the one in which it starts."""
    names = (rule.start, *(name for name in rule.phases if name != rule.start))
    signals = (*measured, *actions)
    steps = tuple(
        Step(
            names.index(name),
            names.index(way.to),
            _condition(f"sequences.{rule.id}.phases.{name}.next.{index}.when", way.when, plant_spec, signals),
            way.samples,
        )
        for name in names
        for index, way in enumerate(rule.phases[name].next)
    )
    holds = tuple(tuple(rule.phases[name].hold.get(action) for action in actions) for name in names)
    return SequenceRule(rule.id, names, holds, steps)


def _condition(where: str, text: str, plant_spec: PlantSpec, signals: Sequence[str]) -> Condition:
    expression = parse(text)
    unknown = sorted(expression.names - set(signals))
    if unknown or not expression.is_condition:
        found = f"names that are not measured: {', '.join(unknown)}" if unknown else f"{text!r}"
        raise ShieldError(
            f"{where}: found {found}, expected a condition on measured signals and actions. Use {', '.join(signals)}."
        )
    bound = bind(expression, {name: plant_spec.signals[name].unit for name in signals}, plant_spec.timing.period)
    ranges = [plant_spec.signals[name].range for name in signals]
    return Condition.build(bound, signals, [high - low for low, high in ranges])
