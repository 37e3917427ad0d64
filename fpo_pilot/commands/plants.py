"""``fpo-pilot plants``: what plants there are, with size, period, limits and what controllers are worth on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fpo_pilot.commands.console import say_json, table
from fpo_pilot.specs import content, load_plant_spec, load_safety_spec
from fpo_pilot.specs.plant import ObservationTerm, PlantSpec
from fpo_pilot.specs.safety import SafetySpec


def run_plants(*, as_json: bool) -> int:
    """List the plants of the project one stands in, and those that ship."""
    rows = [describe(path) for _, path in sorted(content.list_plants().items())]
    if as_json:
        say_json(rows)
        return 0
    columns = ("plant", "title", "S/A/O", "period [s]", "horizon", "hard limits", "mean return behind the shield")
    table("Plants (S states, A actions, O observations)", columns, (_cells(row) for row in rows))
    return 0


def describe(path: Path) -> dict[str, Any]:
    """Return what a table of plants says of one: names, size, timing, hard limits and scores."""
    spec = load_plant_spec(str(path))
    safety = load_safety_spec(str(path), spec)
    roles = [signal.role for signal in spec.signals.values()]
    return {
        "plant": spec.plant.id,
        "title": spec.plant.title.en,
        "states": roles.count("state"),
        "actions": roles.count("action"),
        "observations": sum(_entries(term, roles.count("action")) for term in spec.observations),
        "period_seconds": spec.timing.period,
        "horizon": spec.timing.horizon,
        "hard_limits": _hard_limits(spec, safety),
        "scores": _scores(path),
    }


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    scores = row["scores"]
    told = "-"
    if scores is not None:
        told = ", ".join(f"{name} {score['mean']:.4g}" for name, score in scores["scores"].items())
        if scores["stale"]:
            told = f"stale ({', '.join(scores['stale'])} changed): {told}"
    return (
        row["plant"],
        row["title"],
        f"{row['states']}/{row['actions']}/{row['observations']}",
        f"{row['period_seconds']:g}",
        str(row["horizon"]),
        f"{len(row['hard_limits'])}: {'; '.join(row['hard_limits'])}" if row["hard_limits"] else "0",
        told,
    )


def _entries(term: ObservationTerm, actions: int) -> int:
    """Count the numbers that a term of the observation gives."""
    if term.term in {"progress", "preview", "shield_active"}:
        return 1
    return term.history * (actions if term.term == "previous_action" and term.of is None else 1)


def _hard_limits(spec: PlantSpec, safety: SafetySpec | None) -> list[str]:
    found = []
    for limit in safety.limits if safety is not None else ():
        if limit.kind == "hard":
            unit = spec.signals[limit.signal].unit
            low = f"{limit.low:g} ≤ " if limit.low is not None else ""
            high = f" ≤ {limit.high:g}" if limit.high is not None else ""
            found.append(f"{low}{limit.signal}{high} {unit}")
    return found


def _scores(path: Path) -> dict[str, Any] | None:
    """Return the scores beside a plant, with what has changed since they were measured."""
    if not (path.parent / "scores.json").is_file():
        return None  # nothing to load torch for
    from fpo_pilot.evaluate.scores import read_scores
    from fpo_pilot.plants.load import load_plant

    scores = read_scores(path)
    if scores is None:
        return None
    return {**scores.model_dump(mode="json"), "stale": list(scores.stale(load_plant(path)))}
