"""Dataclass fields that declare the range of their values."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from highnoon.config.config_error import ConfigError
from highnoon.config.defaults import Default
from highnoon.config.ranges import (
    MAX_SIZE,
    require_choice,
    require_count,
    require_flag,
    require_number,
    require_text,
)
from highnoon.files.shown import shown


def setting(default: Any, *, choices: Sequence[str] | None = None, **limits: float) -> Any:
    """Returns a dataclass field that `check_fields` checks.

    Args:
        default: Default of the field.
        choices: The strings that the field may be.
        **limits: Arguments of `require_count` (for an int) or of `require_number` (for a float), such as
            `least=1`.
    """
    return dataclasses.field(default=default, metadata={"choices": choices, "limits": limits})


def size(default: int | None) -> Any:
    """Returns a dataclass field for a size of a tensor: at least 1, at most 32 bits."""
    return setting(default, least=1, most=MAX_SIZE)


def check_fields(config: Any) -> None:
    """Checks the type and the range of every field and stores numbers as Python's own.

    The annotation of a field says its type, `setting` its range. A value of None is left alone where the
    annotation allows it, and so is a default that was not passed.

    Args:
        config: A frozen dataclass whose annotations are strings.

    Raises:
        ConfigError: a value of another type, or out of its range.
    """
    for field in dataclasses.fields(config):
        value, kind = getattr(config, field.name), str(field.type)
        if value is None and "None" in kind:
            continue
        if isinstance(field.default, Default) and isinstance(value, Default):
            continue
        try:
            value = _checked(field, value, kind)
        except ConfigError as error:
            nullable = " or None; received" if "None" in kind else "; received"
            raise ConfigError(str(error).replace("; received", nullable, 1)) from None
        object.__setattr__(config, field.name, value)


def _checked(field: dataclasses.Field[Any], value: Any, kind: str) -> Any:
    name, limits = field.name, field.metadata.get("limits", {})
    if kind.startswith("bool"):
        return require_flag(name, value)
    if kind.startswith("float"):
        return require_number(name, value, **limits)
    if kind.startswith("int"):
        # YAML and Hugging Face write some counts as 1e3 or 8.0.
        is_whole = isinstance(value, float) and value.is_integer()
        return require_count(name, int(value) if is_whole else value, **limits)
    if kind.startswith("str"):
        choices = field.metadata.get("choices")
        return require_text(name, value) if choices is None else require_choice(name, value, choices)
    if kind.startswith("dict") and not isinstance(value, Mapping):
        raise ConfigError(f"`{name}` must be a mapping; received {shown(value)}")
    if kind.startswith("tuple"):
        return _checked_tuple(name, value, field.metadata.get("choices"))
    return value


def _checked_tuple(name: str, value: Any, choices: Sequence[str] | None) -> tuple[Any, ...]:
    """Returns a list of choices, or one alone, as a tuple."""
    values = [value] if isinstance(value, str) else value
    expected = ", ".join(choices or ())
    if not isinstance(values, (list, tuple)):
        raise ConfigError(f"`{name}` must be a list of {expected}; received {shown(values)}")
    for one in values:
        if choices is not None and one not in choices:
            raise ConfigError(f"`{name}` is made of {expected}; received {shown(one)}")
    return tuple(values)
