"""Units of measurement, by pint, at load time only: afterwards every number is a plain float in its engineering unit.

A temperature such as 25 °C is a point on a scale with an offset; a spread of 0.3 °C is a difference, without one. Which
of the two is meant follows from the place where the number stands (a range is made of points, a noise is a difference),
so there are two conversions. ``step`` is a unit without dimension: 3 K/step is a change of 3 K in one control step.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from functools import cache
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from pint import Unit, UnitRegistry

# fmt: off
_COMMON = (
    "K", "degC", "degF", "delta_degC", "1", "%", "step", "s", "min", "h", "day", "m", "cm", "mm", "km", "um",
    "m**2", "m**3", "cm**3", "L", "mL", "kg", "g", "mg", "t", "mol", "kmol", "mol/L", "kmol/m**3", "kg/m**3",
    "g/L", "L/min", "L/s", "L/h", "m**3/s", "m**3/h", "kg/s", "kg/h", "m/s", "m/s**2", "N", "kN", "Pa", "kPa",
    "MPa", "bar", "mbar", "J", "kJ", "MJ", "kWh", "W", "kW", "MW", "V", "mV", "A", "mA", "Hz", "rpm", "rad",
    "deg", "rad/s", "N*m", "kJ/h", "J/g/K", "W/K", "W/m**2/K", "1/s", "1/min", "1/h", "K/min", "K/s", "V/step",
)
# fmt: on
_QUANTITY = re.compile(r"\s*([-+]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(.*?)\s*", re.DOTALL)
_TOKENS = re.compile(
    r"\s*(?:(?P<word>[^\W\d]\w*|[%°Δ]\w*)|(?P<number>\d+(?:\.\d+)?(?![\w.]))|(?P<sign>\*\*|[*/^()·²³⁻¹-]))"
)
_SHORTHAND = re.compile(r"(?<![\w.])([^\W\d_]+)([234])(?!\w)")
_LONGEST = 64
_GREATEST = 100.0


class UnitError(ValueError):
    """A text is not a unit, or two units do not measure the same thing. ``fix`` says what to write."""

    def __init__(self, message: str, fix: str) -> None:
        super().__init__(message)
        self.fix = fix


@cache
def registry() -> UnitRegistry[float]:
    """Return the one registry of the process; units of two registries cannot be compared."""
    from pint import UnitRegistry

    units: UnitRegistry[float] = UnitRegistry()
    units.define("step = []")
    return units


@cache
def parse_unit(text: str) -> Unit:
    """Read a unit such as ``mol/L``, ``degC``, ``K/step``, ``m3/h`` or ``1``.

    Raises:
        UnitError: it is not one.
    """
    stripped = text.strip()
    if stripped in {"", "1", "-", "dimensionless"}:
        return registry().dimensionless
    _refuse_odd(stripped)
    try:
        return registry().parse_units(_SHORTHAND.sub(r"\1**\2", stripped))
    except Exception as error:  # pint lets errors of its tokenizer and of its evaluator through, of many classes
        raise UnitError(f"{text!r} is not a unit", _near(stripped)) from error


def split_quantity(text: str) -> tuple[float, str] | None:
    """Split ``"3 K/step"`` into ``(3.0, "K/step")``; an empty unit for none; None if no number comes first."""
    match = _QUANTITY.fullmatch(text)
    return None if match is None else (float(match[1].replace("_", "")), match[2])


def is_offset(unit: Unit) -> bool:
    """Tell whether the zero of this unit is not the zero of what it measures, as in °C."""
    if unit.dimensionality != registry().kelvin.dimensionality:
        return False
    return abs(float(registry().Quantity(0.0, unit).to("kelvin").magnitude)) > 0.0


def difference_unit(unit: Unit) -> Unit:
    """Return the unit of differences: ``delta_degC`` for ``degC``, and every other unit itself."""
    return registry().parse_units(f"delta_{unit}") if is_offset(unit) else unit


def raised(unit: Unit, power: float) -> Unit:
    """Return a unit to a power."""
    return cast("Unit", unit**power)


def same_dimension(first: Unit, second: Unit) -> bool:
    """Tell whether two units measure the same thing."""
    return bool(first.dimensionality == second.dimensionality)


def convert_point(value: float, unit: Unit, target: Unit) -> float:
    """Convert a point on a scale: 25 °C is 298.15 K.

    Raises:
        UnitError: the dimensions differ, or a difference (``delta_degC``) was given for a point.
    """
    _require_same(unit, target)
    if "delta_" in str(unit) and not _is_product(unit):
        raise UnitError(
            f"{name(unit)} is a difference, a point on the scale is wanted", f"Write the value in {name(target)}."
        )
    return float(registry().Quantity(value, unit).to(target).magnitude)


def convert_difference(value: float, unit: Unit, target: Unit) -> float:
    """Convert a difference: a spread of 0.3 °C is one of 0.3 K.

    Raises:
        UnitError: the dimensions differ.
    """
    _require_same(unit, target)
    return float(registry().Quantity(value, difference_unit(unit)).to(difference_unit(target)).magnitude)


def convert_rate(value: float, unit: Unit, target: Unit, period: float | None) -> float:
    """Convert a rate of change to ``target`` per step; a rate per time (K/min) needs the ``period`` [s] of a step.

    Raises:
        UnitError: the dimensions differ.
    """
    per_time = registry().Quantity(1.0, difference_unit(unit)) * registry().Quantity(1.0, "s")
    if period is not None and not same_dimension(unit, target) and same_dimension(per_time.units, target):
        return convert_difference(value * period, per_time.units, target)
    return convert_difference(value, unit, target)


def tidy(value: float) -> float:
    """Drop the last digit, which conversion made up: 110 cm is 1.1 m, so that a spec has one hash in whatever units."""
    return float(f"{value:.15g}")


def name(unit: Unit) -> str:
    """Write a unit the short way: ``mol/L``; ``1`` for a plain number."""
    short = f"{unit:~}".replace(" ", "").replace("Δ°", "delta_deg").replace("°", "deg")
    return re.sub(r"\b(m?)l\b", r"\1L", short) or "1"


def near_units(text: str) -> tuple[str, ...]:
    """List common units that are written alike."""
    return tuple(get_close_matches(text, _COMMON, n=3, cutoff=0.5))


def _near(text: str) -> str:
    near = near_units(text)
    return (
        f"Did you mean {' or '.join(near)}?"
        if near
        else "Write units as in mol/L, K, degC, L/min, m**3/h, K/step, or 1 for none."
    )


def _is_product(unit: Unit) -> bool:
    return len(unit._units) > 1


def _require_same(unit: Unit, target: Unit) -> None:
    if not same_dimension(unit, target):
        raise UnitError(
            f"{name(unit)} cannot be converted to {name(target)}",
            f"Write the value in {name(target)} or in a unit of the same dimension.",
        )


def _refuse_odd(text: str) -> None:
    """Refuse what is not made of names, products, quotients and small powers: pint would compute any arithmetic."""
    position = 0
    while position < len(text):
        match = _TOKENS.match(text, position)
        if match is None or len(text) > _LONGEST or (match["number"] and float(match["number"]) > _GREATEST):
            raise UnitError(f"{text!r} is not a unit", _near(text[:_LONGEST]))
        position = match.end()
    if re.search(r"\d\s*(\*\*|\^)|(\*\*|\^)[^*^]*\)\s*(\*\*|\^)", text):
        raise UnitError(f"{text!r} is not a unit", "Raise units to plain powers only, as in m**2.")
