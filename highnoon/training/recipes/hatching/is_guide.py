"""Tells recipes in the keys of the training guide from those in the keys of this package."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from highnoon.training.recipes.hatching.flat_keys import is_flat
from highnoon.training.recipes.hatching.guide_keys import MODEL, MONITOR, OWN_SECTIONS, TRAINING
from highnoon.training.recipes.recipe_sections import MODEL_SETTINGS

_SHAPE = ("n_layer", "n_embd", "n_head")
_UNMISTAKABLE = {
    "model": ("mlp_multiplier", "mlp_internal_dim_multiplier"),
    "training": ("max_iters",),
    "curriculum": ("task_weights",),
}
"""Keys of sections that the recipes of this package have too, where these keys are errors."""
_STAGE = {"iters", "weights"}
_PRESETS = "hatching-"


def is_guide(recipe: Mapping[str, Any]) -> bool:
    """Returns whether a recipe is in the guide's keys.

    It is if it has one of the sections `lif`, `stdp`, `bio` and `monitor`, or the flat keys of the guide's
    repository. Without these, `model` gives the shape as `n_layer`, `n_embd` or `n_head`, which recipes of
    this package may have too. Such a recipe counts as the guide's only if it trains on a curriculum of
    `iters` and `weights`, and if nothing in it is spelled as in this package alone.

    Example:

    ```python
    from highnoon.training.recipes.hatching.is_guide import is_guide

    stages = [{"iters": 5, "weights": {"bash_command": 1.0}}]
    assert is_guide({"model": {"n_layer": 2}, "curriculum": {"stages": stages}})
    assert not is_guide({"model": {"num_reasoning_blocks": 2}, "curriculum": {"stages": stages}})
    assert not is_guide({"model": {"n_layer": 2}, "stages": [{"name": "a", "datasets": "stdlib:docs"}]})
    ```
    """
    if any(section in recipe for section in OWN_SECTIONS) or is_flat(recipe):
        return True
    if not _has_curriculum(recipe) or _has_names_of_this_package(recipe):
        return False
    if any(key in _section(recipe, section) for section, keys in _UNMISTAKABLE.items() for key in keys):
        return True
    return any(key in _section(recipe, "model") for key in _SHAPE) and not isinstance(
        recipe.get("tasks"), Mapping
    )


def _has_curriculum(recipe: Mapping[str, Any]) -> bool:
    """Whether a recipe trains on nothing but a curriculum of the guide's form."""
    stages = _section(recipe, "curriculum").get("stages")
    if "stages" in recipe or not isinstance(recipe.get("curriculum"), Mapping):
        return False
    if stages is None:
        return True
    return isinstance(stages, (list, tuple)) and all(
        isinstance(stage, Mapping) and set(stage) >= _STAGE for stage in stages
    )


def _has_names_of_this_package(recipe: Mapping[str, Any]) -> bool:
    """Whether a preset or a key is one that recipes of this package alone have."""
    preset = recipe.get("preset")
    if preset is not None and not str(preset).startswith(_PRESETS):
        return True
    if any(key not in MODEL and key not in MODEL_SETTINGS for key in _section(recipe, "model")):
        return True
    renamed = {key.name for name, key in TRAINING.items() if key.name not in TRAINING}
    intervals = {key.name for key in MONITOR.values()}
    return not renamed.isdisjoint(_section(recipe, "training")) or not intervals.isdisjoint(recipe)


def _section(recipe: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    values = recipe.get(name)
    return values if isinstance(values, Mapping) else {}
