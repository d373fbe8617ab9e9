"""Overrides of a recipe: `model.dropout=0.1`, `stages.0.steps=2`, `training.lr=3e-4`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from highnoon.config import ConfigError, shown
from highnoon.files.foreign import ForeignDataError, parse_yaml
from highnoon.files.nearest_name import suggestion
from highnoon.files.yaml_loader import LocatedMapping

_LONGEST_LIST = 10_000


def parse_overrides(words: Sequence[str]) -> dict[str, Any]:
    """Returns the values of `key=value` words, each value read as YAML.

    Raises:
        ConfigError: a word without `=`, a key given twice, or a value that is not YAML.

    Example:

    ```python
    from highnoon.training.recipes.overrides import parse_overrides

    assert parse_overrides(["model.dropout=0.1", "output=run"]) == {"model.dropout": 0.1, "output": "run"}
    ```
    """
    values: dict[str, Any] = {}
    for word in words:
        key, has_value, text = word.partition("=")
        if not has_value or not key:
            raise ConfigError(
                f"an override must be KEY=VALUE, such as model.dropout=0.1; received {shown(word)}"
            )
        if key in values:
            raise ConfigError(f"`{key}` is given twice; give it once")
        try:
            values[key] = parse_yaml(text, key, expected=object)
        except ForeignDataError as error:
            raise ConfigError(str(error)) from None
    return values


def apply_overrides(values: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a nested mapping with values replaced; the mapping itself stays as it is.

    A part of a key is a key of a mapping, or an index or the `name` of an entry of a list. Mappings that are
    missing are made.

    Raises:
        ConfigError: a part of a key leads nowhere.
    """
    result = copied(values)
    for key, value in overrides.items():
        _assign(result, key.split("."), value, key)
    return result


def _assign(holder: Any, parts: Sequence[str], value: Any, key: str) -> None:
    """Sets a value in nested copies, so that no mapping or list of the caller is changed."""
    here: Any = _index(holder, parts[0], key) if isinstance(holder, list) else parts[0]
    if len(parts) == 1:
        holder[here] = value
        return
    inner = holder[here] if isinstance(holder, list) else holder.get(here)
    if inner is None:
        inner = {}
    if isinstance(inner, Mapping):
        inner = copied(inner)
    elif isinstance(inner, (list, tuple)):
        inner = list(inner)
    else:
        raise ConfigError(f"`{key}` cannot be set: `{parts[0]}` is {shown(inner)}, not a mapping or a list")
    holder[here] = inner
    _assign(inner, parts[1:], value, key)


def copied(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """A copy that keeps the lines of the keys."""
    if not isinstance(mapping, LocatedMapping):
        return dict(mapping)
    copy = LocatedMapping(mapping)
    copy.lines = mapping.lines
    return copy


def _index(entries: list[Any], part: str, key: str) -> int:
    if part.isdecimal() and len(part) < 6 and int(part) < len(entries):
        return int(part)
    names = [str(entry["name"]) for entry in entries if isinstance(entry, Mapping) and "name" in entry]
    if part in names:
        return next(
            index
            for index, entry in enumerate(entries)
            if isinstance(entry, Mapping) and str(entry.get("name")) == part
        )
    hint = suggestion(
        part, [*names, *map(str, range(min(len(entries), _LONGEST_LIST)))], otherwise="there are"
    )
    raise ConfigError(f"`{key}` cannot be set: no entry is called {shown(part)}; {hint}")
