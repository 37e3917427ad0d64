"""``fpo-pilot check``: are the specs right, what uses each signal, and what does nothing cover."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from typing import get_args

from fpo_pilot.commands.certificate import CERTIFICATE, certificate_status
from fpo_pilot.commands.console import note, say, say_json, table
from fpo_pilot.errors import SpecError, SpecErrors
from fpo_pilot.specs import content, load_evaluation_spec, load_plant_spec, load_safety_spec, load_training_spec
from fpo_pilot.specs.coverage import Coverage, SignalView, UseKind, coverage
from fpo_pilot.specs.load import ALGORITHMS
from fpo_pilot.specs.safety import SafetySpec
from fpo_pilot.specs.schema import json_schema

SCHEMAS = ("plant", "safety", "training", "evaluation")


def run_schema(kind: str) -> int:
    """Print the JSON Schema of one kind of spec."""
    for name in SCHEMAS:
        if name == kind:
            say_json(json_schema(name))
            return 0
    raise SpecError("--schema", kind, f"one of {', '.join(SCHEMAS)}", "Name one of them.")


def named_plants(plants: Sequence[str], *, everything: bool) -> list[str]:
    """Return the plants that are asked for: those named, all there are, or all of the project one stands in."""
    if everything:
        return sorted(content.list_plants())
    return list(plants) or _own_plants()


def run_check(plants: Sequence[str], *, as_json: bool) -> int:
    """Check the specs of some plants; 2 if a spec is wrong, with every error of every file."""
    found: list[Coverage] = []
    errors: list[SpecError] = []
    for name in plants:
        try:
            found.append(_check_one(name))
        except SpecErrors as wrong:
            errors += wrong.errors
    if errors:
        raise SpecErrors(tuple(errors))
    if as_json:
        say_json(
            [asdict(one) | {"certificate": certificate_status(name)} for name, one in zip(plants, found, strict=True)]
        )
        return 0
    for name, one in zip(plants, found, strict=True):
        _show(one)
        say(f"certificate: {CERTIFICATE[certificate_status(name)].format(plant=one.plant)}")
    return 0


def _own_plants() -> list[str]:
    """List the plants of the project one stands in; those that ship where there is none."""
    root = content.project_root()
    paths = content.list_plants()
    own = [name for name, path in paths.items() if root is not None and path.is_relative_to(root)]
    return sorted(own or paths)


def _check_one(name: str) -> Coverage:
    """Load all four specs of a plant, so that each error of each file is told."""
    plant = load_plant_spec(name)
    path = str(content.find_plant(name))
    safety: list[SafetySpec | None] = []
    loads: list[Callable[[], object]] = [
        lambda: safety.append(load_safety_spec(path, plant)),
        lambda: load_evaluation_spec(path),
        *(partial(load_training_spec, path, algorithm) for algorithm in ALGORITHMS),
    ]
    errors: dict[str, SpecError] = {}  # by text: both algorithms read one file, whose errors are told once
    for load in loads:
        try:
            load()
        except SpecErrors as wrong:
            errors |= {str(error): error for error in wrong.errors}
    if errors:
        raise SpecErrors(tuple(errors.values()))
    if safety[0] is not None and any(shield.kind == "predictive" for shield in safety[0].shields):
        from fpo_pilot.certification.stacks import require_kept_terminal_sets
        from fpo_pilot.plants.load import load_plant

        require_kept_terminal_sets(load_plant(path), safety[0])  # the one question that the dynamics must answer
    return coverage(plant, safety[0])


def _show(one: Coverage) -> None:
    kinds = get_args(UseKind)
    table(
        f"{one.plant}: specs are right",
        ("signal", "role", "unit", "range", "limits", "tag", "used by"),
        ((s.name, s.role, s.unit, _span(s.range), _limits(s), s.tag or "-", _uses(s, kinds)) for s in one.signals),
    )
    for title, gaps in (("unused", one.unused), ("not covered", one.not_covered)):
        for gap in gaps:
            say(f"{title}: {gap.subject}: {gap.message}")
    if not one.unused and not one.not_covered:
        note(f"{one.plant}: everything is used and covered")


def _span(bounds: tuple[float, float]) -> str:
    return f"{bounds[0]:g} to {bounds[1]:g}"


def _limits(signal: SignalView) -> str:
    parts = []
    for limit in signal.limits:
        low = "" if limit.low is None else f"≥ {limit.low:g} "
        high = "" if limit.high is None else f"≤ {limit.high:g} "
        rate = "" if limit.rate is None else f"±{limit.rate:g}/step "
        parts.append(f"{limit.kind}: {low}{high}{rate}".strip())
    return "; ".join(parts) or "-"


def _uses(signal: SignalView, kinds: Sequence[UseKind]) -> str:
    parts = [f"{kind} {', '.join(signal.named(kind))}" for kind in kinds if signal.named(kind)]
    return "; ".join(parts) or "nothing"
