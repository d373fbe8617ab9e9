"""The family of models with a memory: described by the model and the size of its memory."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras

from highnoon.config import ConfigError, require_count
from highnoon.experts.lazy_mixture import LazyMixture
from highnoon.experts.memory_mix import MemoryMix
from highnoon.experts.memory_model import MemoryModel
from highnoon.files.shown import shown
from highnoon.models.families import Family, family_named
from highnoon.models.saving import ModelFolderError, describe_model


class MemoryFamily(Family):
    """Models with a memory, which is among their weights.

    The description holds that of the model, the `mix`, `num_keys`, and the `piece_lengths` of a lazy mixture.
    """

    model_class = MemoryModel

    def describe(self, model: keras.Model) -> dict[str, Any]:
        described = describe_model(model.frozen)
        if "family" not in described:
            raise ModelFolderError(
                f"a {type(model.frozen).__name__} cannot be loaded again by name; register its class by "
                "register_family"
            )
        lazy = {"piece_lengths": list(model.model.piece_lengths)} if model.model is not model.frozen else {}
        mix = dataclasses.asdict(model.mix)
        return {"remembers": described, "mix": mix, "num_keys": int(model.keys.shape[0]), **lazy}

    def check(self, description: dict[str, Any]) -> None:
        remembers, mix = description.get("remembers"), description.get("mix")
        if not isinstance(remembers, dict) or not isinstance(mix, dict):
            raise ConfigError(
                f"`remembers` and `mix` must be mappings; received {shown(remembers)} and {shown(mix)}"
            )
        require_count("num_keys", description.get("num_keys"))
        MemoryMix(**mix)
        family_named(remembers.get("family", "")).check(remembers)

    def make(self, description: dict[str, Any], dtype: Any = "auto") -> MemoryModel:
        remembers = description["remembers"]
        model: Any = family_named(remembers["family"]).make(remembers, dtype)
        if outputs := remembers.get("outputs"):
            model.outputs_description = outputs
        if "piece_lengths" in description:
            model = LazyMixture(model, description["piece_lengths"])
        return self.model_class.with_room(model, MemoryMix(**description["mix"]), description["num_keys"])
