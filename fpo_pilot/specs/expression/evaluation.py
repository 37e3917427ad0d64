"""The value of a bound expression, on floats, arrays and tensors alike: only operators and the functions given."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

from fpo_pilot.errors import Words
from fpo_pilot.specs.expression.tree import (
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
)

FLOAT_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "abs": abs,
    "min": min,
    "max": max,
    "sqrt": math.sqrt,
    "exp": math.exp,
    "log": math.log,
}
"""The functions for plain floats. For arrays, ``min`` and ``max`` must take an array and a float in either order."""
_OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "**": operator.pow,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def evaluate(
    expression: Expression,
    values: Mapping[str, Any],
    previous: Mapping[str, Any],
    functions: Mapping[str, Callable[..., Any]],
) -> Any:
    """Return the value of an expression: a number, or true or false for a condition.

    Args:
        expression: bound, or free of units.
        values: signals now, in their engineering units; floats or arrays of one shape.
        previous: signals at the step before; only those in ``delta`` are read.
        functions: ``abs min max sqrt exp log`` for the kind of ``values``; see :data:`FLOAT_FUNCTIONS`.
    """

    def value(node: Node) -> Any:
        if isinstance(node, Number):
            if node.unit is not None:
                raise _unbound(expression, node)
            return node.value
        if isinstance(node, Name):
            return values[node.name]
        if isinstance(node, Delta):
            return values[node.name] - previous[node.name]
        if isinstance(node, Negative):
            return -value(node.operand)
        if isinstance(node, Not):
            return value(node.operand) ^ True  # of a Python bool, too; ~True is -2
        if isinstance(node, Both):
            left, right = value(node.left), value(node.right)
            return left & right if node.all_of else left | right
        if isinstance(node, Call):
            return (
                reduce(functions[node.function], map(value, node.arguments))
                if len(node.arguments) > 1
                else functions[node.function](value(node.arguments[0]))
            )
        return _OPERATORS[node.sign](value(node.left), value(node.right))

    return value(expression.root)


def robustness(
    expression: Expression,
    values: Mapping[str, Any],
    previous: Mapping[str, Any],
    functions: Mapping[str, Callable[..., Any]],
) -> Any:
    """Return by how much a condition holds: positive when it does, negative by how much it fails.

    ``a < b`` holds by ``b - a``, ``and`` by the least of its sides, ``or`` by the greatest, ``not`` by the negative.
    """

    def margin(node: Node) -> Any:
        if isinstance(node, Not):
            return -margin(node.operand)
        if isinstance(node, Both):
            return functions["min" if node.all_of else "max"](margin(node.left), margin(node.right))
        if isinstance(node, Comparison):
            low, high = (node.left, node.right) if node.sign in {"<", "<="} else (node.right, node.left)
            return number(high) - number(low)
        raise ExpressionError(
            expression.text, 1, Words("a number"), "a condition", "Compare it with something, as in T < 350 K."
        )

    def number(node: Node) -> Any:
        return evaluate(Expression(expression.text, node, expression.bound), values, previous, functions)

    return margin(expression.root)


def _unbound(expression: Expression, node: Number) -> ExpressionError:
    fix = "Bind the expression to the plant's units first: bind(expression, units, period)."
    return ExpressionError(
        expression.text, node.column, Words(f"{node.value:g} {node.unit}"), "a number in the unit of its signal", fix
    )
