"""Whether two conditions can hold at once, and whether one comes too late: decided for bounds on signals, as interlocks have them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import product

from fpo_pilot.specs.expression import FLOAT_FUNCTIONS, Expression, bind, evaluate
from fpo_pilot.specs.expression.tree import Both, Comparison, Name, Node, walk

Bounds = dict[str, tuple[float, float]]
_MOST = 64


def can_both_hold(first: Expression, second: Expression, signals: Mapping[str, str], period: float) -> bool:
    """Tell whether values exist for which both conditions hold.

    Only ``signal < number`` and the like, joined by ``and`` and ``or``, are understood; False for anything else, since
    nothing can be said. Each condition must pass the unit check.
    """
    boxes = []
    for expression in (first, second):
        understood = _boxes(bind(expression, signals, period).root)
        if understood is None:
            return False
        boxes.append(understood)
    pairs = product(*boxes)
    return any(_overlap(one, other) for one, other in pairs)


def comes_too_late(
    condition: Expression, edges: Mapping[str, tuple[float, float]], signals: Mapping[str, str], period: float
) -> str | None:
    """Name a signal that is at or beyond one of its ``edges`` (low, high) whenever the condition holds; None if it can hold before.

    None as well for what is not made of bounds, since nothing can be said. The condition must pass the unit check.
    """
    late = None
    for box in _boxes(bind(condition, signals, period).root) or ():
        beyond = (
            name
            for name, (low, high) in box.items()
            if name in edges and (low >= edges[name][1] or high <= edges[name][0])
        )
        late = next(beyond, None)
        if late is None:
            return None
    return late


def _boxes(node: Node) -> list[Bounds] | None:
    """Write a condition as a union of boxes; None if it is not made of bounds."""
    if isinstance(node, Comparison):
        bound = _bound(node)
        return None if bound is None else [bound]
    if not isinstance(node, Both):
        return None
    left, right = _boxes(node.left), _boxes(node.right)
    if left is None or right is None or len(left) * len(right) > _MOST:
        return None
    if not node.all_of:
        return [*left, *right]
    return [merged for one, other in product(left, right) if (merged := _merged(one, other))]


def _bound(node: Comparison) -> Bounds | None:
    low, high = (node.left, node.right) if node.sign in {"<", "<="} else (node.right, node.left)
    strict = node.sign in {"<", ">"}
    if isinstance(low, Name) and _is_constant(high):
        value = _value(high)
        return {low.name: (-math.inf, math.nextafter(value, -math.inf) if strict else value)}
    if isinstance(high, Name) and _is_constant(low):
        value = _value(low)
        return {high.name: (math.nextafter(value, math.inf) if strict else value, math.inf)}
    return None


def _is_constant(node: Node) -> bool:
    return not any(hasattr(part, "name") for part in walk(node))


def _value(node: Node) -> float:
    return float(evaluate(Expression("", node, bound=True), {}, {}, FLOAT_FUNCTIONS))


def _merged(one: Bounds, other: Bounds) -> Bounds:
    """Intersect two boxes; empty if nothing is in both."""
    merged = dict(one)
    for name, (low, high) in other.items():
        before = merged.get(name, (-math.inf, math.inf))
        merged[name] = (max(low, before[0]), min(high, before[1]))
    return merged if all(low <= high for low, high in merged.values()) else {}


def _overlap(one: Bounds, other: Bounds) -> bool:
    """Tell whether two boxes that share a signal meet; boxes on different signals are independent, and say nothing."""
    return not set(one).isdisjoint(other) and bool(_merged(one, other))
