"""Arithmetic of generated texts: numbers, `+ - * /` and parentheses, exact and bounded. Nothing is run."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

MAX_CHARACTERS = 200
"""Longest expression."""

MAX_DIGITS = 40
"""Most digits of a number, and the order of magnitude at which a result is refused."""

_MAX_OPERATIONS = 64
_BOUND = 10**MAX_DIGITS
_NUMBER = re.compile(r"(?:\d+(?:,\d{3})*(?:\.\d*)?|\.\d+)%?")
_OPERATIONS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


class ArithmeticRefusal(ValueError):
    """An expression that is not arithmetic, or is too large; the message is one line."""


def evaluate_expression(text: str) -> Fraction:
    """Returns the exact value of an expression.

    Args:
        text: Numbers with `+`, `-`, `*`, `/` and parentheses. `x` between two numbers means `*`; thousands
            commas and `$` are ignored, and `20%` is 20/100.

    Raises:
        ArithmeticRefusal: Anything else, a division by zero, more than `MAX_CHARACTERS` characters, or a
            number of more than `MAX_DIGITS` digits.

    Example:

    ```python
    from fractions import Fraction
    from highnoon.evaluation.tasks.arithmetic import evaluate_expression

    assert evaluate_expression("(2 + .5) * 1,000 / 3") == Fraction(2500, 3)
    ```
    """
    if len(text) > MAX_CHARACTERS:
        raise ArithmeticRefusal(f"expected at most {MAX_CHARACTERS} characters; received {len(text):,}")
    tokens = _tokens(text)
    value, rest = _sum(tokens, 0, 0)
    if rest != len(tokens):
        raise ArithmeticRefusal(f"expected an operator; received {tokens[rest]!r}")
    return value


def parse_number(text: str) -> Fraction:
    """Returns a number as people write it: `-1,250.5`, `$40`, `7.`, `1/2`.

    Raises:
        ArithmeticRefusal: The text is no such number.
    """
    cleaned = text.strip().replace("$", "").removesuffix(".")
    if not re.fullmatch(r"[-+]?\s*[\d,]*\.?\d+(?:\s*/\s*\d+)?%?", cleaned):
        raise ArithmeticRefusal("expected a number")
    return evaluate_expression(cleaned)


def evaluate_node(node: ast.expr) -> int | float:
    """Returns the value of a Python expression of numbers, `+ - * /` and signs.

    Raises:
        ArithmeticRefusal: Another operation, or a result that is too large.
    """
    value: int | float
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)) and node.value is not True:
        value = node.value
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        inner = evaluate_node(node.operand)
        value = -inner if isinstance(node.op, ast.USub) else inner
    elif isinstance(node, ast.BinOp) and type(node.op) in _OPERATIONS:
        left, right = evaluate_node(node.left), evaluate_node(node.right)
        try:
            value = _OPERATIONS[type(node.op)](left, right)
        except (ZeroDivisionError, OverflowError):
            raise ArithmeticRefusal("a result that is not a number") from None
    else:
        raise ArithmeticRefusal("expected numbers and + - * /")
    if abs(value) > _BOUND:
        raise ArithmeticRefusal(f"a number of more than {MAX_DIGITS} digits")
    return value


def _tokens(text: str) -> list[str]:
    tokens, position = [], 0
    cleaned = text.replace("$", "").replace("\u00d7", "*").replace("\u00f7", "/")
    while position < len(cleaned):
        character = cleaned[position]
        if character.isspace():
            position += 1
        elif character in "+-*/()xX":
            tokens.append("*" if character in "xX" else character)
            position += 1
        elif match := _NUMBER.match(cleaned, position):
            if len(match.group()) > MAX_DIGITS:
                raise ArithmeticRefusal(f"a number of more than {MAX_DIGITS} digits")
            tokens.append(match.group())
            position = match.end()
        else:
            raise ArithmeticRefusal(f"expected numbers and + - * /; received {character!r}")
    return tokens


def _sum(tokens: list[str], at: int, depth: int) -> tuple[Fraction, int]:
    value, at = _product(tokens, at, depth)
    while at < len(tokens) and tokens[at] in "+-":
        term, after = _product(tokens, at + 1, depth)
        value = _bounded(value + term if tokens[at] == "+" else value - term)
        at = after
    return value, at


def _product(tokens: list[str], at: int, depth: int) -> tuple[Fraction, int]:
    value, at = _factor(tokens, at, depth)
    while at < len(tokens) and tokens[at] in "*/":
        factor, after = _factor(tokens, at + 1, depth)
        if tokens[at] == "/" and not factor:
            raise ArithmeticRefusal("a division by zero")
        value = _bounded(value * factor if tokens[at] == "*" else value / factor)
        at = after
    return value, at


def _factor(tokens: list[str], at: int, depth: int) -> tuple[Fraction, int]:
    if at >= len(tokens) or depth > _MAX_OPERATIONS:
        raise ArithmeticRefusal("expected a number; the expression ends, or nests too deeply")
    token = tokens[at]
    if token in "+-":
        value, after = _factor(tokens, at + 1, depth + 1)
        return (-value if token == "-" else value), after
    if token == "(":
        value, after = _sum(tokens, at + 1, depth + 1)
        if after >= len(tokens) or tokens[after] != ")":
            raise ArithmeticRefusal("expected a closing parenthesis")
        return value, after + 1
    if token[0] in "*/)":
        raise ArithmeticRefusal(f"expected a number; received {token!r}")
    number = Fraction(token.removesuffix("%").removesuffix(".").replace(",", ""))
    return (number / 100 if token.endswith("%") else number), at + 1


def _bounded(value: Fraction) -> Fraction:
    if abs(value.numerator) > _BOUND**4 or value.denominator > _BOUND**4 or abs(value) > _BOUND:
        raise ArithmeticRefusal(f"a number of more than {MAX_DIGITS} digits")
    return value
