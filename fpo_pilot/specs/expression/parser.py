"""Text to tree, by recursive descent; every error has its column.

Precedence, loosest first: ``or``, ``and``, ``not``, comparisons (``a < b < c`` means ``a < b and b < c``), ``+ -``, ``*
/``, unary minus, ``**`` (which groups to the right, and binds tighter than a minus before it, as in Python).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import NoReturn

from fpo_pilot.errors import Words
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
    is_condition,
)

FUNCTIONS = {"abs": 1, "min": None, "max": None, "sqrt": 1, "exp": 1, "log": 1}
"""Name to number of arguments; None for two or more."""
_LONGEST = 500
_DEEPEST = 30
_KEYWORDS = {"and", "or", "not"}
RESERVED = frozenset({*FUNCTIONS, *_KEYWORDS, "delta"})
"""Words that cannot be names of signals."""
_WORD = r"[^\W\d]\w*"
_TOKEN = re.compile(
    rf"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)|(?P<word>{_WORD})|(?P<sign>\*\*|<=|>=|==|!=|[-+*/<>(),]))"
)
_UNIT_WORD = rf"(?:{_WORD}|%|°\w+)"
_POWER = r"(?:(?:\*\*|\^)-?\d+(?:\.\d+)?|[²³])?"
_UNIT = re.compile(
    rf"\s*(?:\[(?P<bracket>[^\]]*)\]|(?P<unit>(?:1/)?{_UNIT_WORD}{_POWER}(?:[*/·]{_UNIT_WORD}{_POWER})*))"
)


@dataclass(frozen=True)
class _Token:
    kind: str  # number, word, sign, end
    text: str
    column: int
    unit: str | None = None
    bracketed: bool = False


def parse(text: str) -> Expression:
    """Parse an expression.

    Raises:
        ExpressionError: it is not one; says at which column.
    """
    if not text.strip() or len(text) > _LONGEST:
        found = "nothing" if not text.strip() else f"{len(text)} characters"
        raise ExpressionError(
            text[:40], 1, Words(found), f"an expression of at most {_LONGEST} characters", "Split it into named terms."
        )
    parser = _Parser(text, _tokens(text))
    root = parser.disjunction()
    parser.require_end()
    return Expression(text, root)


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    position = 0
    while text[position:].strip():
        match = _TOKEN.match(text, position)
        if match is None:
            column = position + len(text[position:]) - len(text[position:].lstrip()) + 1
            fix = (
                "Write powers as **."
                if text[column - 1] == "^"
                else "Use names, numbers, + - * / **, < <= > >=, and, or, not, ( )."
            )
            raise ExpressionError(text, column, text[column - 1], "a name, a number or an operator", fix)
        kind = str(match.lastgroup)
        column = match.start(kind) + 1
        position = match.end()
        unit, bracketed = None, False
        if kind == "number" and (after := _UNIT.match(text, position)) and (after["unit"] or "") not in _KEYWORDS:
            bracketed = after["unit"] is None
            unit = after["bracket" if bracketed else "unit"]
            position = after.end()
        tokens.append(_Token(kind, match[kind], column, unit, bracketed))
    return [*tokens, _Token("end", "", len(text) + 1)]


class _Parser:
    """Holds the tokens and how far they were read."""

    def __init__(self, text: str, tokens: list[_Token]) -> None:
        self.text = text
        self.tokens = tokens
        self.position = 0
        self.depth = 0

    @property
    def token(self) -> _Token:
        return self.tokens[self.position]

    def fail(self, token: _Token, expected: str, fix: str) -> NoReturn:
        found: object = Words("the end") if token.kind == "end" else token.text
        raise ExpressionError(self.text, token.column, found, expected, fix)

    def take(self, *texts: str) -> _Token | None:
        """Read the next token if it is one of these."""
        token = self.token
        if token.kind in {"word", "sign"} and token.text in texts:
            self.position += 1
            return token
        return None

    def require_end(self) -> None:
        token = self.token
        if token.kind == "end":
            return
        if token.text in {"==", "!="}:
            self.fail(
                token, "one of < <= > >=", "Measured values are never exactly equal: write abs(a - b) < tolerance."
            )
        if token.text == ")":
            self.fail(token, "an operator or the end", "Delete it, or open a bracket before.")
        self.fail(
            token,
            "an operator or the end",
            "Put an operator between two values (there is no multiplication without *).",
        )

    def disjunction(self) -> Node:
        node = self.conjunction()
        while token := self.take("or"):
            node = Both(False, self.condition(node, token), self.condition(self.conjunction(), token), token.column)
        return node

    def conjunction(self) -> Node:
        node = self.negation()
        while token := self.take("and"):
            node = Both(True, self.condition(node, token), self.condition(self.negation(), token), token.column)
        return node

    def negation(self) -> Node:
        if token := self.take("not"):
            self.deeper(token)
            node = Not(self.condition(self.negation(), token), token.column)
            self.depth -= 1
            return node
        return self.comparison()

    def comparison(self) -> Node:
        left = self.sum()
        result: Node | None = None
        while token := self.take("<", "<=", ">", ">="):
            right = self.number(self.sum(), token)
            link = Comparison(token.text, self.number(left, token), right, token.column)
            result = link if result is None else Both(True, result, link, token.column)
            left = right
        return left if result is None else result

    def sum(self) -> Node:
        node = self.product()
        while token := self.take("+", "-"):
            node = Arithmetic(token.text, self.number(node, token), self.number(self.product(), token), token.column)
        return node

    def product(self) -> Node:
        node = self.unary()
        while token := self.take("*", "/"):
            node = Arithmetic(token.text, self.number(node, token), self.number(self.unary(), token), token.column)
        return node

    def unary(self) -> Node:
        token = self.take("-", "+")
        if token is None:
            return self.power()
        self.deeper(token)
        operand = self.number(self.unary(), token)
        self.depth -= 1
        if token.text == "+":
            return operand
        if isinstance(operand, Number):
            return Number(-operand.value, operand.unit, token.column, operand.bracketed)
        return Negative(operand, token.column)

    def power(self) -> Node:
        base = self.atom()
        if token := self.take("**"):
            self.deeper(token)
            exponent = self.number(self.unary(), token)
            self.depth -= 1
            return Arithmetic("**", self.number(base, token), exponent, token.column)
        return base

    def atom(self) -> Node:
        token = self.token
        if token.kind == "number":
            self.position += 1
            value = float(token.text)
            if not math.isfinite(value):
                self.fail(token, "a finite number", "Write a smaller number.")
            return Number(value, token.unit, token.column, token.bracketed)
        if token.kind == "word" and token.text not in _KEYWORDS:
            self.position += 1
            return self.call(token) if self.take("(") else self.name(token)
        if self.take("("):
            self.deeper(token)
            node = self.disjunction()
            self.close()
            return node
        return self.fail(token, "a name, a number or (", "Complete the expression.")

    def name(self, token: _Token) -> Node:
        if token.text in FUNCTIONS or token.text == "delta":
            self.fail(token, f"{token.text}(…)", "Put its argument in brackets.")
        return Name(token.text, token.column)

    def call(self, token: _Token) -> Node:
        known = (*FUNCTIONS, "delta")
        if token.text not in known:
            self.fail(token, f"one of the functions {', '.join(known)}", "Use one of them, or an operator.")
        self.deeper(token)
        arguments = [self.disjunction()]
        while self.take(","):
            arguments.append(self.disjunction())
        self.close()
        if token.text == "delta":
            if len(arguments) != 1 or not isinstance(arguments[0], Name):
                self.fail(
                    token, "delta(signal)", "Take the change of one signal: delta(a) - delta(b), not delta(a - b)."
                )
            return Delta(arguments[0].name, token.column)
        wanted = FUNCTIONS[token.text]
        if (wanted is None and len(arguments) < 2) or (wanted is not None and len(arguments) != wanted):
            self.fail(
                token,
                f"{token.text} of {wanted or 'two or more'} values",
                f"There are {len(arguments)}: add or delete some.",
            )
        return Call(token.text, tuple(self.number(argument, token) for argument in arguments), token.column)

    def close(self) -> None:
        if not self.take(")"):
            token = self.token
            if token.text in {"==", "!="}:
                self.require_end()
            self.fail(token, ")", "Close the bracket, or put an operator here.")
        self.depth -= 1

    def deeper(self, token: _Token) -> None:
        self.depth += 1
        if self.depth > _DEEPEST:
            self.fail(token, f"at most {_DEEPEST} levels of brackets", "Split the expression into named terms.")

    def number(self, node: Node, token: _Token) -> Node:
        if is_condition(node):
            self.fail(
                token,
                "numbers on both sides",
                "A condition is true or false and cannot be computed with; use and, or, not.",
            )
        return node

    def condition(self, node: Node, token: _Token) -> Node:
        if not is_condition(node):
            self.fail(
                token, "conditions on both sides", "Compare with something: `a > 1 K and b > 2 K`, not `a and b`."
            )
        return node
