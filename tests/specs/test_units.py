"""Units: points and differences are converted differently, and only units are read as units."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fpo_pilot.specs import units
from fpo_pilot.specs.units import UnitError, parse_unit


@pytest.mark.parametrize(
    ("value", "unit", "target", "point", "difference"),
    [
        (25.0, "degC", "K", 298.15, 25.0),
        (76.85, "degC", "K", 350.0, 76.85),
        (298.15, "K", "degC", 25.0, 298.15),
        (212.0, "degF", "degC", 100.0, 117.777777777778),
        (3.0, "L/min", "m3/h", 0.18, 0.18),
        (5.0, "%", "1", 0.05, 0.05),
        (2.0, "kJ/h", "W", 0.555555555555556, 0.555555555555556),
        (110.0, "cm", "m", 1.1, 1.1),
        (1.0, "rpm", "rad/s", 0.104719755119660, 0.104719755119660),
    ],
)
def test_points_and_differences_by_hand(value: float, unit: str, target: str, point: float, difference: float) -> None:
    assert units.convert_point(value, parse_unit(unit), parse_unit(target)) == pytest.approx(point, rel=1e-13)
    assert units.convert_difference(value, parse_unit(unit), parse_unit(target)) == pytest.approx(difference, rel=1e-13)


@pytest.mark.parametrize(
    ("value", "unit", "target", "per_step"),
    [
        (3.0, "K/min", "K", 1.3),
        (3.0, "K/step", "degC", 3.0),
        (3.0, "degC/min", "degC", 1.3),
        (3.0, "K", "K", 3.0),
        (2.0, "kW/s", "W", 52e3),
    ],
)
def test_a_rate_per_time_is_multiplied_by_the_period(value: float, unit: str, target: str, per_step: float) -> None:
    assert units.convert_rate(value, parse_unit(unit), parse_unit(target), 26.0) == pytest.approx(per_step)


def test_a_rate_of_time_itself_is_not_multiplied() -> None:
    assert units.convert_rate(2.0, parse_unit("min"), parse_unit("s"), 26.0) == 120.0


@pytest.mark.parametrize("text", ["m**3", "m^3", "m3", "m³"])
def test_powers_may_be_written_as_people_do(text: str) -> None:
    assert parse_unit(text) == parse_unit("meter**3")


@pytest.mark.parametrize("text", ["", "1", "-", " 1 ", "dimensionless"])
def test_no_unit_is_a_plain_number(text: str) -> None:
    assert units.name(parse_unit(text)) == "1"


@pytest.mark.parametrize(
    "text",
    [
        "Kelvn",
        "9**9**9",
        "m**(9**9)",
        "1000 m",
        "__import__('os')",
        "m;m",
        "x" * 70,
        "m**1e9",
        "lambda: 0",
        "K(",
        "mol/Liter",
    ],
)
def test_what_is_not_a_unit_is_refused_with_advice(text: str) -> None:
    with pytest.raises(UnitError) as raised:
        parse_unit(text)
    assert raised.value.fix


def test_every_unit_that_is_suggested_exists() -> None:
    for text in units._COMMON:
        parse_unit(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("350 K", (350.0, "K")),
        ("-3.5e-2 K/step", (-0.035, "K/step")),
        ("10%", (10.0, "%")),
        ("7_200 1/min", (7200.0, "1/min")),
        ("5", (5.0, "")),
        (".5 m", (0.5, "m")),
        ("K", None),
        ("", None),
        ("--3 K", None),
    ],
)
def test_a_quantity_is_a_number_and_then_a_unit(text: str, expected: tuple[float, str] | None) -> None:
    assert units.split_quantity(text) == expected


def test_only_scales_with_another_zero_are_offset() -> None:
    assert [
        text for text in ("degC", "degF", "K", "delta_degC", "K/min", "m") if units.is_offset(parse_unit(text))
    ] == ["degC", "degF"]
    assert units.name(units.difference_unit(parse_unit("degC"))) == "delta_degC"
    assert units.difference_unit(parse_unit("K")) == parse_unit("K")


def test_a_difference_is_not_a_point() -> None:
    with pytest.raises(UnitError, match="is a difference"):
        units.convert_point(5.0, parse_unit("delta_degC"), parse_unit("K"))


def test_another_dimension_is_refused() -> None:
    for convert in (units.convert_point, units.convert_difference):
        with pytest.raises(UnitError, match="kg cannot be converted to m"):
            convert(5.0, parse_unit("kg"), parse_unit("m"))


@given(value=st.floats(-200.0, 1000.0))
def test_there_and_back_is_the_same_temperature(value: float) -> None:
    celsius, kelvin = parse_unit("degC"), parse_unit("K")
    there = units.convert_point(value, celsius, kelvin)
    assert units.convert_point(there, kelvin, celsius) == pytest.approx(value, abs=1e-10)


@pytest.mark.parametrize("text", ["mol/L", "K/step", "degC", "delta_degC", "m**3/h", "%", "1/min", "J/g/K"])
def test_a_unit_is_written_so_that_it_can_be_read_again(text: str) -> None:
    assert units.name(parse_unit(text)) == text
