"""The expression language: its value is Python's, its units are checked, and its errors point at a column."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fpo_pilot.specs import units
from fpo_pilot.specs.expression import (
    FLOAT_FUNCTIONS,
    Expression,
    ExpressionError,
    bind,
    evaluate,
    margin_unit,
    parse,
    robustness,
    unit_of,
)

UNITS = {
    "Ca": "mol/L",
    "Ca_sp": "mol/L",
    "cm": "mol/m**3",
    "T": "K",
    "Tc": "K",
    "TC": "degC",
    "TC2": "degC",
    "level": "%",
    "h": "m",
    "x": "1",
    "F": "L/min",
}
NOW = {
    "Ca": 0.5,
    "Ca_sp": 0.4,
    "cm": 300.0,
    "T": 330.0,
    "Tc": 300.0,
    "TC": 56.85,
    "TC2": 50.0,
    "level": 40.0,
    "h": 1.5,
    "x": 0.7,
    "F": 90.0,
}
BEFORE = {**NOW, "Tc": 299.0, "TC": 55.85}


def value(text: str) -> float:
    return evaluate(bind(parse(text), UNITS, 30.0), NOW, BEFORE, FLOAT_FUNCTIONS)


def margin(text: str) -> float:
    return robustness(bind(parse(text), UNITS, 30.0), NOW, BEFORE, FLOAT_FUNCTIONS)


# --- value ------------------------------------------------------------------------------------------------------------

finite = st.floats(-5.0, 5.0).map(lambda number: round(number, 3))
leaves = st.one_of(finite.map(lambda number: f"{number}"), st.sampled_from(["a", "b"]))


def combined(children: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    binary = st.tuples(children, st.sampled_from(["+", "-", "*", "/"]), children)
    return st.one_of(
        binary.map(lambda parts: f"{parts[0]} {parts[1]} {parts[2]}"),
        binary.map(lambda parts: f"({parts[0]} {parts[1]} {parts[2]})"),
        children.map(lambda child: f"-({child})"),
        children.map(lambda child: f"-{child}" if not child.startswith("-") else child),
        children.map(lambda child: f"({child})**2"),
        children.map(lambda child: f"abs({child})"),
        st.tuples(children, children).map(lambda pair: f"max({pair[0]}, {pair[1]})"),
    )


arithmetic = st.recursive(leaves, combined, max_leaves=8).filter(lambda text: len(text) < 400)


@settings(max_examples=200, deadline=None)
@given(text=arithmetic, a=finite, b=finite)
def test_arithmetic_is_that_of_python(text: str, a: float, b: float) -> None:
    values = {"a": a, "b": b}
    try:
        expected = eval(text, {"abs": abs, "max": max, "__builtins__": {}}, values)  # noqa: S307  # the oracle
    except (ZeroDivisionError, OverflowError) as error:
        with pytest.raises(type(error)):
            evaluate(parse(text), values, values, FLOAT_FUNCTIONS)
        return
    assert evaluate(parse(text), values, values, FLOAT_FUNCTIONS) == expected
    bound = bind(parse(text), {"a": "1", "b": "1"}, 1.0)
    assert evaluate(bound, values, values, FLOAT_FUNCTIONS) == expected


@settings(max_examples=200, deadline=None)
@given(
    a=finite, b=finite, low=finite, sign=st.sampled_from(["<", "<=", ">", ">="]), joint=st.sampled_from(["and", "or"])
)
def test_a_condition_holds_exactly_where_its_robustness_is_positive(
    a: float, b: float, low: float, sign: str, joint: str
) -> None:
    text = f"a {sign} {low} {joint} not b < a"
    values = {"a": a, "b": b}
    holds = evaluate(parse(text), values, {}, FLOAT_FUNCTIONS)
    by = robustness(parse(text), values, {}, FLOAT_FUNCTIONS)
    assert holds == eval(text, {"__builtins__": {}}, values)  # noqa: S307  # the oracle
    if by != 0.0:
        assert holds == (by > 0.0)


@settings(max_examples=300, deadline=None)
@given(text=st.text(alphabet="aTx0159.+-*/()<>=,% [K]mol\te^°&'\"_", max_size=30))
def test_any_text_is_either_parsed_or_refused_with_a_column(text: str) -> None:
    try:
        outcome: Expression | ExpressionError = parse(text)
    except ExpressionError as error:
        outcome = error
    if isinstance(outcome, ExpressionError):
        assert 1 <= outcome.column <= len(text) + 1
        assert outcome.expected
        assert outcome.fix


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("-2**2", -4.0),
        ("(-2)**2", 4.0),
        ("2**3**2", 512.0),
        ("2**-1", 0.5),
        ("7 - 2 - 1", 4.0),
        ("8 / 4 / 2", 1.0),
        ("1 + 2 * 3", 7.0),
        ("+3 - -2", 5.0),
        (".5 + 1. + 1e1", 11.5),
        ("min(3, 1, 2) + max(1, 2)", 3.0),
        ("sqrt(9) + exp(0) + log(1) + abs(-1)", 5.0),
        ("1 < 2 < 3", True),
        ("1 < 2 and 3 < 2", False),
        ("not 1 > 2 or 3 < 2", True),
        ("not (1 < 2 or 3 < 2)", False),
    ],
)
def test_precedence_and_functions(text: str, expected: float) -> None:
    assert evaluate(parse(text), {}, {}, FLOAT_FUNCTIONS) == expected


def test_a_chain_holds_by_the_least_of_its_links() -> None:
    assert margin("1 m < h < 1.75 m") == pytest.approx(0.25)
    assert margin("h < 1 m or h > 1.25 m") == pytest.approx(0.25)


def test_arrays_are_evaluated_element_by_element() -> None:
    functions = {"abs": np.abs, "min": np.minimum, "max": np.maximum, "sqrt": np.sqrt, "exp": np.exp, "log": np.log}
    expression = bind(parse("abs(delta(Tc)) < 6 K/min and not (max(T, Tc, 310 K) > 340 K)"), UNITS, 30.0)
    now = {"T": np.array([330.0, 330.0, 341.0]), "Tc": np.array([300.0, 304.0, 300.0])}
    before = {"Tc": np.array([299.0, 300.0, 299.0])}
    assert evaluate(expression, now, before, functions).tolist() == [True, False, False]
    assert robustness(expression, now, before, functions).tolist() == [2.0, -1.0, -1.0]


def test_an_expression_knows_its_names_in_order_and_whether_it_looks_back() -> None:
    expression = parse("T - Ca * delta(Tc) + T")
    assert expression.ordered_names == ("T", "Ca", "Tc")
    assert expression.names == {"T", "Ca", "Tc"}
    assert expression.uses_delta
    assert not expression.is_condition
    assert parse("T > 3 K").is_condition
    assert not parse("T").uses_delta


def test_an_expression_is_frozen_hashable_and_can_be_copied() -> None:
    expression = parse("abs(delta(T)) < 3 K or T > 2 K")
    assert hash(expression) == hash(parse("abs(delta(T)) < 3 K or T > 2 K"))
    assert copy.deepcopy(expression) == expression


def test_robustness_of_a_number_is_refused() -> None:
    with pytest.raises(ExpressionError, match="a condition"):
        robustness(parse("1 + 2"), {}, {}, FLOAT_FUNCTIONS)


def test_an_expression_with_units_must_be_bound_before_it_is_evaluated() -> None:
    with pytest.raises(ExpressionError, match="Bind the expression"):
        evaluate(parse("T > 350 K"), NOW, BEFORE, FLOAT_FUNCTIONS)


# --- units ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected", "unit"),
    [
        ("((Ca - Ca_sp) / 0.3 [mol/L])**2", (0.1 / 0.3) ** 2, "1"),
        ("(delta(Tc) / 7 K)**2", 1 / 49, "1"),
        ("Ca - cm", 0.2, "mol/L"),  # 300 mol/m³ is 0.3 mol/L
        ("cm - Ca", -200.0, "mol/m**3"),
        ("Ca / cm", 5 / 3, "1"),  # not 0.5/300
        ("exp(cm / Ca)", math.exp(0.6), "1"),
        ("Ca * F", 45.0, "mol/min"),
        ("TC - TC2", 6.85, "delta_degC"),
        ("TC - T", 0.0, "delta_degC"),  # 330 K is 56.85 °C
        ("T - TC", 0.0, "delta_degC"),
        ("TC - 25 degC", 31.85, "delta_degC"),
        ("TC + 5 K", 61.85, "degC"),
        ("TC - 5 delta_degC", 51.85, "degC"),
        ("TC - TC2 - 2 degC", 4.85, "delta_degC"),
        ("(TC - 26.85 degC) / 10 K", 3.0, "1"),
        ("TC2 + (TC - TC2) / 2", 53.425, "degC"),
        ("delta(TC) * 2", 2.0, "delta_degC"),
        ("max(T, 60 degC)", 333.15, "K"),
        ("min(400 K, T)", 330.0, "K"),
        ("max(TC - TC2, 20 K)", 20.0, "delta_degC"),
        ("sqrt(h**2 + 4 m2)", 2.5, "m"),
        ("h**0.5 * h**1.5", 2.25, "m**2"),
        ("-h + 200 cm", 0.5, "m"),
        ("level / 50 %", 0.8, "1"),
        ("100 % - level", 60.0, "%"),
        ("2 * level", 80.0, "%"),
        ("0.5 * (T - 20 K)", 155.0, "K"),
        ("x**x", 0.7**0.7, "1"),
        ("T", 330.0, "K"),
    ],
)
def test_values_and_units_by_hand(text: str, expected: float, unit: str) -> None:
    assert value(text) == pytest.approx(expected, abs=1e-9)
    assert unit_of(parse(text), UNITS) == units.parse_unit(unit)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("T > 350 K", -20.0),
        ("T > 56.85 degC", 0.0),
        ("TC > 350 K", -20.0),
        ("350 K < TC", -20.0),
        ("-5 degC < TC", 61.85),
        ("TC - TC2 < 5 K", -1.85),
        ("TC - TC2 < 5 degC", -1.85),  # a number in °C that meets a difference is one
        ("delta(TC) > 5 degC", -4.0),
        ("abs(delta(Tc)) < 1 K/step", 0.0),
        ("abs(delta(Tc)) < 6 K/min", 2.0),  # 3 K in half a minute
        ("delta(Tc) / 2 < 6 K/min", 2.5),
        ("Ca > 400 mol/m**3", 0.1),
        ("T > 0", 330.0),
        ("level > 25 %", 15.0),
        ("level > 0.25 [1]", 15.0),
        ("x < 1", 0.3),
        ("Ca * F > 2.4 [kmol/h]", 5.0),  # 40 mol/min
        ("5 min > 270 s", 0.5),
    ],
)
def test_margins_by_hand(text: str, expected: float) -> None:
    assert margin(text) == pytest.approx(expected, abs=1e-9)


def test_the_margin_of_a_condition_has_the_unit_of_its_signal() -> None:
    assert units.name(margin_unit(parse("350 K < T"), UNITS)) == "K"
    assert units.name(margin_unit(parse("TC < 350 K and level > 3 %"), UNITS)) == "delta_degC"
    assert units.name(margin_unit(parse("TC"), UNITS)) == "delta_degC"


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("T > 350", 3, "Write its unit after it, as in 5 K"),
        ("T > 350 m", 3, "one dimension on both sides"),
        ("T + Ca", 3, "one dimension on both sides"),
        ("TC > 0", 4, "one in degC"),
        ("level > 50", 7, "one in %"),
        ("1 - level", 3, "one in %"),
        ("TC - 25 K", 4, "Write differences in delta_degC"),
        ("TC + 5 degC", 4, "Write differences in delta_degC"),
        ("TC + TC2", 4, "the difference of two temperatures"),
        ("5 K - TC", 5, "Turn the subtraction round"),
        ("TC / 2", 4, "Subtract a reference first"),
        ("-TC", 1, "Subtract a reference first"),
        ("abs(TC)", 1, "Subtract a reference first"),
        ("TC > 5 delta_degC", 4, "Write temperatures in degC"),
        ("TC - TC2 > TC", 10, "Subtract a temperature first"),
        ("exp(Ca)", 1, "Divide by a scale first"),
        ("h**x", 2, "a constant exponent"),
        ("h**(9**9**9)", 2, "a power that cannot be computed"),
        ("a > 1", 1, "Did you mean `Ca`?"),
        ("T > 350 Kelvn", 5, "a number with a unit"),
        ("T > 350 K/T", 5, "T is also a signal"),
        ("2 x", 1, "a number with a unit"),
        ("T > 3 K*K", 3, "one dimension"),
    ],
)
def test_what_does_not_fit_is_refused_at_its_column(text: str, column: int, message: str) -> None:
    with pytest.raises(ExpressionError) as raised:
        bind(parse(text), UNITS, 30.0)
    assert message in str(raised.value)
    assert raised.value.column == column


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("", 1, "found nothing"),
        ("T + " * 200 + "T", 1, "at most 500 characters"),
        ("1 +", 4, "found the end"),
        ("(1 + 2", 7, "expected )"),
        ("1 + 2)", 6, "open a bracket before"),
        ("T 3", 3, "no multiplication without *"),
        ("h == 3", 3, "abs(a - b) < tolerance"),
        ("(h != 3)", 4, "abs(a - b) < tolerance"),
        ("T ^ 2", 3, "Write powers as **"),
        ("T & 3", 3, "found '&'"),
        ("T.real", 2, "found '.'"),
        ("__import__('os')", 12, "a name, a number or an operator"),
        ("__import__(os)", 1, "one of the functions"),
        ("min(T)", 1, "two or more"),
        ("abs(T, T)", 1, "abs of 1 values"),
        ("abs + 1", 1, "Put its argument in brackets"),
        ("delta(T - 1)", 1, "the change of one signal"),
        ("delta", 1, "Put its argument in brackets"),
        ("(x > 1) + 2", 9, "cannot be computed with"),
        ("x and x", 3, "conditions on both sides"),
        ("not x", 1, "conditions on both sides"),
        ("abs(x > 1)", 1, "cannot be computed with"),
        ("and", 1, "a name, a number or ("),
        ("1e999", 1, "a finite number"),
        ("(" * 40 + "x" + ")" * 40, 31, "at most 30 levels"),
        ("-" * 40 + "x", 31, "at most 30 levels"),
        ("x if x else x", 3, "an operator or the end"),
        ("[x for x in x]", 1, "found '['"),
    ],
)
def test_what_cannot_be_read_is_refused_at_its_column(text: str, column: int, message: str) -> None:
    with pytest.raises(ExpressionError) as raised:
        parse(text)
    assert message in str(raised.value)
    assert raised.value.column == column


def test_binding_twice_changes_nothing() -> None:
    bound = bind(parse("T > 76.85 degC"), UNITS, 30.0)
    assert bind(bound, UNITS, 30.0) is bound


@settings(max_examples=100, deadline=None)
@given(kelvin=st.floats(250.0, 450.0), bound=st.floats(-20.0, 180.0))
def test_a_comparison_means_the_same_in_kelvin_and_celsius(kelvin: float, bound: float) -> None:
    bound = round(bound, 2)
    in_kelvin = robustness(bind(parse(f"T < {bound} degC"), {"T": "K"}, 1.0), {"T": kelvin}, {}, FLOAT_FUNCTIONS)
    celsius = kelvin - 273.15
    in_celsius = robustness(bind(parse(f"T < {bound} degC"), {"T": "degC"}, 1.0), {"T": celsius}, {}, FLOAT_FUNCTIONS)
    assert in_kelvin == pytest.approx(in_celsius, abs=1e-9)


def test_an_error_survives_a_trip_between_processes() -> None:
    with pytest.raises(ExpressionError) as raised:
        parse("1 +")
    same = copy.copy(raised.value)  # as between processes
    assert (same.column, str(same)) == (raised.value.column, str(raised.value))
