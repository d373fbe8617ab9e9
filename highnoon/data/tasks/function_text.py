"""Functions and their calls as compact text: signatures for prompts, JSON lists for answers."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

# The names of types in BFCL, and those of JSON schema. A schema of "any" has no type.
_JSON_TYPES = {"dict": "object", "float": "number", "tuple": "array", "list": "array", "any": None}
# Keeps a prompt with its answer in rows of 1,024 bytes; the names say most.
_MOST_CHARACTERS = 100

_UNBOUNDED = frozenset({"$ref", "$dynamicRef", "$schema", "$id", "pattern", "patternProperties"})
_PLAIN_VALUES = frozenset({"properties", "enum", "const", "default", "examples", "required"})
_SCHEMA_WORDS = ("items", "additionalProperties")


def json_schema(schema: Any) -> Any:
    """Returns a schema with the types of JSON schema instead of those of Python that BFCL uses.

    Example:

    ```python
    from highnoon.data.tasks.function_text import json_schema
    assert json_schema({"type": "dict", "properties": {"r": {"type": "float"}}}) == {
        "type": "object", "properties": {"r": {"type": "number"}}
    }
    ```
    """
    if not isinstance(schema, Mapping):
        return schema
    written = dict(schema)
    kind = written.get("type")
    if isinstance(kind, str) and kind in _JSON_TYPES:
        written["type"] = _JSON_TYPES[kind]
        if written["type"] is None:
            del written["type"]
    if isinstance(written.get("properties"), Mapping):
        written["properties"] = {name: json_schema(part) for name, part in written["properties"].items()}
    for word in _SCHEMA_WORDS:
        if word in written:
            written[word] = json_schema(written[word])
    return written


def bounded_schema(schema: Any) -> Any:
    """Returns a schema without references and patterns.

    A schema may come from data: a reference reads another document, and a pattern takes unbounded time.

    Example:

    ```python
    from highnoon.data.tasks.function_text import bounded_schema
    schema = {"properties": {"pattern": {"type": "string", "pattern": "(a+)+b"}}}
    assert bounded_schema(schema) == {"properties": {"pattern": {"type": "string"}}}
    ```
    """
    if isinstance(schema, list):
        return [bounded_schema(part) for part in schema]
    if not isinstance(schema, Mapping):
        return schema
    kept = {word: value for word, value in schema.items() if word not in _UNBOUNDED}
    named = kept.get("properties")
    values = {word: bounded_schema(value) for word, value in kept.items() if word not in _PLAIN_VALUES}
    if isinstance(named, Mapping):
        values["properties"] = {name: bounded_schema(part) for name, part in named.items()}
    return kept | values


def function_lines(tools: Sequence[Mapping[str, Any]]) -> str:
    """Returns the functions of a prompt, one a line: the signature, a dash and the description.

    A parameter that may be left out ends with `?`. Types are those of JSON schema; `[integer]` is an array,
    `{a: integer}` an object, and `"km"|"mi"` one of two texts. The first sentence of the
    description is written, in at most 100 characters; those of parameters are not.

    Args:
        tools: `name`, `description` and `parameters` of each.

    Example:

    ```python
    from highnoon.data.tasks.function_text import function_lines
    properties = {"to": {"type": "string"}, "unit": {"enum": ["km", "mi"]}}
    parameters = {"type": "object", "properties": properties, "required": ["to"]}
    tool = {"name": "distance", "description": "Measures.", "parameters": parameters}
    assert function_lines([tool]) == 'distance(to: string, unit?: "km"|"mi") - Measures.'
    ```
    """
    return "\n".join(_line(tool) for tool in tools)


def calls_text(calls: Sequence[Mapping[str, Any]]) -> str:
    """Returns calls as one line of JSON, `[{"name": ..., "arguments": {...}}]`."""
    written = [{"name": call["name"], "arguments": dict(call["arguments"])} for call in calls]
    return json.dumps(written, ensure_ascii=False)


def _line(tool: Mapping[str, Any]) -> str:
    parameters = tool.get("parameters") or {}
    line = f"{tool['name']}({_fields(parameters)})"
    description = _first_sentence(str(tool.get("description") or ""))
    return f"{line} - {description}" if description else line


def _first_sentence(description: str) -> str:
    """Returns the first sentence, in at most 100 characters that end with a whole word."""
    words = " ".join(description.split())
    sentence = re.split(r"(?<=[.!?]) ", words, maxsplit=1)[0]
    if len(sentence) <= _MOST_CHARACTERS:
        return sentence
    return f"{sentence[:_MOST_CHARACTERS].rpartition(' ')[0]} ..."


def _fields(schema: Mapping[str, Any]) -> str:
    required = schema.get("required") or ()
    fields = schema.get("properties") or {}
    return ", ".join(
        f"{name}{'' if name in required else '?'}: {_type(part)}" for name, part in fields.items()
    )


def _type(schema: Any) -> str:
    if not isinstance(schema, Mapping):
        return "any"
    if isinstance(schema.get("enum"), list):
        return "|".join(json.dumps(value, ensure_ascii=False) for value in schema["enum"])
    kind = schema.get("type", "any")
    if kind == "array":
        return f"[{_type(schema.get('items'))}]"
    if kind == "object" and schema.get("properties"):
        return f"{{{_fields(schema)}}}"
    return "|".join(map(str, kind)) if isinstance(kind, list) else str(kind)
