"""The small language of rewards, goals, interlocks and key figures: a frozen tree, checked for units, never ``eval``.

A number may carry a unit: ``350 K``, ``0.01 mol/L``, ``1 K/step``; a unit with spaces or beside a name needs brackets,
as in ``0.3 [mol/L]``. There are ``+ - * / **``, the comparisons ``< <= > >=``, ``and or not``, and the functions ``abs
min max sqrt exp log`` and ``delta(signal)``: its change since the step before.

Use: ``parse`` a text, ``bind`` it to the units of a plant (numbers become plain floats in the unit of the signal they
meet), then ``evaluate`` it, or take its ``robustness``: by how much a condition holds.
"""

from fpo_pilot.specs.expression.evaluation import FLOAT_FUNCTIONS, evaluate, robustness
from fpo_pilot.specs.expression.parser import parse
from fpo_pilot.specs.expression.tree import Expression, ExpressionError
from fpo_pilot.specs.expression.unit_check import bind, margin_unit, unit_of

__all__ = [
    "FLOAT_FUNCTIONS",
    "Expression",
    "ExpressionError",
    "bind",
    "evaluate",
    "margin_unit",
    "parse",
    "robustness",
    "unit_of",
]
