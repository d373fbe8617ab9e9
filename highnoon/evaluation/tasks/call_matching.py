"""Whether function calls are accepted answers, by the rules of the Berkeley Function Calling Leaderboard.

The rules are those of the syntax-tree checker of BFCL v4 for Python functions
(https://gorilla.cs.berkeley.edu/leaderboard.html), written here from their description and tested against the
verdicts of the checker itself (`scripts/bfcl_verdicts.py`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from highnoon.evaluation.tasks.call_parsing import Call

_TYPES: dict[Any, type] = {
    "string": str,
    "integer": int,
    "float": float,
    "number": float,
    "boolean": bool,
    "array": list,
    "tuple": list,
    "dict": dict,
    "object": dict,
    "any": str,
}
_IGNORED = re.compile(r"[ ,./\-_*^]")


def find_mismatch(
    tools: Sequence[Mapping[str, Any]], expected: Sequence[Mapping[str, Any]], calls: Sequence[Call]
) -> str | None:
    """Returns why calls are not the expected ones, or None where they are.

    - The number of calls is that of `expected`. Each expected call takes the first call, in order, that
      matches and that no other took, so the order of parallel calls is free.
    - The name is equal. All required arguments are given, and no argument that the function does not have.
    - A value has the type of its parameter: an integer is accepted for a float, never the reverse. It equals
      one of the accepted values. An argument with `""` among them may be left out.
    - Texts are compared in lower case without spaces and the characters `,./-_*^`; `'` and `"` are equal.
    - Objects are compared key by key, with accepted values for each key; lists of objects in order.

    Args:
        tools: The functions of the prompt: `name` and `parameters`, a JSON schema or one with the types of
            Python that BFCL uses.
        expected: For each call a mapping of the function's name to the accepted values of each argument.
        calls: Of the answer.

    Example:

    ```python
    from highnoon.evaluation.tasks.call_matching import find_mismatch
    from highnoon.evaluation.tasks.call_parsing import parse_calls

    schema = {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]}
    root = {"name": "root", "parameters": schema}
    assert find_mismatch([root], [{"root": {"x": [2.0]}}], parse_calls("[root(x=2)]")) is None
    assert "accepted" in find_mismatch([root], [{"root": {"x": [2.0]}}], parse_calls("[root(x=3)]"))
    ```
    """
    if len(calls) != len(expected):
        return f"expected {len(expected)} calls; received {len(calls)}"
    left = list(calls)
    for accepted in expected:
        reasons = []
        for index, call in enumerate(left):
            reason = find_call_mismatch(tools, accepted, call)
            if reason is None:
                del left[index]
                break
            reasons.append(reason)
        else:
            return reasons[0]
    return None


def find_call_mismatch(
    tools: Sequence[Mapping[str, Any]], accepted: Mapping[str, Any], call: Call
) -> str | None:
    """Returns why a call is not the expected one, or None where it is; see `find_mismatch`."""
    ((name, answers),) = accepted.items()
    function = find_function(tools, name)
    if function is None:
        return f"no function {name!r} in the prompt"
    if call.name != name:
        return f"expected a call of {name!r}"
    schema = function.get("parameters") or {}
    properties = schema.get("properties") or {}
    for parameter in schema.get("required") or ():
        if parameter not in call.arguments:
            return f"the required argument {parameter!r} is missing"
    for parameter, value in call.arguments.items():
        if parameter not in properties or parameter not in answers:
            return f"no argument {parameter!r} is expected"
        if not is_accepted(properties[parameter], value, answers[parameter]):
            return f"the value of {parameter!r} is none of the accepted ones"
    for parameter, values in answers.items():
        if parameter not in call.arguments and not _may_be_absent(values):
            return f"the argument {parameter!r} is missing"
    return None


def find_function(tools: Sequence[Mapping[str, Any]], name: str) -> Mapping[str, Any] | None:
    """Returns the function of a name, also from `{"type": "function", "function": ...}`."""
    for tool in tools:
        function = tool.get("function", tool)
        if isinstance(function, Mapping) and function.get("name") == name:
            return function
    return None


def is_accepted(schema: Mapping[str, Any], value: Any, accepted: Sequence[Any]) -> bool:
    """Returns whether a value has its parameter's type and is one of the accepted values.

    A value of the accepted values' own type is compared with `==` where that is not the parameter's type: so
    BFCL accepts the name of a variable.
    """
    kind, answer_type = schema.get("type"), _type_of(accepted)
    # A schema without one type takes that of the accepted values.
    outer: Any = _TYPES.get(kind) if isinstance(kind, str) else None
    outer = outer or answer_type or str
    inner = _item_type(schema) if outer is list else None
    if kind == "tuple" and type(value) is tuple:
        value = list(value)
    if outer is float and type(value) is int:
        if abs(value) >= 2**1023:
            return False
        value = float(value)
    if type(value) is outer:
        if inner is not None and not _have_type(value, inner, accepted):
            return False
    elif answer_type is None or type(value) is not answer_type:
        return False
    if type(value) is not outer or answer_type not in (None, outer):
        return value in accepted
    if outer is dict:
        return _is_accepted_object(value, accepted)
    if outer is list and inner is dict:
        return _are_accepted_objects(value, accepted)
    if outer is str:
        return _plain(value) in [_plain(answer) for answer in accepted if isinstance(answer, str)]
    if outer is list:
        return _plain_all(value) in [_plain_all(answer) for answer in accepted]
    return value in accepted


def _type_of(accepted: Sequence[Any]) -> type | None:
    """The type of accepted values: that of the first one which is not the mark of an optional argument."""
    return next((type(answer) for answer in accepted if not _is_mark(answer)), None)


def _item_type(schema: Mapping[str, Any]) -> type | None:
    items = schema.get("items")
    kind = items.get("type") if isinstance(items, Mapping) else None
    return _TYPES.get(kind) if isinstance(kind, str) else None


def _have_type(items: Sequence[Any], kind: type, accepted: Sequence[Any]) -> bool:
    """Whether all items of a list have a type, or that of the items of one accepted list."""
    for answer in accepted:
        if not isinstance(answer, list):
            return True
        other = _type_of(answer)
        if all(type(item) in (kind, other) for item in items):
            return True
    return False


def _is_accepted_object(value: Mapping[str, Any], accepted: Sequence[Any]) -> bool:
    return any(
        all(key in answer and _is_among(item, answer[key]) for key, item in value.items())
        and all(key in value or _may_be_absent(values) for key, values in answer.items())
        for answer in accepted
        if isinstance(answer, Mapping)
    )


def _are_accepted_objects(items: Sequence[Any], accepted: Sequence[Any]) -> bool:
    return any(
        len(items) == len(answer)
        and all(
            isinstance(item, Mapping) and _is_accepted_object(item, [wanted])
            for item, wanted in zip(items, answer, strict=True)
        )
        for answer in accepted
        if isinstance(answer, (list, str))
    )


def _is_among(value: Any, accepted: Any) -> bool:
    return isinstance(accepted, list) and _plain(value) in [_plain(answer) for answer in accepted]


def _may_be_absent(accepted: Any) -> bool:
    return any(_is_mark(answer) for answer in accepted)


def _is_mark(answer: Any) -> bool:
    return isinstance(answer, str) and not answer


def _plain(value: Any) -> Any:
    """A text in the form in which texts are compared; other values as they are."""
    return _IGNORED.sub("", value).lower().replace("'", '"') if isinstance(value, str) else value


def _plain_all(items: Any) -> Any:
    return [_plain(item) for item in items] if isinstance(items, (list, str)) else items
