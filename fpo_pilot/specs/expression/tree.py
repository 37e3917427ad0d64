"""The tree of an expression: frozen records, and the error that points at a column."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fpo_pilot.errors import SpecError


class ExpressionError(SpecError):
    """An expression cannot be read, or its units do not fit. ``column`` counts from 1 in ``text``."""

    def __init__(self, text: str, column: int, found: object, expected: str, fix: str) -> None:
        super().__init__(f"column {column} of `{text}`", found, expected, fix)
        self.text = text
        self.column = column

    def __reduce__(self) -> tuple[object, ...]:
        """Let the error pass between processes."""
        return (ExpressionError, (self.text, self.column, self.found, self.expected, self.fix))


@dataclass(frozen=True)
class Number:
    """A number; ``unit`` as written, None for none. A bound number has none: it is in the unit of what it meets."""

    value: float
    unit: str | None
    column: int
    bracketed: bool = False


@dataclass(frozen=True)
class Name:
    """The value of a signal."""

    name: str
    column: int


@dataclass(frozen=True)
class Delta:
    """The change of a signal since the step before."""

    name: str
    column: int


@dataclass(frozen=True)
class Negative:
    """Minus its operand."""

    operand: Node
    column: int


@dataclass(frozen=True)
class Arithmetic:
    """``+ - * / **`` of two numbers."""

    sign: str
    left: Node
    right: Node
    column: int


@dataclass(frozen=True)
class Call:
    """A function of numbers."""

    function: str
    arguments: tuple[Node, ...]
    column: int


@dataclass(frozen=True)
class Comparison:
    """``< <= > >=`` of two numbers."""

    sign: str
    left: Node
    right: Node
    column: int


@dataclass(frozen=True)
class Both:
    """``and`` (``all_of``) or ``or`` of two conditions."""

    all_of: bool
    left: Node
    right: Node
    column: int


@dataclass(frozen=True)
class Not:
    """The opposite of a condition."""

    operand: Node
    column: int


Node = Number | Name | Delta | Negative | Arithmetic | Call | Comparison | Both | Not


def is_condition(node: Node) -> bool:
    """Tell whether a node is true or false, rather than a number."""
    return isinstance(node, (Comparison, Both, Not))


def walk(node: Node) -> Iterator[Node]:
    """Yield a node and all below it, from left to right."""
    yield node
    if isinstance(node, (Arithmetic, Comparison, Both)):
        yield from walk(node.left)
        yield from walk(node.right)
    elif isinstance(node, (Negative, Not)):
        yield from walk(node.operand)
    elif isinstance(node, Call):
        for argument in node.arguments:
            yield from walk(argument)


@dataclass(frozen=True)
class Expression:
    """A parsed expression. ``bound`` once its numbers are in the units of the signals they meet."""

    text: str
    root: Node
    bound: bool = False

    @property
    def ordered_names(self) -> tuple[str, ...]:
        """Signals in the order in which they are first named."""
        return tuple(dict.fromkeys(node.name for node in walk(self.root) if isinstance(node, (Name, Delta))))

    @property
    def names(self) -> frozenset[str]:
        """Signals that the expression depends on."""
        return frozenset(self.ordered_names)

    @property
    def uses_delta(self) -> bool:
        """Whether values of the step before are needed."""
        return any(isinstance(node, Delta) for node in walk(self.root))

    @property
    def is_condition(self) -> bool:
        """Whether the expression is true or false, rather than a number."""
        return is_condition(self.root)
