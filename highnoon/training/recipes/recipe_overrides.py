"""Overrides of a recipe, whatever name a field has in the recipe and in the override."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from highnoon.config import ConfigError, resolve_keys
from highnoon.training.recipes.hatching.guide_overrides import guide_overrides
from highnoon.training.recipes.hatching.is_guide import is_guide
from highnoon.training.recipes.hatching.translate_recipe import translate_guide
from highnoon.training.recipes.overrides import apply_overrides, copied, parse_overrides
from highnoon.training.recipes.recipe_sections import SECTIONS, refuse_keys_of_sections, section_keys


def with_overrides(
    values: Mapping[str, Any], overrides: Mapping[str, Any] | Sequence[str], known: set[str]
) -> Mapping[str, Any]:
    """Returns the values of a recipe after overrides, by whatever name a field was given in either.

    Args:
        values: Of a recipe.
        overrides: Values by dotted key, or `key=value` words.
        known: The keys of a recipe.

    Raises:
        ConfigError: an override that leads nowhere, or a field that is given under two names.
    """
    if not isinstance(overrides, Mapping):
        overrides = parse_overrides(overrides)
    if not overrides:
        return values
    early, overrides = guide_overrides(values, overrides)
    if early or is_guide(values):
        values = translate_guide(apply_overrides(values, early), known)
    if not overrides:
        return values
    tops = {name.split(".")[0]: None for name in overrides}
    refuse_keys_of_sections(tops, known, "the recipe")
    resolve_keys(tops, known, "the recipe")
    values = copied(values)
    canonical: dict[str, Any] = {}
    for section in SECTIONS:
        if isinstance(values.get(section), Mapping) and not _is_free(section, values, overrides):
            values[section] = resolve_keys(values[section], section_keys(section), f"`{section}`")
    for name, value in overrides.items():
        section, _, rest = name.partition(".")
        if section in SECTIONS and rest and not _is_free(section, values, overrides):
            first, *others = rest.split(".")
            (first,) = resolve_keys({first: value}, section_keys(section), f"`{section}`")
            name = ".".join([section, first, *others])
        if name in canonical:
            spelled = [other for other in overrides if other.startswith(f"{section}.")]
            names = " and ".join(f"`{other.partition('.')[2]}`" for other in spelled)
            raise ConfigError(f"`{section}` got {names}, which name the same field; give one of them")
        canonical[name] = value
    return apply_overrides(values, canonical)


def _is_free(section: str, values: Mapping[str, Any], overrides: Mapping[str, Any]) -> bool:
    """Whether a section has the arguments of a family's class, whose names are not known here."""
    model = values.get("model")
    return section == "model" and (
        "model.family" in overrides or (isinstance(model, Mapping) and "family" in model)
    )
