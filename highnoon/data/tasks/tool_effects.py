"""Effects of tools on a simulated state, written as data."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from highnoon.config import shown

EFFECT_OPERATIONS = ("set", "add", "append", "remove")
_DEEPEST = 16


class ToolEffectError(ValueError):
    """An effect that is not in the documented form, or that does not fit the state."""


def apply_effects(
    state: Mapping[str, Any], effects: Sequence[Mapping[str, Any]], arguments: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns the state after the effects of a call; the state that was given does not change.

    An effect is `{"op": ..., "path": [...], "value": ...}`. The path names fields from the top of the state,
    and missing ones are made. Text that begins with `$` in a path or as a value is an argument of the call;
    an effect that names an argument that the call leaves out has no effect. Operations:

    - `set`: the field becomes the value.
    - `add`: the value is added to the number in the field, or to 0.
    - `append`: the value is appended to the list in the field.
    - `remove`: the field is removed; if it is a list and there is a value, the value is removed from it.

    Args:
        state: JSON values.
        effects: The effects, in order.
        arguments: The arguments of the call.

    Raises:
        ToolEffectError: If an effect is not in this form, or the field has the wrong type.

    Example:

    ```python
    from highnoon.data.tasks.tool_effects import apply_effects
    effects = [{"op": "add", "path": ["stock", "$item"], "value": "$count"}]
    state = apply_effects({"stock": {"cups": 2}}, effects, {"item": "cups", "count": 3})
    assert state == {"stock": {"cups": 5}}
    ```
    """
    after = copy.deepcopy(dict(state))
    for effect in effects:
        require_effect(effect)
        if all(name in arguments for name in argument_names(effect)):
            _apply(after, effect, arguments)
    return after


def require_effect(effect: Any) -> None:
    """Checks the form of an effect.

    Raises:
        ToolEffectError: If it is wrong.
    """
    path = effect.get("path") if isinstance(effect, Mapping) else None
    is_path = (
        isinstance(path, (list, tuple))
        and 0 < len(path) <= _DEEPEST
        and all(isinstance(name, str) for name in path)
    )
    is_whole = is_path and (effect.get("op") == "remove" or "value" in effect)
    if not is_whole or effect.get("op") not in EFFECT_OPERATIONS:
        raise ToolEffectError(
            f"an effect must be {{'op': one of {', '.join(EFFECT_OPERATIONS)}, 'path': [names], 'value': "
            f"...}}; received {shown(effect)}"
        )


def argument_names(effect: Mapping[str, Any]) -> list[str]:
    """Returns the arguments of a call that an effect names."""
    return [name[1:] for name in [*effect["path"], effect.get("value")] if _is_argument(name)]


def _is_argument(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("$")


def _apply(state: dict[str, Any], effect: Mapping[str, Any], arguments: Mapping[str, Any]) -> None:
    *above, field = [str(arguments[name[1:]]) if _is_argument(name) else name for name in effect["path"]]
    holder: Any = state
    for name in above:
        holder = holder.setdefault(name, {})
        if not isinstance(holder, dict):
            raise ToolEffectError(f"`{name}` in the state must be an object; received {shown(holder)}")
    value = effect.get("value")
    if isinstance(value, str) and _is_argument(value):
        value = arguments[value[1:]]
    value = copy.deepcopy(value)
    if effect["op"] == "set":
        holder[field] = value
    elif effect["op"] == "add":
        holder[field] = _number(holder.get(field, 0), field) + _number(value, field)
    elif effect["op"] == "append":
        holder.setdefault(field, [])
        _list(holder[field], field).append(value)
    elif "value" in effect and field in holder:
        values = _list(holder[field], field)
        if value in values:
            values.remove(value)
    elif "value" not in effect:
        holder.pop(field, None)


def _number(value: Any, field: str) -> int | float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ToolEffectError(f"`{field}` in the state must be a number; received {shown(value)}")
    return value


def _list(value: Any, field: str) -> list[Any]:
    if not isinstance(value, list):
        raise ToolEffectError(f"`{field}` in the state must be a list; received {shown(value)}")
    return value
