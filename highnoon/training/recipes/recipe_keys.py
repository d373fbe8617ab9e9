"""Fields of a recipe that declare the type of their values."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from highnoon.config import ConfigError, require_flag, require_text, require_texts, shown

Check = Callable[[str, Any], Any]


def key(default: Any, check: Check, *, is_nullable: bool = False) -> Any:
    """Returns a dataclass field whose values `check_keys` checks.

    Args:
        default: Default of the field; a type is called to make it.
        check: Called with the key and a value; raises `ConfigError` where the value cannot be used.
        is_nullable: Whether the value may be None.
    """
    metadata = {"check": check, "is_nullable": is_nullable}
    if isinstance(default, type):
        return dataclasses.field(default_factory=default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def check_keys(recipe: Any) -> None:
    """Checks the type of every field.

    What the package checks where it is used (fields of `model` and `training`, arguments of stages, of
    schedulers and of callbacks) is left to `highnoon.training.recipes.check_recipe`.

    Raises:
        ConfigError: a value of another type, naming the key, what was expected and what was received.
    """
    for field in dataclasses.fields(recipe):
        value = getattr(recipe, field.name)
        if value is None and field.metadata["is_nullable"]:
            continue
        field.metadata["check"](field.name, value)


def mapping(name: str, value: Any) -> None:
    if not isinstance(value, Mapping):
        raise ConfigError(f"`{name}` must be a mapping; received {shown(value)}")


def stages(name: str, value: Any) -> None:
    if not isinstance(value, (list, tuple)):
        raise ConfigError(f"`{name}` must be a list; received {shown(value)}")
    for number, stage in enumerate(value, start=1):
        if not isinstance(stage, Mapping):
            raise ConfigError(
                f"stage {number} must be a mapping with `name` and `datasets`; received {shown(stage)}"
            )


def alerts(name: str, value: Any) -> None:
    mapping(name, value)
    if not isinstance(value.get("rules", []), (list, tuple)):
        raise ConfigError(f"`rules` of `{name}` must be a list; received {shown(value['rules'])}")
    mapping(f"{name}.actions", value.get("actions", {}))


def curriculum(name: str, value: Any) -> None:
    mapping(name, value)
    require_flag("enabled", value.get("enabled", True))
    stages(f"{name}.stages", value.get("stages", []))


def prompts(name: str, value: Any) -> None:
    if isinstance(value, str):
        raise ConfigError(f"`{name}` must be a list of texts; received {shown(value)}")
    for text in require_texts(name, value):
        require_text(name, text)


def checkpoint(name: str, value: Any) -> None:
    """A path, or true for the highest step of the run's own folder."""
    if not isinstance(value, bool):
        require_text(name, value)


def sequence(name: str, value: Any) -> None:
    if not isinstance(value, (list, tuple)):
        raise ConfigError(f"`{name}` must be a list; received {shown(value)}")


def anything(name: str, value: Any) -> None:
    """Leaves the check to where the value is used."""


def one_of(*choices: str) -> Check:
    """Returns a check that a value is one of some strings."""

    def check(name: str, value: Any) -> None:
        if value not in choices:
            raise ConfigError(f"`{name}` must be one of {', '.join(choices)}; received {shown(value)}")

    return check
