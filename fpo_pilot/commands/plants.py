"""``fpo-pilot plants``: what plants there are, with size, period and limits."""

from __future__ import annotations

from pathlib import Path

from fpo_pilot.commands.console import say_json, table
from fpo_pilot.specs import content, load_plant_spec, load_safety_spec
from fpo_pilot.specs.plant import PlantSpec
from fpo_pilot.specs.safety import SafetySpec


def run_plants(*, as_json: bool) -> int:
    """List the plants of the project one stands in, and those that ship."""
    rows = [_row(path) for _, path in sorted(content.list_plants().items())]
    if as_json:
        say_json(rows)
        return 0
    table(
        "Plants",
        ("plant", "title", "states", "actions", "observations", "period [s]", "horizon", "hard limits"),
        ([str(value) if not isinstance(value, list) else "; ".join(value) for value in row.values()] for row in rows),
    )
    return 0


def _row(path: Path) -> dict[str, object]:
    spec = load_plant_spec(str(path))
    safety = load_safety_spec(str(path), spec)
    roles = [signal.role for signal in spec.signals.values()]
    return {
        "plant": spec.plant.id,
        "title": spec.plant.title.en,
        "states": roles.count("state"),
        "actions": roles.count("action"),
        "observations": len(spec.observations),
        "period_seconds": spec.timing.period,
        "horizon": spec.timing.horizon,
        "hard_limits": _hard_limits(spec, safety),
    }


def _hard_limits(spec: PlantSpec, safety: SafetySpec | None) -> list[str]:
    found = []
    for limit in safety.limits if safety is not None else ():
        if limit.kind == "hard":
            unit = spec.signals[limit.signal].unit
            low = f"{limit.low:g} ≤ " if limit.low is not None else ""
            high = f" ≤ {limit.high:g}" if limit.high is not None else ""
            found.append(f"{low}{limit.signal}{high} {unit}")
    return found
