"""Units through an expression: what may meet what, and the conversions that make plain arithmetic right.

A °C signal is a point on a scale with an offset. Points may be compared, and their difference is a ``delta_degC``; a
difference may be added to a point; nothing else is done with a point. A number written in °C is a point where it meets
a point and a difference elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NoReturn

from fpo_pilot.errors import Words
from fpo_pilot.specs import units
from fpo_pilot.specs.expression.evaluation import FLOAT_FUNCTIONS, evaluate
from fpo_pilot.specs.expression.tree import (
    Arithmetic,
    Both,
    Call,
    Comparison,
    Delta,
    Expression,
    ExpressionError,
    Name,
    Negative,
    Node,
    Not,
    Number,
    walk,
)
from fpo_pilot.specs.findings import did_you_mean
from fpo_pilot.specs.units import UnitError

if TYPE_CHECKING:
    from pint import Unit


@dataclass(frozen=True)
class _Typed:
    """A node with converted numbers, its unit, and what was known of it: a constant, one without any unit."""

    node: Node
    unit: Unit
    constant: bool
    bare: bool

    @property
    def changes(self) -> bool:
        """Whether a change per step is in it, which may be compared with a rate per time."""
        return any(isinstance(node, Delta) for node in walk(self.node))


def unit_of(expression: Expression, signals: Mapping[str, str]) -> Unit:
    """Return the unit of an expression's value (a plain number for a condition), given the unit of every signal.

    Raises:
        ExpressionError: a name is unknown, or units do not fit.
    """
    return _Checker(expression.text, signals, 1.0).whole(expression.root).unit


def margin_unit(expression: Expression, signals: Mapping[str, str]) -> Unit:
    """Return the unit of a condition's robustness (of its first comparison), or that of differences of a number."""
    checker = _Checker(expression.text, signals, 1.0)
    typed = checker.whole(expression.root)
    first = next((node for node in walk(expression.root) if isinstance(node, Comparison)), None)
    if first is None:
        return units.difference_unit(typed.unit)
    left, _ = checker.agreed(checker.typed(first.left), checker.typed(first.right), first.column)
    return units.difference_unit(left.unit)


def bind(expression: Expression, signals: Mapping[str, str], period: float) -> Expression:
    """Convert every number to the unit of what it meets, so that plain arithmetic on engineering values is right.

    Args:
        expression: as parsed.
        signals: name to unit of every signal that may be named.
        period: seconds of a control step; converts a rate per time that meets a ``delta``.

    Raises:
        ExpressionError: a name is unknown, or units do not fit.
    """
    if expression.bound:
        return expression
    return Expression(
        expression.text, _Checker(expression.text, signals, period).whole(expression.root).node, bound=True
    )


class _Checker:
    """Walks a tree with the units of the signals at hand."""

    def __init__(self, text: str, signals: Mapping[str, str], period: float) -> None:
        self.text = text
        self.signals = signals
        self.period = period
        self.one = units.parse_unit("1")

    def fail(self, column: int, found: str, expected: str, fix: str) -> NoReturn:
        raise ExpressionError(self.text, column, Words(found), expected, fix)

    def whole(self, node: Node) -> _Typed:
        """Check an expression; a quotient without dimension becomes a plain number, a single unit such as % stays."""
        typed = self.typed(node)
        single = typed.unit == self.one or "/" not in str(typed.unit)
        return (
            typed
            if single or not units.same_dimension(typed.unit, self.one)
            else self.converted(typed, self.one, node.column)
        )

    def typed(self, node: Node) -> _Typed:
        if isinstance(node, Number):
            return self.number(node)
        if isinstance(node, (Name, Delta)):
            unit = self.signal_unit(node)
            return _Typed(node, units.difference_unit(unit) if isinstance(node, Delta) else unit, False, False)
        if isinstance(node, Negative):
            operand = self.free(self.typed(node.operand), node.column)
            return replace(operand, node=replace(node, operand=operand.node))
        if isinstance(node, Arithmetic):
            return self.arithmetic(node)
        if isinstance(node, Call):
            return self.call(node)
        if isinstance(node, Comparison):
            left, right = self.agreed(self.typed(node.left), self.typed(node.right), node.column)
            return _Typed(replace(node, left=left.node, right=right.node), self.one, False, False)
        if isinstance(node, Not):
            return _Typed(replace(node, operand=self.typed(node.operand).node), self.one, False, False)
        both = Both(node.all_of, self.typed(node.left).node, self.typed(node.right).node, node.column)
        return _Typed(both, self.one, False, False)

    def number(self, node: Number) -> _Typed:
        if node.unit is None:
            return _Typed(node, self.one, True, True)
        advice = "Put spaces around / and *, or the unit in brackets."
        written = f"`{node.value:g} {node.unit}`"
        if not node.bracketed and (both := set(re.findall(r"[^\W\d]\w*", node.unit)[1:]) & set(self.signals)):
            self.fail(node.column, written, f"a unit (but {' and '.join(sorted(both))} is also a signal)", advice)
        try:
            unit = units.parse_unit(node.unit)
        except UnitError as error:
            self.fail(node.column, written, "a number with a unit", advice if set("*/") & set(node.unit) else error.fix)
        return _Typed(replace(node, unit=None), unit, True, False)

    def signal_unit(self, node: Name | Delta) -> Unit:
        if node.name not in self.signals:
            known = tuple(self.signals)
            fix = did_you_mean(node.name, known, "Declare it under `signals:`, or correct the name.")
            self.fail(node.column, f"the name {node.name!r}", f"a signal ({', '.join(known)})", fix)
        try:
            return units.parse_unit(self.signals[node.name])
        except UnitError as error:
            self.fail(node.column, str(error), "a signal with a unit", error.fix)

    def arithmetic(self, node: Arithmetic) -> _Typed:
        left, right = self.typed(node.left), self.typed(node.right)
        if node.sign in {"+", "-"}:
            return self.sum(node, left, right)
        if node.sign == "**":
            return self.power(node, left, right)
        left, right = self.free(left, node.column), self.free(right, node.column)
        unit = left.unit * right.unit if node.sign == "*" else left.unit / right.unit
        return _joined(replace(node, left=left.node, right=right.node), unit, left, right)

    def sum(self, node: Arithmetic, left: _Typed, right: _Typed) -> _Typed:
        """Add or subtract: two points give a difference, a point and a difference a point."""
        points = units.is_offset(left.unit), units.is_offset(right.unit)
        if not any(points):
            left, right = self.agreed(left, right, node.column)
            return _joined(replace(node, left=left.node, right=right.node), left.unit, left, right)
        if node.sign == "-" and points == (True, True):
            left, right = self.agreed(left, right, node.column)
            return _joined(
                replace(node, left=left.node, right=right.node), units.difference_unit(left.unit), left, right
            )
        point, other = (left, right) if points[0] else (right, left)
        if node.sign == "-" and points == (False, True):
            if right.constant and _is_difference(left.unit):  # (T1 - T2) - 5 degC
                return self.sum(node, left, replace(right, unit=units.difference_unit(right.unit)))
            if isinstance(left.node, Name) and isinstance(right.node, Name):  # a signal in K minus one in degC
                return self.sum(node, self.converted(left, right.unit, node.column), right)
        elif node.sign == "-" and isinstance(left.node, Name) and isinstance(right.node, Name):
            return self.sum(node, left, self.converted(right, left.unit, node.column))
        elif all(points) or not (
            _is_difference(other.unit) or (node.sign == "+" and other.constant and not other.bare)
        ):
            self.fail(
                node.column,
                f"{units.name(left.unit)} {node.sign} {units.name(right.unit)}",
                "a temperature and a difference, or the difference of two temperatures",
                "Write differences in delta_degC (5 delta_degC) and temperatures in degC.",
            )
        elif points[0] or node.sign == "+":
            shift = self.converted(other, units.difference_unit(point.unit), node.column)
            left, right = (point, shift) if points[0] else (shift, point)
            return _joined(replace(node, left=left.node, right=right.node), point.unit, left, right)
        return self.fail(
            node.column, "a difference minus a temperature", "a temperature first", "Turn the subtraction round."
        )

    def power(self, node: Arithmetic, left: _Typed, right: _Typed) -> _Typed:
        base = self.free(left, node.column)
        exponent = self.converted(right, self.one, node.column)
        if base.unit == self.one or units.same_dimension(base.unit, self.one):
            base = self.converted(base, self.one, node.column)
            return _joined(replace(node, left=base.node, right=exponent.node), self.one, base, exponent)
        if not exponent.constant:
            self.fail(
                node.column,
                f"{units.name(base.unit)} to a changing power",
                "a constant exponent",
                "Divide by a scale first.",
            )
        try:
            power = float(evaluate(Expression(self.text, exponent.node, bound=True), {}, {}, FLOAT_FUNCTIONS))
            return _joined(
                replace(node, left=base.node, right=Number(power, None, node.column)),
                units.raised(base.unit, power),
                base,
                exponent,
            )
        except (ArithmeticError, ValueError, TypeError):
            return self.fail(
                node.column, "a power that cannot be computed", "a small constant exponent", "Write a plain number."
            )

    def call(self, node: Call) -> _Typed:
        arguments = [self.typed(argument) for argument in node.arguments]
        if node.function in {"min", "max"}:
            leader = next((argument for argument in arguments if not argument.constant), arguments[0])
            same = [self.agreed(leader, argument, node.column)[1] for argument in arguments]
            constant, bare = all(a.constant for a in arguments), all(a.bare for a in arguments)
            return _Typed(replace(node, arguments=tuple(a.node for a in same)), leader.unit, constant, bare)
        operand = self.free(arguments[0], node.column)
        unit = operand.unit
        if node.function in {"exp", "log"}:
            if not units.same_dimension(unit, self.one):
                self.fail(
                    node.column,
                    f"{node.function} of {units.name(unit)}",
                    "a number without dimension",
                    "Divide by a scale first.",
                )
            operand = self.converted(operand, self.one, node.column)
            unit = self.one
        elif node.function == "sqrt":
            unit = units.raised(unit, 0.5)
        return _Typed(replace(node, arguments=(operand.node,)), unit, operand.constant, operand.bare)

    def free(self, typed: _Typed, column: int) -> _Typed:
        """Refuse a point on a scale with an offset where a factor is wanted; a number in °C is a difference there."""
        if not units.is_offset(typed.unit):
            return typed
        if typed.constant:
            return replace(typed, unit=units.difference_unit(typed.unit))
        fix = "Subtract a reference first, as in (T - 25 degC) / 10 delta_degC."
        return self.fail(
            column, f"a temperature in {units.name(typed.unit)} as a factor", "a difference of temperatures", fix
        )

    def agreed(self, left: _Typed, right: _Typed, column: int) -> tuple[_Typed, _Typed]:
        """Bring two sides to one unit: that of the side that is not constant, or of the left one."""
        left, right = self.with_period(left, right), self.with_period(right, left)
        if left.constant and not right.constant:
            return self.converted(left, right.unit, column), right
        return left, self.converted(right, left.unit, column)

    def with_period(self, side: _Typed, other: _Typed) -> _Typed:
        """Turn a constant rate per time into one per step, where it meets a change per step."""
        if side.constant and not side.bare and other.changes and not units.same_dimension(side.unit, other.unit):
            unit = units.difference_unit(side.unit) * units.parse_unit("s")
            if units.same_dimension(unit, other.unit):
                return replace(side, node=_scaled(side.node, self.period, 0.0), unit=unit)
        return side

    def converted(self, side: _Typed, target: Unit, column: int) -> _Typed:
        """Convert to a unit: a constant by value, anything else by a factor (and an offset) in the tree."""
        if side.unit == target:
            return side
        if isinstance(side.node, Number) and side.bare and side.node.value == 0.0 and not units.is_offset(target):
            return replace(side, unit=target)
        if side.bare and (
            not units.same_dimension(target, self.one) or units.convert_difference(1.0, target, self.one) != 1.0
        ):
            wanted = units.name(target)
            self.fail(
                column,
                "a number without a unit",
                f"one in {wanted}",
                f"Write its unit after it, as in 5 {wanted} or 5 [{wanted}].",
            )
        if not units.same_dimension(side.unit, target):
            found = f"{units.name(side.unit)} where {units.name(target)} stands on the other side"
            self.fail(column, found, "one dimension on both sides", "Convert or divide one side, or correct its unit.")
        if _is_difference(side.unit) and units.is_offset(target):
            self.fail(
                column,
                "a difference of temperatures",
                f"a temperature in {units.name(target)}",
                "Write temperatures in degC.",
            )
        source = side.unit
        if units.is_offset(source) and _is_difference(target):
            if not side.constant:
                self.fail(column, "a temperature", "a difference of temperatures", "Subtract a temperature first.")
            source = units.difference_unit(source)
        offset = units.convert_point(0.0, source, target) if units.is_offset(source) or units.is_offset(target) else 0.0
        factor = units.convert_difference(1.0, source, target)
        return replace(side, node=_scaled(side.node, factor, offset), unit=target)


def _is_difference(unit: Unit) -> bool:
    return str(unit).startswith("delta_")


def _joined(node: Node, unit: Unit, left: _Typed, right: _Typed) -> _Typed:
    return _Typed(node, unit, left.constant and right.constant, left.bare and right.bare)


def _scaled(node: Node, factor: float, offset: float) -> Node:
    """Return the node times ``factor`` plus ``offset``."""
    if isinstance(node, Number):
        value = node.value * factor + offset
        return replace(node, value=units.tidy(value))
    if factor != 1.0:
        node = Arithmetic("*", node, Number(factor, None, node.column), node.column)
    return node if offset == 0.0 else Arithmetic("+", node, Number(offset, None, node.column), node.column)
