"""Section 4, first part: the same episode under policy and incumbent, signal by signal, with limits and set points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from fpo_pilot.reporting.drawing import Level, Panel, Panels, Role, Series
from fpo_pilot.reporting.facts import only_rows
from fpo_pilot.reporting.labels import (
    axis_label,
    candidate_of,
    controller_label,
    full_label,
    judged_shield,
    scenario_label,
)
from fpo_pilot.reporting.page import Figure, Source
from fpo_pilot.reporting.phrases import Phrase, declared, say
from fpo_pilot.reporting.run_folder import Run, numbers, strings
from fpo_pilot.reporting.spec_views import PlantView, SafetyView

MOST_SIGNALS = 4
MOST_ACTIONS = 2
SECONDS_UNITS = ((7200.0, "h", 3600.0), (120.0, "min", 60.0), (0.0, "s", 1.0))


@dataclass(frozen=True)
class Process:
    """The plant that was driven, and its safety spec, if it has one."""

    plant: PlantView
    safety: SafetyView | None


@dataclass(frozen=True)
class Path:
    """One logged episode of one controller."""

    arm: str
    mode: str
    label: Phrase
    role: Role
    steps: pa.Table


@dataclass(frozen=True)
class Clock:
    """How time is shown: a unit, and how many of it one control step lasts."""

    unit: str
    per_step: float


def trajectory_figure(run: Run) -> Figure | None:
    """Draw the first seed that both controllers were logged with; ``None`` without a step log of the policy."""
    evaluation = run.evaluation
    candidate = candidate_of(evaluation) if evaluation is not None else None
    if evaluation is None or candidate is None or not run.step_files("offline"):
        return None
    chosen = _choose(run, candidate)
    if chosen is None:
        return None
    scenario, seed, episodes = chosen
    paths = []
    for (arm, mode), episode in sorted(episodes.items(), key=lambda item: item[0] != candidate):
        steps = _read(run, (arm, mode, judged_shield(evaluation), scenario, episode))
        if steps is not None and steps.num_rows > 0:
            role: Role = "policy" if (arm, mode) == candidate else "incumbent"
            paths.append(Path(arm, mode, controller_label(arm, mode), role, steps))
    if not any(path.role == "policy" for path in paths):
        return None
    process = Process(run.manifest.plant_spec, run.manifest.safety_spec)
    drawing = episode_panels(process, paths)
    if not drawing.panels:
        return None
    signals, actions = key_signals(process)
    references = [f"ref.{name}" for name in _references(process).values()]
    return Figure(
        id="trajectories",
        caption=say(
            "trajectories.caption",
            scenario=scenario_label(scenario),
            seed=str(seed),
            controller=full_label(*candidate, judged_shield(evaluation)),
        ),
        description=say("trajectories.description", count=len(drawing.panels)),
        drawing=drawing,
        sources=(
            Source(
                "steps/stage=offline",
                (*(f"obs.{name}" for name in signals), *references, *(f"act.applied.{name}" for name in actions)),
            ),
            Source("manifest.json", ("safety_spec.limits", "safety_spec.actions")),
        ),
        notes=(say("trajectories.note", mode=controller_label(*candidate)),),
    )


def episode_panels(process: Process, paths: Sequence[Path]) -> Panels:
    """Draw one episode under one or several controllers: key signals with limits and set points, then actuators."""
    signals, actions = key_signals(process)
    panels = [_signal_panel(process, name, paths) for name in signals]
    panels += [_action_panel(process, name, paths) for name in actions]
    unit = _clock(process).unit
    return Panels(say("figure.time", unit=unit), tuple(panel for panel in panels if panel.series))


def key_signals(process: Process) -> tuple[list[str], list[str]]:
    """Signals to show and the first actuators.

    Those with a set point and a hard limit come first, then those with a set point, a hard limit, a soft one, and the rest.
    """
    plant, safety = process.plant, process.safety
    referenced = list(_references(process))
    hard = [limit.signal for limit in safety.limits if limit.kind == "hard"] if safety else []
    soft = [limit.signal for limit in safety.limits if limit.kind == "soft"] if safety else []
    others = [
        name for name, signal in plant.signals.items() if signal.role in ("state", "measurement") and signal.measured
    ]
    both = [name for name in referenced if name in hard]
    ordered = dict.fromkeys([*both, *referenced, *hard, *soft, *others])
    signals = [n for n in ordered if n in plant.signals and plant.signals[n].role in ("state", "measurement")]
    actions = [name for name, signal in plant.signals.items() if signal.role == "action"]
    return signals[:MOST_SIGNALS], actions[:MOST_ACTIONS]


def _references(process: Process) -> dict[str, str]:
    """Measured signal -> its set point, from the observation terms or from the incumbent's loops."""
    plant, safety = process.plant, process.safety
    pairs = {o.of: o.reference for o in plant.observations if o.term == "setpoint_error" and o.of and o.reference}
    loops = safety.incumbent.get("loops", ()) if safety is not None else ()
    for loop in loops:
        if isinstance(loop, dict) and loop.get("measurement") and loop.get("reference"):
            pairs.setdefault(str(loop["measurement"]), str(loop["reference"]))
    return {of: reference for of, reference in pairs.items() if of is not None and reference is not None}


def _choose(run: Run, candidate: tuple[str, str]) -> tuple[str, int, dict[tuple[str, str], int]] | None:
    """The scenario and the least seed logged for policy and incumbent, with the episode of each."""
    if run.episodes is None or run.evaluation is None:
        return None
    shield = judged_shield(run.evaluation)
    logged = run.steps("offline", ["arm", "mode", "shield", "scenario", "episode_id"])
    if logged is None:
        return None
    present = set(_keys(logged))
    seeds: dict[tuple[str, int], dict[tuple[str, str], int]] = {}
    for key, seed in zip(_keys(run.episodes), run.episodes["seed"].to_pylist(), strict=True):
        arm, mode, on, scenario, episode = key
        if key in present and on == shield and ((arm, mode) == candidate or arm == "incumbent"):
            seeds.setdefault((scenario, int(seed)), {})[arm, mode] = episode
    order = list(dict.fromkeys(strings(run.episodes, "scenario")))
    full = [key for key, found in seeds.items() if candidate in found]
    full.sort(key=lambda key: (-len(seeds[key]), order.index(key[0]), key[1]))
    return (*full[0], seeds[full[0]]) if full else None


def _keys(table: pa.Table) -> list[tuple[str, str, bool, str, int]]:
    shields = table["shield"].to_pylist() if "shield" in table.schema.names else [True] * table.num_rows
    columns = (
        strings(table, "arm"),
        strings(table, "mode"),
        shields,
        strings(table, "scenario"),
        table["episode_id"].to_pylist(),
    )
    return [
        (arm, mode, bool(on), scenario, int(episode)) for arm, mode, on, scenario, episode in zip(*columns, strict=True)
    ]


def _read(run: Run, key: tuple[str, str, bool, str, int]) -> pa.Table | None:
    arm, mode, on, scenario, episode = key
    process = Process(run.manifest.plant_spec, run.manifest.safety_spec)
    signals, actions = key_signals(process)
    columns = ["step", *(f"obs.{n}" for n in signals), *(f"ref.{n}" for n in _references(process).values())]
    columns += [f"act.applied.{name}" for name in actions]
    table = run.steps(
        "offline",
        ["arm", "mode", "shield", "scenario", "episode_id", *columns],
        only_rows(arm=arm, mode=mode, shield=on, scenario=scenario, episode_id=episode),
    )
    return None if table is None else table.sort_by("step")


def _clock(process: Process) -> Clock:
    timing = process.plant.timing
    length = timing.period * timing.horizon
    unit, seconds = next((unit, size) for least, unit, size in SECONDS_UNITS if length >= least)
    return Clock(unit, timing.period / seconds)


def _series(process: Process, path: Path, column: str, label: Phrase, *, held: bool = False) -> Series | None:
    values = numbers(path.steps, column)
    if not any(math.isfinite(value) for value in values):
        return None
    clock = _clock(process)
    times = tuple(step * clock.per_step for step in numbers(path.steps, "step"))
    return Series(label, times, tuple(values), path.role, held=held)


def _signal_panel(process: Process, name: str, paths: Sequence[Path]) -> Panel:
    plant, safety = process.plant, process.safety
    series = tuple(s for s in (_series(process, path, f"obs.{name}", path.label) for path in paths) if s is not None)
    levels = []
    for limit in safety.limits if safety is not None else ():
        for value in (limit.low, limit.high):
            if limit.signal == name and value is not None:
                levels.append(Level(say(f"figure.limit_{limit.kind}", value=declared(value)), value, limit.kind))
    reference = _references(process).get(name)
    target = None
    if reference is not None and paths:
        target = _series(
            process, replace(paths[0], role="target"), f"ref.{reference}", say("figure.set_point"), held=True
        )
    return Panel(axis_label(name, plant), series, tuple(levels), target)


def _action_panel(process: Process, name: str, paths: Sequence[Path]) -> Panel:
    plant, safety = process.plant, process.safety
    held = (_series(process, path, f"act.applied.{name}", path.label, held=True) for path in paths)
    series = tuple(s for s in held if s is not None)
    limit = safety.actions.get(name) if safety is not None else None
    levels: tuple[Level, ...] = ()
    if limit is not None:
        levels = tuple(
            Level(say("figure.limit_actuator", value=declared(v)), v, "actuator") for v in (limit.low, limit.high)
        )
    return Panel(axis_label(name, plant), series, levels)
