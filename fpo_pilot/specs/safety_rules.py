"""What must hold in safety/NAME.yaml, and between it and the plant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from fpo_pilot.errors import Words
from fpo_pilot.specs.findings import Finding, Path
from fpo_pilot.specs.interlock_rules import interlock_findings
from fpo_pilot.specs.plant import PlantSpec
from fpo_pilot.specs.plant_rules import (
    NOTHING,
    duplicate_findings,
    measured_names,
    names_of,
    outside_findings,
    range_findings,
    unknown,
)
from fpo_pilot.specs.safety import (
    ActionLimit,
    ConstantController,
    DifferenceGate,
    Limit,
    PiLoop,
    ProportionalLoop,
    SafetySpec,
    Stage,
)
from fpo_pilot.specs.sequence_rules import sequence_findings
from fpo_pilot.specs.shield_rules import model_shield_findings

_STAGES = ("shadow", "bounded", "full")


def safety_findings(safety: SafetySpec, plant: PlantSpec) -> Iterator[Finding]:
    """Find everything that is wrong with a safety spec whose fields are sound one by one."""
    if safety.plant != plant.plant.id:
        yield Finding(
            ("plant",),
            safety.plant,
            f"{plant.plant.id}, the id in plant.yaml",
            "Correct the name; limits fit one plant only.",
        )
    yield from duplicate_findings((limit.id for limit in safety.limits), ("limits",), "id")
    for index, limit in enumerate(safety.limits):
        yield from _limit(limit, ("limits", index), safety, plant)
    yield from _soft_inside_hard(safety)
    yield from _actions(safety, plant)
    yield from interlock_findings(safety, plant)
    yield from sequence_findings(safety, plant)
    yield from _sensors(safety, plant)
    yield from _controller(safety, plant)
    yield from _shields(safety)
    yield from model_shield_findings(safety, plant)
    yield from _stages(safety)


def _hazard(name: str | None, path: Path, safety: SafetySpec) -> Iterator[Finding]:
    if name is not None and name not in safety.hazards:
        yield unknown((*path, "hazard"), name, safety.hazards, "a hazard of the hazard log")


def _limit(limit: Limit, path: Path, safety: SafetySpec, plant: PlantSpec) -> Iterator[Finding]:
    yield from _hazard(limit.hazard, path, safety)
    known = names_of(plant, "state", "measurement", "action")
    if limit.signal not in known:
        yield unknown((*path, "signal"), limit.signal, known, "a state, a measurement or an action of the plant")
        return
    if limit.low is None and limit.high is None:
        yield Finding(path, NOTHING, "`low`, `high` or both", "Add the bound that must not be passed.")
    for side in ("low", "high"):
        value = getattr(limit, side)
        if value is not None:
            yield from outside_findings(value, plant.signals[limit.signal], (*path, side))
    if limit.low is not None and limit.high is not None:
        yield from range_findings(limit.low, limit.high, path)


def _soft_inside_hard(safety: SafetySpec) -> Iterator[Finding]:
    """A soft limit warns before the hard one of the same signal and side is reached."""
    for index, soft in enumerate(safety.limits):
        for hard in safety.limits if soft.kind == "soft" else ():
            if hard.kind != "hard" or hard.signal != soft.signal:
                continue
            if soft.high is not None and hard.high is not None and soft.high >= hard.high:
                fix = "Lower the soft limit: it must warn before the hard one trips."
                yield Finding(
                    ("limits", index, "high"), soft.high, f"below the hard limit {hard.id}, {hard.high:g}", fix
                )
            if soft.low is not None and hard.low is not None and soft.low <= hard.low:
                fix = "Raise the soft limit: it must warn before the hard one trips."
                yield Finding(("limits", index, "low"), soft.low, f"above the hard limit {hard.id}, {hard.low:g}", fix)


def _actions(safety: SafetySpec, plant: PlantSpec) -> Iterator[Finding]:
    known = names_of(plant, "action")
    for name, limit in safety.actions.items():
        if name not in known:
            yield unknown(("actions", name), name, known, "an action of the plant")
        else:
            yield from _action(limit, ("actions", name), plant, name)
            yield from _box_in_hard_limits(limit, ("actions", name), safety, name)
    for name in known:
        if name not in safety.actions:
            fix = f"Add `{name}: {{low: …, high: …, rate: …, fallback: …}}`."
            yield Finding(("actions", name), NOTHING, "limits for every action of the plant", fix)


def _action(limit: ActionLimit, path: Path, plant: PlantSpec, name: str) -> Iterator[Finding]:
    signal = plant.signals[name]
    yield from outside_findings(limit.low, signal, (*path, "low"))
    yield from outside_findings(limit.high, signal, (*path, "high"))
    if not limit.low < limit.high:
        yield Finding(
            (*path, "low"), limit.low, f"a value below high, {limit.high:g}", "Exchange the two, or widen the limits."
        )
    elif not limit.low <= limit.fallback <= limit.high:
        expected = f"a value within low and high, {limit.low:g} to {limit.high:g} {signal.unit}"
        yield Finding((*path, "fallback"), limit.fallback, expected, "Choose a safe value that the shield may send.")
    if signal.rate is None:
        return
    expected = f"at most the actuator's own rate, {signal.rate:g} {signal.unit}/step"
    if limit.rate is None:
        fix = f"Add `rate: {signal.rate:g}`: a shield that knows none plans moves that the actuator cannot make."
        yield Finding((*path, "rate"), NOTHING, expected, fix)
    elif limit.rate > signal.rate:
        yield Finding((*path, "rate"), limit.rate, expected, "Lower it: the read-back could not follow.")


def _box_in_hard_limits(action: ActionLimit, path: Path, safety: SafetySpec, name: str) -> Iterator[Finding]:
    """What may be sent must lie within the hard limits on the action itself."""
    for hard in safety.limits:
        if hard.kind != "hard" or hard.signal != name:
            continue
        fix = f"Narrow the box of {name}: all that is sent beyond would pass the limit."
        if hard.low is not None and action.low < hard.low:
            yield Finding((*path, "low"), action.low, f"within the hard limit {hard.id}, at least {hard.low:g}", fix)
        if hard.high is not None and action.high > hard.high:
            yield Finding((*path, "high"), action.high, f"within the hard limit {hard.id}, at most {hard.high:g}", fix)


def _sensors(safety: SafetySpec, plant: PlantSpec) -> Iterator[Finding]:
    known = measured_names(plant)
    for name, sensor in safety.sensors.items():
        yield from _hazard(sensor.hazard, ("sensors", name), safety)
        if name not in known:
            yield unknown(("sensors", name), name, known, "a measured signal of the plant")
        if sensor.range is not None:
            yield from range_findings(*sensor.range, ("sensors", name, "range"))
        if sensor.stale_after is not None and sensor.stale_after < plant.timing.period:
            expected = f"at least the control period, {plant.timing.period:g} s"
            yield Finding(
                ("sensors", name, "stale_after"),
                sensor.stale_after,
                expected,
                "Every measurement would be stale: raise it.",
            )


def _controller(safety: SafetySpec, plant: PlantSpec) -> Iterator[Finding]:
    actions = names_of(plant, "action")
    incumbent = safety.incumbent
    if isinstance(incumbent, ConstantController):
        path: Path = ("incumbent", "values")
        driven: tuple[str, ...] = tuple(incumbent.values)
        for name, value in incumbent.values.items():
            if name not in actions:
                yield unknown((*path, name), name, actions, "an action")
            elif name in safety.actions:
                yield from _within(value, safety.actions[name], (*path, name))
    else:
        path = ("incumbent", "loops")
        loops: tuple[ProportionalLoop | PiLoop, ...] = incumbent.loops
        driven = tuple(loop.action for loop in loops)
        yield from duplicate_findings(driven, path, "action")
        for index, loop in enumerate(loops):
            yield from _loop(loop, (*path, index), safety, plant)
    for name in actions:
        if name not in driven:
            yield Finding(
                path,
                Words(f"nothing for {name}"),
                "a value or a loop for every action",
                f"Say what the incumbent does with {name}.",
            )


def _within(value: float, limit: ActionLimit, path: Path) -> Iterator[Finding]:
    if not limit.low <= value <= limit.high:
        expected = f"a value within the action's limits, {limit.low:g} to {limit.high:g}"
        yield Finding(path, value, expected, "Correct the value, or the limits of the action.")


def _loop(loop: ProportionalLoop | PiLoop, path: Path, safety: SafetySpec, plant: PlantSpec) -> Iterator[Finding]:
    kinds: Mapping[str, tuple[str, ...]] = {
        "action": names_of(plant, "action"),
        "measurement": measured_names(plant),
        "reference": names_of(plant, "reference"),
    }
    for key, known in kinds.items():
        if getattr(loop, key) not in known:
            yield unknown(
                (*path, key), getattr(loop, key), known, f"a {key} of the plant" if key != "action" else "an action"
            )
    if loop.action in safety.actions:
        yield from _within(loop.bias, safety.actions[loop.action], (*path, "bias"))
    if loop.measurement in plant.signals and loop.reference in plant.signals:
        measured, wanted = plant.signals[loop.measurement].unit, plant.signals[loop.reference].unit
        if not _interchangeable(measured, wanted):
            found = Words(f"{loop.reference} in {wanted}")
            yield Finding(
                (*path, "reference"),
                found,
                f"a reference in {measured}, as {loop.measurement} is",
                "Declare both in one unit.",
            )


def _interchangeable(first: str, second: str) -> bool:
    from fpo_pilot.specs.units import parse_unit

    return parse_unit(first) == parse_unit(second)


def _shields(safety: SafetySpec) -> Iterator[Finding]:
    kinds = [shield.kind for shield in safety.shields]
    yield from duplicate_findings(kinds, ("shields",), "kind")
    if not kinds or kinds[-1] != "box_rate":
        found = Words(f"{kinds[-1]} last") if kinds else NOTHING
        yield Finding(
            ("shields",), found, "box_rate as the last shield", "Put `- {kind: box_rate}` last: it bounds what is sent."
        )
    if kinds.count("integrity") and kinds[0] != "integrity":
        yield Finding(
            ("shields", 0, "kind"),
            kinds[0],
            "integrity first",
            "No shield may look at a measurement before it is believed.",
        )
    if safety.interlocks and "interlock" not in kinds:
        found = Words("no interlock shield")
        yield Finding(("shields",), found, "interlock, since interlocks are declared", "Add `- {kind: interlock}`.")


def _stages(safety: SafetySpec) -> Iterator[Finding]:
    names = [stage.name for stage in safety.stages]
    yield from duplicate_findings(names, ("stages",), "name")
    unique = list(dict.fromkeys(names))
    if unique != [name for name in _STAGES if name in names]:
        expected = "the order shadow, bounded, full"
        yield Finding(
            ("stages",), Words(", ".join(names)), expected, "Put the stages in the order of growing authority."
        )
    elif names and names[0] != "shadow":
        fix = "Put `shadow` first: a policy is watched before it acts."
        yield Finding(("stages", 0, "name"), names[0], "shadow as the first stage", fix)
    for index, stage in enumerate(safety.stages):
        yield from _stage(stage, ("stages", index))


def _stage(stage: Stage, path: Path) -> Iterator[Finding]:
    if stage.name == "bounded":
        if not stage.authority:
            yield Finding(
                (*path, "authority"), NOTHING, "the levels of authority", "Add, for example, `authority: [0.1, 0.3]`."
            )
        for index, level in enumerate(stage.authority):
            if level <= (stage.authority[index - 1] if index else 0.0):
                before = f"above {stage.authority[index - 1]:g}, the level before" if index else "above 0"
                yield Finding((*path, "authority", index), level, before, "Put the levels in rising order.")
    elif stage.authority:
        fix = "Delete it: shadow has none and full has all."
        yield Finding((*path, "authority"), list(stage.authority), "no `authority`: it is for bounded", fix)
    if stage.max_blocks < stage.min_blocks:
        yield Finding(
            (*path, "max_blocks"),
            stage.max_blocks,
            f"at least min_blocks, {stage.min_blocks}",
            "Correct one of the two.",
        )
    yield from duplicate_findings((gate.id for gate in stage.gates), (*path, "gates"), "id")
    for index, gate in enumerate(stage.gates):
        if isinstance(gate, DifferenceGate):
            here = (*path, "gates", index)
            yield from range_findings(*gate.range, (*here, "range"))
            if gate.range[0] < gate.range[1] and not gate.range[0] < -gate.margin < gate.range[1] and gate.margin:
                expected = f"a range that holds −margin, {-gate.margin:g}"
                yield Finding(
                    (*here, "range"), list(gate.range), expected, "Widen it: no evidence could decide this gate."
                )
        elif gate.event == "outside_band" and stage.name != "shadow":
            fix = "Use it in `shadow`, where a proposal is compared with the incumbent."
            yield Finding((*path, "gates", index, "event"), gate.event, "an event of this stage", fix)
