"""The family of models with a memory: described by the model and the size of its memory."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras

from highnoon.config import ConfigError, require_count
from highnoon.experts.lazy_mixture import LazyMixture, require_piece_lengths
from highnoon.experts.memory_mix import MemoryMix
from highnoon.experts.memory_model import MemoryModel
from highnoon.files.shown import shown
from highnoon.models.families import Family, family_named
from highnoon.models.saving import ModelFolderError, describe_model

_LEAST_KEY_BYTES = 16
"""Of a key of one dimension: it, its square, its token and its document, 4 bytes each."""


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
        return {"model": described, "mix": mix, "num_keys": int(model.keys.shape[0]), **lazy}

    def check(self, description: dict[str, Any]) -> None:
        described, mix = description.get("model"), description.get("mix")
        if not isinstance(described, dict) or not isinstance(mix, dict):
            raise ConfigError(
                f"`model` and `mix` must be mappings; received {shown(described)} and {shown(mix)}"
            )
        require_count("num_keys", description.get("num_keys"))
        MemoryMix(**mix)
        if "piece_lengths" in description:
            require_piece_lengths(description["piece_lengths"])
        family_named(described.get("family", "")).check(described)

    def require_memory(self, description: dict[str, Any], num_bytes: int, allow_oversize: bool) -> None:
        super().require_memory(description, num_bytes, allow_oversize)
        described, num_keys = description["model"], description["num_keys"]
        if num_keys * _LEAST_KEY_BYTES > num_bytes:
            raise ModelFolderError(
                f"a memory of num_keys={num_keys:,} takes at least {num_keys * _LEAST_KEY_BYTES:,} bytes; "
                f"received a file of {num_bytes:,} bytes for all weights; take another copy of the folder"
            )
        family_named(described["family"]).require_memory(described, num_bytes, allow_oversize)

    def make(self, description: dict[str, Any], dtype: Any = "auto") -> MemoryModel:
        described = description["model"]
        model: Any = family_named(described["family"]).make(described, dtype)
        if outputs := described.get("outputs"):
            model.outputs_description = outputs
        if "piece_lengths" in description:
            model = LazyMixture(model, description["piece_lengths"])
        return self.model_class.with_empty_memory(
            model, MemoryMix(**description["mix"]), description["num_keys"]
        )
