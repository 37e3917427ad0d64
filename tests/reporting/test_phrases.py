from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fpo_pilot.reporting.phrases import Number, declared, format_number, percent


@pytest.mark.parametrize(
    ("value", "digits", "shown"),
    [
        (67.854, 3, "67.9"),
        (0.5, 3, "0.500"),
        (-0.0123, 3, "−0.0123"),
        (1234.5, 3, "1,234"),
        (300_000, 3, "300,000"),
        (7.2e10, 3, "7.20×10¹⁰"),
        (2.5e-7, 2, "2.5×10⁻⁷"),
        (51.0, 3, "51.0"),
        (0.0, 3, "0"),
        (-0.0, 3, "0"),
        (float("nan"), 3, "–"),
        (None, 3, "–"),
        (math.inf, 3, "∞"),
        (-math.inf, 3, "−∞"),
    ],
)
def test_a_number_is_shown_to_its_digits(value: float | None, digits: int, shown: str) -> None:
    assert format_number(value, digits) == shown


def test_units_stand_behind_a_space_that_does_not_break() -> None:
    assert str(Number(18.4, "K")) == "18.4\u00a0K"
    assert str(Number(None, "K")) == "–"
    assert str(Number(3, "1")) == "3"


def test_declared_numbers_are_shown_as_they_were_written() -> None:
    assert [str(declared(v)) for v in (350.0, 0.5, 0.85, -5.0, 7.2e10)] == ["350", "0.5", "0.85", "−5", "7.20×10¹⁰"]


def test_a_gain_carries_its_sign() -> None:
    assert str(Number(48.3, signed=True)) == "+48.3"
    assert str(Number(0.0, signed=True)) == "0"


def test_the_upper_limit_after_59_clean_blocks_reads_five_per_cent() -> None:
    upper = 1 - 0.05 ** (1 / 59)  # 0.04951…
    assert str(percent(upper, round_up=True)) == "5\u00a0%"


@given(st.floats(1e-6, 1.0))
def test_a_bound_is_never_rounded_down(fraction: float) -> None:
    shown = str(percent(fraction, round_up=True)).removesuffix("\u00a0%")
    mantissa, _, exponent = shown.partition("×10")
    power = int(exponent.translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789"))) if exponent else 0
    assert float(mantissa) * 10.0**power >= 100.0 * fraction * (1 - 1e-9)
