"""Reads one section of a recipe in the guide's keys."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from highnoon.config import ConfigError, resolve_keys, shown
from highnoon.training.recipes.hatching.guide_keys import GuideKey


def read_section(
    recipe: Mapping[str, Any], section: str, keys: Mapping[str, GuideKey], others: Collection[str] = ()
) -> dict[str, Any]:
    """Returns the values of a section under the names that a recipe has for them.

    Args:
        recipe: In the guide's keys.
        section: Name of the section; one that is not there, or is empty, has no values.
        keys: The guide's keys of this section.
        others: Further keys, which are returned as they are.

    Raises:
        ConfigError: an unknown key, two keys for one value, or a value out of its range. The error names the
            key as the user wrote it.
    """
    values = {} if recipe.get(section) is None else recipe[section]
    if not isinstance(values, Mapping):
        raise ConfigError(f"`{section}` must be a mapping; received {shown(values)}")
    given = resolve_keys(values, {*keys, *others}, f"`{section}`")
    found: dict[str, Any] = {}
    spelled: dict[str, str] = {}
    for key, value in given.items():
        name = keys[key].name if key in keys else key
        if name in found:
            raise ConfigError(
                f"`{section}` got `{spelled[name]}` and `{key}`, which name the same value; give one of them"
            )
        found[name] = keys[key].check(f"{section}.{key}", value) if key in keys else value
        spelled[name] = key
    return found
