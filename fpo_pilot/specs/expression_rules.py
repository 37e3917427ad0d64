"""What is asked of the expressions of a spec: they parse, they name what exists, and their units fit."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from fpo_pilot.errors import Words
from fpo_pilot.specs import units
from fpo_pilot.specs.expression import ExpressionError, parse, unit_of
from fpo_pilot.specs.findings import Finding, Path
from fpo_pilot.specs.plant import PlantSpec


def condition_findings(text: str, path: Path, signals: Mapping[str, str]) -> Iterator[Finding]:
    """Find what is wrong with a text that must be a condition."""
    yield from expression_findings(text, path, signals, condition=True)


def expression_findings(
    text: str, path: Path, signals: Mapping[str, str], *, condition: bool = False, plain: bool = False
) -> Iterator[Finding]:
    """Find what is wrong with an expression; ``condition``: it must be one; ``plain``: its value has no unit."""
    try:
        expression = parse(text)
        unit = unit_of(expression, signals)
    except ExpressionError as error:
        yield Finding(path, Words(f"{error.found!r} in column {error.column} of {text!r}"), error.expected, error.fix)
        return
    if condition and not expression.is_condition:
        yield Finding(path, text, "a condition", "Compare it with something, as in `T > 350 K`.")
    elif not condition and expression.is_condition:
        yield Finding(path, text, "a number, not a condition", "Write the quantity itself, as in `abs(T - T_sp)`.")
    elif plain and unit != units.parse_unit("1"):
        short = units.name(unit)
        example = f"({text}) / 0.3 [{short}]"
        yield Finding(
            path, Words(f"{text!r} in {short}"), "a number without a unit", f"Divide by a scale, as in `{example}`."
        )


def signal_units(plant: PlantSpec) -> dict[str, str]:
    """Map every signal to its unit, as expressions need it."""
    return {name: signal.unit for name, signal in plant.signals.items()}


def names_in(text: str) -> tuple[str, ...]:
    """List the signals of an expression in order; none if it cannot be read, which is reported elsewhere."""
    try:
        return parse(text).ordered_names
    except ExpressionError:
        return ()


def unobservable_findings(text: str, path: Path, plant: PlantSpec, allowed: Collection[str]) -> Iterator[Finding]:
    """Find names that exist in the plant but that nobody can read while it runs."""
    for name in names_in(text):
        if name in plant.signals and name not in allowed:
            yield Finding(
                path,
                Words(f"{name!r}, which is not measured"),
                f"measured signals and actions ({', '.join(sorted(allowed))})",
                "Use a signal that a sensor reads; a protection cannot look at the model.",
            )
