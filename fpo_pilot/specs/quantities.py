"""Which number of a file is measured in which unit, and its conversion to that unit.

A number may be plain (then it is in its engineering unit already: the signal's, seconds, steps) or a text with a unit,
such as ``26 s``. Each file kind has a table from a pattern of paths (``*`` is any one key or index) to the meaning of
the number there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fpo_pilot.specs import units
from fpo_pilot.specs.findings import Finding, Path
from fpo_pilot.specs.units import UnitError

if TYPE_CHECKING:
    from pint import Unit

Number = float | int
Reader = Callable[[float, "Unit"], Number]


@dataclass
class Scale:
    """What the numbers of a plant are measured in, as far as its file could be read.

    A unit that could not be read is missing from the tables: its own fault is reported once, and numbers in it pass
    unconverted.
    """

    signals: Mapping[str, Unit] = field(default_factory=dict)
    parameters: Mapping[str, Unit] = field(default_factory=dict)
    period: float | None = None

    def channel(self, name: object) -> Unit | None:
        """Return the unit of a signal or of a parameter."""
        return self.signals.get(str(name), self.parameters.get(str(name)))


@dataclass(frozen=True)
class Place:
    """One number in the data: its path, and the data above it, nearest first."""

    path: Path
    above: tuple[Any, ...]


@dataclass(frozen=True)
class Meaning:
    """How to read a number with a unit, and what was expected if it fails. No reader: the unit is unknown."""

    read: Reader | None
    expected: str


Rule = Callable[[Scale, Place], Meaning]
Table = Mapping[str, Rule]


def convert_table(data: Any, table: Table, scale: Scale) -> Iterator[Finding]:
    """Convert, in place, every number that the table knows and that is written with a unit; yield what cannot be."""
    for pattern, rule in table.items():
        for container, key, place in _places(data, tuple(pattern.split(".")), (), ()):
            value = container[key]
            if isinstance(value, str):
                converted = _convert(value, rule(scale, place), place.path)
                if isinstance(converted, Finding):
                    container[key] = None
                    yield converted
                else:
                    container[key] = converted


def _convert(text: str, meaning: Meaning, path: Path) -> Number | Finding:
    split = units.split_quantity(text)
    if split is None:
        return Finding(path, text, meaning.expected, "Write a number, or a number with its unit, such as 26 s.")
    value, unit = split
    if not math.isfinite(value):
        return Finding(path, text, "a finite number", "Write an ordinary number.")
    if not unit:
        return int(value) if value.is_integer() and "." not in text else value
    try:
        measured = units.parse_unit(unit)
        converted = value if meaning.read is None else meaning.read(value, measured)
    except UnitError as error:
        return Finding(path, text, meaning.expected, f"{error}; {error.fix[:1].lower()}{error.fix[1:]}")
    return units.tidy(converted) if isinstance(converted, float) else converted


def _places(data: Any, pattern: Path, path: Path, above: tuple[Any, ...]) -> Iterator[tuple[Any, Any, Place]]:
    """Yield container, key and place of every value that fits the pattern; other shapes are not for us to judge."""
    head, rest = pattern[0], pattern[1:]
    if isinstance(data, dict):
        keys: list[Any] = list(data) if head == "*" else [head] if head in data else []
    else:
        keys = list(range(len(data))) if isinstance(data, list) and head == "*" else []
    for key in keys:
        if rest:
            yield from _places(data[key], rest, (*path, key), (data, *above))
        else:
            yield data, key, Place((*path, key), (data, *above))


def point(unit: Unit | None) -> Meaning:
    """Read a point on the scale of a signal."""
    if unit is None:
        return Meaning(None, "a number")
    return Meaning(lambda value, given: units.convert_point(value, given, unit), f"a number in {units.name(unit)}")


def difference(unit: Unit | None) -> Meaning:
    """Read a difference of two points on the scale of a signal."""
    if unit is None:
        return Meaning(None, "a number")
    return Meaning(
        lambda value, given: units.convert_difference(value, given, unit), f"a difference in {units.name(unit)}"
    )


def rate(unit: Unit | None, period: float | None) -> Meaning:
    """Read a change per step; a change per time is multiplied by the period, and passes if that is unknown."""
    if unit is None:
        return Meaning(None, "a number")
    if period is None:
        return Meaning(
            lambda value, given: units.convert_rate(value, given, unit, 1.0), f"a rate in {units.name(unit)}"
        )
    expected = f"a rate in {units.name(unit)}/step"
    return Meaning(lambda value, given: units.convert_rate(value, given, unit, period), expected)


def duration(scale: Scale, place: Place) -> Meaning:
    """Read a time to seconds; also a number of steps, once the period is known."""

    def read(value: float, given: Unit) -> Number:
        if scale.period is not None and units.name(given) == "step":
            return value * scale.period
        return units.convert_point(value, given, units.parse_unit("s"))

    return Meaning(read, "a time in s")


def count(scale: Scale, place: Place) -> Meaning:
    """Read a number of steps (or of anything); a time must be a whole multiple of the period."""

    def read(value: float, given: Unit) -> Number:
        if scale.period is not None and units.same_dimension(given, units.parse_unit("s")):
            value = units.convert_point(value, given, units.parse_unit("s")) / scale.period
            if abs(value - round(value)) > 1e-9 * max(1.0, abs(value)):
                raise UnitError(
                    f"this is {value:.6g} periods", "Write a whole multiple of the period, or a number of steps."
                )
            return round(value)
        converted = units.convert_point(value, given, units.parse_unit("step"))
        return int(converted) if converted.is_integer() else converted

    return Meaning(read, "a whole number of steps")


def pure(scale: Scale, place: Place) -> Meaning:
    """Read a number without dimension; ``5 %`` is 0.05."""
    return Meaning(
        lambda value, given: units.convert_point(value, given, units.parse_unit("1")), "a number without a unit"
    )
