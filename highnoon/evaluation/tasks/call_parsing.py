"""Function calls of a generated text: a JSON list, or calls in Python's syntax.

The text comes from a model, so its length and depth are limited before it is parsed, and nothing is run.
"""

from __future__ import annotations

import ast
import dataclasses
import json
import warnings
from collections.abc import Mapping
from typing import Any

from highnoon.evaluation.tasks.arithmetic import ArithmeticRefusal, evaluate_node
from highnoon.files.foreign import ForeignDataError, require_depth

MAX_CHARACTERS = 65_536
"""Longer texts are not parsed."""

MAX_DEPTH = 32
"""Deepest nesting of brackets."""


@dataclasses.dataclass(frozen=True)
class Call:
    """A call of a function.

    Args:
        name: Of the function, such as `math.hypot`.
        arguments: Values by the names of the arguments. Tuples come from Python's syntax alone.
    """

    name: str
    arguments: dict[str, Any]


class CallSyntaxError(ValueError):
    """A text that is not a list of calls; the message is one line."""


def parse_calls(text: str) -> list[Call]:
    """Returns the calls of a text in either syntax.

    Args:
        text: The entire answer of a model.

    Raises:
        CallSyntaxError: The text is a list of calls in neither syntax.

    Example:

    ```python
    from highnoon.evaluation.tasks.call_parsing import parse_calls

    assert parse_calls("[area(base=10)]") == parse_calls('[{"name": "area", "arguments": {"base": 10}}]')
    ```
    """
    try:
        return parse_json_calls(text)
    except CallSyntaxError:
        return parse_python_calls(text)


def parse_json(text: str) -> Any:
    """Returns the value of a JSON text; NaN and infinities are not JSON.

    Raises:
        CallSyntaxError: The text is not JSON, or is too long or nested too deeply.
    """
    _require_short(text)
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
        require_depth(value, "the answer", MAX_DEPTH)
    except (ForeignDataError, RecursionError):
        raise CallSyntaxError(f"nests more than {MAX_DEPTH} levels") from None
    except ValueError as error:
        raise CallSyntaxError(f"not JSON: {error}") from None
    return value


def parse_json_calls(text: str) -> list[Call]:
    """Returns the calls of a JSON list of objects with `name` and `arguments`, and no other key.

    Raises:
        CallSyntaxError: The entire text is not such a list.
    """
    value = parse_json(text)
    if not isinstance(value, list):
        raise CallSyntaxError(f"expected a list of calls; received {type(value).__name__}")
    return [_json_call(item) for item in value]


def parse_python_calls(text: str) -> list[Call]:
    """Returns the calls of a Python expression: `f(a=1)`, or a list of such calls.

    Arguments must have names. Their values are constants, lists, tuples, dicts and arithmetic; a variable or
    an inner call stands for its source text.

    Raises:
        CallSyntaxError: The entire text is not such an expression.
    """
    _require_short(text)
    _require_shallow(text)
    try:
        with warnings.catch_warnings():  # such as those of `"\\d"`, which Python prints
            warnings.simplefilter("ignore")
            body = ast.parse(text.strip(), mode="eval").body
        items = body.elts if isinstance(body, (ast.List, ast.Tuple)) else [body]
        return [_python_call(item) for item in items]
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        if isinstance(error, CallSyntaxError):
            raise
        raise CallSyntaxError(f"not calls in Python's syntax: {type(error).__name__}") from None


def _json_call(item: Any) -> Call:
    if not isinstance(item, Mapping) or set(item) != {"name", "arguments"}:
        raise CallSyntaxError("expected objects with `name` and `arguments`")
    name, arguments = item["name"], item["arguments"]
    if not isinstance(name, str) or not isinstance(arguments, Mapping):
        raise CallSyntaxError("expected a text as `name` and an object as `arguments`")
    return Call(name, dict(arguments))


def _python_call(node: ast.expr) -> Call:
    if not isinstance(node, ast.Call):
        raise CallSyntaxError("expected calls")
    if node.args or any(keyword.arg is None for keyword in node.keywords):
        raise CallSyntaxError("expected arguments with names")
    values = {str(keyword.arg): _python_value(keyword.value) for keyword in node.keywords}
    return Call(_dotted_name(node.func), values)


def _dotted_name(node: ast.expr) -> str:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        raise CallSyntaxError("expected a function's name")
    return ".".join([node.id, *reversed(parts)])


def _python_value(node: ast.expr) -> Any:
    if isinstance(node, ast.Constant) and isinstance(node.value, (str, int, float, bool, type(None))):
        return node.value
    if isinstance(node, (ast.UnaryOp, ast.BinOp)):
        try:
            return evaluate_node(node)
        except ArithmeticRefusal as error:
            raise CallSyntaxError(str(error)) from None
    if isinstance(node, ast.List):
        return [_python_value(item) for item in node.elts]
    if isinstance(node, ast.Tuple):
        return tuple(_python_value(item) for item in node.elts)
    if isinstance(node, ast.Dict):
        return _python_dict(node)
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Call) and node.keywords:
        call = _python_call(node)
        return {call.name: call.arguments}
    if isinstance(node, (ast.Call, ast.Subscript)):
        return ast.unparse(node)
    raise CallSyntaxError(f"a value that is {type(node).__name__}")


def _python_dict(node: ast.Dict) -> dict[Any, Any]:
    keys = [key.value if isinstance(key, ast.Constant) else None for key in node.keys]
    if not all(isinstance(key, str) for key in keys):
        raise CallSyntaxError("expected texts as keys")
    return {key: _python_value(value) for key, value in zip(keys, node.values, strict=True)}


def _require_short(text: str) -> None:
    if len(text) > MAX_CHARACTERS:
        raise CallSyntaxError(f"more than {MAX_CHARACTERS:,} characters")


def _require_shallow(text: str) -> None:
    """Refuses deep brackets, also inside quotes: CPython's parser takes exponential time on some."""
    depth = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        if depth > MAX_DEPTH:
            raise CallSyntaxError(f"nests more than {MAX_DEPTH} levels")


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
