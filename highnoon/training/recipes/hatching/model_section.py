"""The model of a recipe in the guide's keys: BDH, with spiking neurons where there is a `lif:` section."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from typing import Any

from highnoon.config import PRESETS, ConfigError
from highnoon.files.shown import shown
from highnoon.training.recipes.hatching.guide_keys import BIO, DROPOUT, LIF, MODEL, STDP
from highnoon.training.recipes.hatching.read_section import read_section
from highnoon.training.recipes.recipe_sections import MODEL_SOURCES, section_keys

PRESET = "hatching-medium"
"""The preset whose shape is the guide's default: 6 layers of width 256 with 4 heads."""
NUM_BYTES = 256
_MULTIPLIER = re.compile(r"bdh\(.*\bmultiplier=([0-9]+).*\)")
_STACKLEVEL = 6


def model_section(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Returns `preset` and `model` of a recipe in the guide's keys.

    Warns:
        UserWarning: keys that have no effect, and what `vocab_size: 256` stands for.

    Raises:
        ConfigError: as `read_section`, or sections that contradict each other.
    """
    model = read_section(recipe, "model", MODEL, section_keys("model"))
    options = _neuron_options(recipe)
    multiplier = model.pop("multiplier", _preset_multiplier(recipe.get("preset")))
    source = next((name for name in (*MODEL_SOURCES, "family", "block_pattern") if name in model), None)
    if source is not None:
        named = [key for key, (name, _) in MODEL.items() if name == "multiplier"]
        given = [key for key in named if key in (recipe.get("model") or {})]
        spoiled = "lif" if recipe.get("lif") is not None else f"model.{given[0]}" if given else None
        if spoiled is not None:
            raise ConfigError(
                f"`{spoiled}` describes a new model, and `model.{source}` says another; leave one out"
            )
    if source is None or source == "block_pattern":
        recipe = {"preset": PRESET, **recipe}
        model = {"dropout": DROPOUT, **model}
        if model.get("vocab_size", NUM_BYTES) == NUM_BYTES:
            model["vocab_size"] = _num_byte_ids(is_said="vocab_size" in model)
    if source is None:
        own = {} if multiplier is None else {"multiplier": multiplier}
        if options is not None:
            model["block_pattern"] = _part_text("spiking_bdh", {**own, **options})
        elif multiplier is not None:
            model["block_pattern"] = _part_text("bdh", own)
    preset = {} if recipe.get("preset") is None else {"preset": recipe["preset"]}
    return {**preset, "model": model}


def _preset_multiplier(preset: Any) -> int | None:
    """Returns the multiplier that a preset's BDH has, so that spiking neurons are as many; None for none."""
    pattern = PRESETS.get(preset, {}).get("block_pattern", "") if isinstance(preset, str) else ""
    match = _MULTIPLIER.fullmatch(pattern)
    return None if match is None else int(match[1])


def _num_byte_ids(*, is_said: bool) -> int:
    """Returns the ids of the byte tokenizer."""
    from highnoon.tokenization.special_tokens import SMALLEST_VOCAB_SIZE

    if is_said:
        warnings.warn(
            f"`vocab_size: {NUM_BYTES}` means bytes: the model has {SMALLEST_VOCAB_SIZE} ids, the "
            f"{NUM_BYTES} bytes and {SMALLEST_VOCAB_SIZE - NUM_BYTES} special ids",
            stacklevel=_STACKLEVEL,
        )
    return SMALLEST_VOCAB_SIZE


def _part_text(name: str, options: Mapping[str, Any]) -> str:
    """Returns a part of a block pattern with its options."""
    written = [f"{key}={str(value).lower()}" for key, value in options.items()]
    return f"{name}({', '.join(written)})" if written else name


def _neuron_options(recipe: Mapping[str, Any]) -> dict[str, Any] | None:
    """Returns the options of spiking neurons, or None for a model without them."""
    lif = read_section(recipe, "lif", LIF)
    bio = read_section(recipe, "bio", BIO)
    stdp = read_section(recipe, "stdp", STDP)
    is_spiking = "lif" in recipe
    is_plastic = stdp.pop("stdp", False)
    if is_plastic and not is_spiking:
        raise ConfigError(
            "`stdp.enabled` needs spiking neurons, since its rule pairs spikes; give a `lif:` section too"
        )
    if stdp and not is_plastic:
        warnings.warn(
            "the `stdp:` keys have no effect without `enabled: true`, which changes weights by spike timing "
            "after each step",
            stacklevel=_STACKLEVEL,
        )
    if bio and not is_spiking:
        names = ", ".join(shown(name)[1:-1] for name in bio)
        warnings.warn(
            f"the `bio:` keys ({names}) have no effect without a `lif:` section, which makes neurons spike",
            stacklevel=_STACKLEVEL,
        )
    if not is_spiking:
        return None
    return {**lif, **bio, **({"stdp": True, **stdp} if is_plastic else {})}
