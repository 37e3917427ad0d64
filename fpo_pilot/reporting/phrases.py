"""What the page model says, before any language: a phrase is a text key with values, or data that needs no translation.

One page model serves every language; only :mod:`fpo_pilot.reporting.texts` turns a phrase into words.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

ABSENT = "–"
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Message:
    """A sentence of ``reports/text``, by key, with its values."""

    key: str
    values: Mapping[str, Phrase] = field(default_factory=dict)


@dataclass(frozen=True)
class Bilingual:
    """A text that the owner of a spec wrote in both languages."""

    en: str
    ja: str


@dataclass(frozen=True)
class Verbatim:
    """A tag, id, unit, hash or command: shown as it is in every language, as code."""

    text: str


@dataclass(frozen=True)
class Number:
    """A number with its unit, shown to ``digits`` significant digits (up, never down, where ``round_up``).

    A count (``int``) is shown in full. A ``declared`` number is shown as short as it was written, such as 0.5.
    """

    value: float | None
    unit: str = ""
    digits: int = 3
    signed: bool = False
    round_up: bool = False
    declared: bool = False

    def __str__(self) -> str:
        """The number as people read it: true minus sign, thin groups of thousands, unit behind a space."""
        if self.declared:
            shown = format_declared(self.value)
        else:
            shown = format_number(self.value, self.digits, signed=self.signed, round_up=self.round_up)
        return f"{shown}\u00a0{self.unit}" if self.unit and self.unit != "1" and shown != ABSENT else shown


Phrase = Message | Bilingual | Verbatim | Number


def say(key: str, **values: Phrase | str | float | None) -> Message:
    """Make a message; plain strings become verbatim data, plain numbers become numbers."""
    return Message(key, {name: _phrase(value) for name, value in values.items()})


def declared(value: float | None, unit: str = "") -> Number:
    """A number that a spec declares or a setting that was chosen: shown as written."""
    return Number(value, unit, declared=True)


def percent(fraction: float | None, *, digits: int = 2, round_up: bool = False) -> Number:
    """A fraction as a percentage; a bound is rounded up, so that it never claims more than was shown."""
    return Number(None if fraction is None else 100.0 * fraction, "%", digits, round_up=round_up)


def format_number(value: float | None, digits: int = 3, *, signed: bool = False, round_up: bool = False) -> str:
    """Format ``value`` to ``digits`` significant digits; an absent or undefined number is a dash."""
    if value is None or math.isnan(value):
        return ABSENT
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if round_up and value > 0:
        value = _round_up(value, digits)
    magnitude = abs(value)
    if magnitude != 0.0 and not 1e-4 <= magnitude < 1e7:
        mantissa, exponent = f"{magnitude:.{digits - 1}e}".split("e")
        body = f"{mantissa}×10{str(int(exponent)).translate(_SUPERSCRIPTS)}"
    elif isinstance(value, int) or magnitude == 0.0:
        body = f"{magnitude:,.0f}"
    else:
        decimals = max(0, digits - 1 - math.floor(math.log10(magnitude)))
        body = f"{magnitude:,.{decimals}f}"
        if round_up and decimals:
            body = body.rstrip("0").rstrip(".")
    zero = not any(character in "123456789∞" for character in body)
    sign = "" if zero else "−" if value < 0 else "+" if signed else ""
    return sign + body


def format_declared(value: float | None) -> str:
    """Format a declared number as short as it can be: 350, 0.5, 7.2×10¹⁰."""
    if value == 0.0:
        return "0"
    if value is None or not math.isfinite(value) or (value != 0.0 and not 1e-4 <= abs(value) < 1e7):
        return format_number(value, 3)
    return f"{value:,.6g}".replace("-", "−") if abs(value) < 1e5 else format_number(round(value), 3)


def _round_up(value: float, digits: int) -> float:
    step = 10.0 ** (math.floor(math.log10(value)) - digits + 1)
    return math.ceil(value / step - 1e-9) * step


def _phrase(value: Phrase | str | float | None) -> Phrase:
    if isinstance(value, str):
        return Verbatim(value)
    if value is None or isinstance(value, int | float):
        return Number(value)
    return value
