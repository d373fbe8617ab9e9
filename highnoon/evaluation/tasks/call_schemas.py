"""Whether the arguments of calls fit the JSON schemas of the functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from highnoon.evaluation.tasks.call_matching import find_function
from highnoon.evaluation.tasks.call_parsing import Call
from highnoon.evaluation.tasks.missing_extra import import_extra

_JSON_TYPES = {"dict": "object", "float": "number", "tuple": "array"}
_KNOWN_TYPES = frozenset(("object", "array", "string", "number", "integer", "boolean", "null"))
_NUMBER = (int, float)
_KEPT: dict[str, Any] = {
    "required": list,
    "enum": list,
    "const": object,
    "minimum": _NUMBER,
    "maximum": _NUMBER,
    "exclusiveMinimum": _NUMBER,
    "exclusiveMaximum": _NUMBER,
    "minItems": int,
    "maxItems": int,
    "minLength": int,
    "maxLength": int,
}
"""The keywords that are checked, and the types of their values: a schema of data may have others."""

_MAX_LEVELS = 16


def fits_schemas(tools: Sequence[Mapping[str, Any]], calls: Sequence[Call]) -> bool:
    """Returns whether each call names a function of the prompt and its arguments fit the function's schema.

    An argument that the schema does not have does not fit. Types, `required`, `enum` and the bounds are
    checked. References and patterns are not: a schema comes from data, and these read other documents or
    take unbounded time.

    Args:
        tools: The functions of the prompt.
        calls: Of the answer; without any, nothing fits.

    Raises:
        ImportError: `jsonschema` is not installed.

    Example:

    ```python
    from highnoon.evaluation.tasks.call_parsing import Call
    from highnoon.evaluation.tasks.call_schemas import fits_schemas

    schema = {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]}
    assert fits_schemas([{"name": "root", "parameters": schema}], [Call("root", {"x": 2})])
    assert not fits_schemas([{"name": "root", "parameters": schema}], [Call("root", {"x": "2"})])
    ```
    """
    jsonschema = import_extra("jsonschema", "the validity of calls by their schemas")
    for call in calls:
        function = find_function(tools, call.name)
        if function is None:
            return False
        schema = json_schema(function.get("parameters") or {})
        if not jsonschema.Draft202012Validator(schema).is_valid(_lists(call.arguments)):
            return False
    return bool(calls)


def json_schema(schema: Any, level: int = 0) -> dict[str, Any]:
    """Returns a schema with the types of JSON and the keywords that `fits_schemas` checks, and no other.

    A type that neither has, such as `any`, is not checked.

    Args:
        schema: A JSON schema, or one with BFCL's types `dict`, `float` and `tuple`.
        level: How deep it is in the schema of the function.
    """
    if not isinstance(schema, Mapping) or level > _MAX_LEVELS:
        return {}
    found = {
        key: schema[key] for key, kind in _KEPT.items() if key in schema and isinstance(schema[key], kind)
    }
    if "required" in found:
        found["required"] = [name for name in found["required"] if isinstance(name, str)]
    kinds = schema.get("type")
    names = [_JSON_TYPES.get(str(kind), kind) for kind in (kinds if isinstance(kinds, list) else [kinds])]
    if all(isinstance(name, str) and name in _KNOWN_TYPES for name in names) and names:
        found["type"] = names[0] if len(names) == 1 else names
    if isinstance(schema.get("properties"), Mapping):
        found["properties"] = {
            name: json_schema(inner, level + 1) for name, inner in schema["properties"].items()
        }
        found["additionalProperties"] = False
    elif level == 0:
        found["additionalProperties"] = False
    if isinstance(schema.get("items"), Mapping):
        found["items"] = json_schema(schema["items"], level + 1)
    return found


def _lists(value: Any) -> Any:
    """A value whose tuples are lists, as in JSON."""
    if isinstance(value, Mapping):
        return {key: _lists(item) for key, item in value.items()}
    return [_lists(item) for item in value] if isinstance(value, (list, tuple)) else value
