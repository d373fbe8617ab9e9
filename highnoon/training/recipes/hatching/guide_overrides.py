"""Overrides of a recipe in the keys of the training guide."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from highnoon.config import ALIASES
from highnoon.training.recipes.hatching.flat_keys import FLAT, is_flat
from highnoon.training.recipes.hatching.guide_keys import OWN_SECTIONS, SECTIONS
from highnoon.training.recipes.hatching.is_guide import is_guide

_EARLY = frozenset({*OWN_SECTIONS, "model", "training", "curriculum", "tasks", "preset", "data_dir"})


def guide_overrides(
    recipe: Mapping[str, Any], overrides: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the overrides that apply to a recipe before it is translated, and those that apply after.

    Before are those of the guide's sections, where the recipe or one of the overrides has the guide's keys. A
    field that the recipe has under another name is set under that name.

    Args:
        recipe: As a file holds it.
        overrides: Values by dotted key.
    """
    tops = {name.partition(".")[0]: None for name in overrides}
    if not is_guide(recipe) and not is_guide(tops):
        return {}, dict(overrides)
    is_early = _EARLY | set(FLAT) if is_flat(recipe) else _EARLY
    early = {name: value for name, value in overrides.items() if name.partition(".")[0] in is_early}
    late = {name: value for name, value in overrides.items() if name not in early}
    return {_as_in(recipe, name): value for name, value in early.items()}, late


def _as_in(recipe: Mapping[str, Any], name: str) -> str:
    """Returns a dotted key with the field spelled as the recipe spells it."""
    section, _, rest = name.partition(".")
    field, *others = rest.split(".")
    values = recipe.get(section)
    if section not in SECTIONS or not isinstance(values, Mapping) or not field or field in values:
        return name
    same = [key for key in values if isinstance(key, str) and _name(section, key) == _name(section, field)]
    return ".".join([section, same[0], *others]) if same else name


def _name(section: str, key: str) -> str:
    """Returns what a recipe calls a field of a section."""
    keys = SECTIONS[section]
    return keys[key].name if key in keys else ALIASES.get(key, key)
