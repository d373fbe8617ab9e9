"""JSON schemas of Python functions, from their type hints."""

from __future__ import annotations

import collections.abc
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, Literal

from highnoon.data.document import DataError

_PLAIN = {str: "string", bool: "boolean", int: "integer", float: "number"}
_LISTS = (list, tuple, set, frozenset, collections.abc.Sequence, collections.abc.Iterable)
_MAPPINGS = (dict, collections.abc.Mapping)


def function_schema(function: Callable[..., Any]) -> dict[str, Any]:
    """Returns `name`, `description` and `parameters`, a JSON schema, of a function.

    Hints may be `str`, `int`, `float`, `bool`, `list[...]`, `dict[str, ...]`, `Literal[...]`, `Any`, and
    unions of them with `None`. A parameter with a default may be left out. The description is the first line
    of the docstring.

    Args:
        function: A function whose parameters all have hints.

    Raises:
        DataError: If a parameter has no hint or one of another type, or is `*args` or `**kwargs`.

    Example:

    ```python
    from highnoon.data.tasks.tool_schema import function_schema

    def heat(room: str, degrees: int = 20) -> None:
        "Heats a room."

    schema = function_schema(heat)
    assert schema["description"] == "Heats a room." and schema["parameters"]["required"] == ["room"]
    assert schema["parameters"]["properties"]["degrees"] == {"type": "integer", "default": 20}
    ```
    """
    name = getattr(function, "__name__", type(function).__name__)
    try:
        hints = typing.get_type_hints(function)
    except (NameError, TypeError) as error:
        raise DataError(f"the type hints of `{name}` cannot be read: {error}; fix them") from None
    properties: dict[str, Any] = {}
    required = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise DataError(f"`{parameter}` of `{name}` has no name in a call; name each parameter")
        if parameter.name not in hints:
            raise DataError(
                f"`{parameter.name}` of `{name}` has no type hint; add one, such as `{parameter.name}: str`"
            )
        schema = _schema(hints[parameter.name], f"`{parameter.name}` of `{name}`")
        if parameter.default is parameter.empty:
            required.append(parameter.name)
        elif isinstance(parameter.default, (str, bool, int, float)):
            schema["default"] = parameter.default
        properties[parameter.name] = schema
    description = (inspect.getdoc(function) or "").partition("\n")[0]
    return {
        "name": name,
        "description": description,
        "parameters": {
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": False,
        },
    }


def _schema(hint: Any, owner: str) -> dict[str, Any]:
    if hint is Any:
        return {}
    if hint in _PLAIN:
        return {"type": _PLAIN[hint]}
    origin, inner = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin is Literal:
        return {"enum": list(inner)}
    if origin in (typing.Union, types.UnionType):
        parts = [_schema(part, owner) for part in inner if part is not type(None)]
        return parts[0] if len(parts) == 1 else {"anyOf": parts}
    if origin in _LISTS:
        kinds = [part for part in inner if part is not Ellipsis]
        return {"type": "array", **({"items": _schema(kinds[0], owner)} if len(kinds) == 1 else {})}
    if origin in _MAPPINGS and (not inner or inner[0] is str):
        values: Mapping[str, Any] = {"additionalProperties": _schema(inner[1], owner)} if inner else {}
        return {"type": "object", **values}
    raise DataError(
        f"{owner} has the hint {hint}, which JSON has no type for; use str, int, float, bool, list, dict, "
        f"Literal or a union of them"
    )
