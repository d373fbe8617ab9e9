"""Translates a recipe in the keys of the training guide."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from highnoon.config import ConfigError
from highnoon.training.recipes.hatching.curriculum_section import curriculum_section, with_task_sources
from highnoon.training.recipes.hatching.flat_keys import is_flat, with_sections
from highnoon.training.recipes.hatching.guide_keys import (
    MONITOR,
    OWN_SECTIONS,
    TRAINING,
    TRAINING_DEFAULTS,
)
from highnoon.training.recipes.hatching.is_guide import is_guide
from highnoon.training.recipes.hatching.model_section import model_section
from highnoon.training.recipes.hatching.read_section import read_section
from highnoon.training.recipes.hatching.task_evaluators import task_evaluators
from highnoon.training.recipes.recipe_sections import section_keys

_STACKLEVEL = 5


def translate_recipe(recipe: Mapping[str, Any], known: set[str]) -> Mapping[str, Any]:
    """Returns a recipe in its own keys.

    A recipe in the guide's keys, see `is_guide`, is translated. Any other recipe is returned as it is, except
    that tasks of its curriculum without data get theirs.

    Args:
        recipe: As a file holds it.
        known: The keys of a recipe.

    Warns:
        UserWarning: keys that have no effect, and what `vocab_size: 256` stands for.

    Raises:
        ConfigError: an unknown key or a value out of its range, under the name that the user wrote.

    Example:

    ```python
    from highnoon.training.recipes.hatching import translate_recipe

    guide = {"lif": {"tau_mem": 20.0}, "monitor": {"log_freq": 10}, "training": {"batch_size": 2}}
    recipe = translate_recipe(guide, set())
    assert recipe["model"]["block_pattern"] == "spiking_bdh(tau_mem=20.0)"
    assert recipe["log_interval"] == 10 and recipe["training"]["learning_rate"] == 1e-3
    ```
    """
    if not is_guide(recipe):
        return with_task_sources(recipe)
    return translate_guide(recipe, known)


def translate_guide(recipe: Mapping[str, Any], known: set[str]) -> Mapping[str, Any]:
    """Returns a recipe in the guide's keys in its own keys.

    Its model is BDH, with spiking neurons where there is a `lif:` section, and what it leaves out has the
    guide's defaults.

    Args:
        recipe: In the guide's keys.
        known: The keys of a recipe.

    Raises:
        ConfigError: as `translate_recipe`.
    """
    if is_flat(recipe):
        recipe = with_sections(recipe, known)
    training = read_section(recipe, "training", TRAINING, section_keys("training"))
    max_iters = training.pop("max_iters", None)
    monitor = read_section(recipe, "monitor", MONITOR)
    if monitor.pop("nan_check", True) is False:
        warnings.warn(
            "`monitor.nan_check: false` has no effect: every step is checked, and one that is not finite is "
            "skipped",
            stacklevel=_STACKLEVEL,
        )
    if "max_skipped_steps" in monitor:
        training.setdefault("max_skipped_steps", monitor.pop("max_skipped_steps"))
    for name in monitor:
        if name in recipe:
            raise ConfigError(f"`monitor` and `{name}` name the same value; give one of them")
    training = {**_defaults(training), **training}
    made = model_section(recipe)
    if "preset" in made:
        made["model"].setdefault("max_seq_length", training["max_seq_length"])
    rest = {key: value for key, value in recipe.items() if key not in OWN_SECTIONS}
    if recipe.get("curriculum") is not None:
        rest.pop("curriculum")
    sections = {"training": training, **monitor, **curriculum_section(recipe, max_iters)}
    translated = with_task_sources({**rest, **made, **sections})
    return {**translated, **task_evaluators(translated)}


def _defaults(training: Mapping[str, Any]) -> Mapping[str, Any]:
    """The guide's defaults, without what an optimizer of Keras brings itself."""
    if isinstance(training.get("optimizer"), Mapping):
        return {name: TRAINING_DEFAULTS[name] for name in ("batch_size", "max_seq_length")}
    return TRAINING_DEFAULTS
