"""What an adapter holds, read from its files without TensorFlow."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

from highnoon.files.foreign import ForeignDataError, read_json

DESCRIPTIONS = {
    "adapter.json": "adapter.safetensors",
    "adapter_config.json": "adapter_model.safetensors",
}
"""The factors next to a description, in HighNoon's form and in PEFT's."""


@dataclasses.dataclass(frozen=True)
class AdapterFacts:
    """What is known of an adapter; None where its files do not say.

    Args:
        factors: Its file of LoRA factors.
        damage: Why its description cannot be read; None if it can.
        base: Folder or name of the model that it belongs to.
        rank: Of the factors; several are listed.
        num_layers: Layers that have factors.
        highnoon_version: That wrote it.
    """

    factors: pathlib.Path
    damage: str | None
    base: str | None
    rank: str | None
    num_layers: int | None
    highnoon_version: str | None

    @classmethod
    def read(cls, folder: pathlib.Path) -> AdapterFacts:
        """Returns what the description of an adapter says."""
        name = next(name for name in DESCRIPTIONS if (folder / name).is_file())
        factors = folder / DESCRIPTIONS[name]
        try:
            values = read_json(folder / name, max_bytes=2**24)
        except (ForeignDataError, OSError) as error:
            return cls(factors, f"{name} cannot be read ({error})", None, None, None, None)
        damage = None if factors.is_file() else f"{factors.name} is missing"
        if name == "adapter_config.json":
            base, rank = values.get("base_model_name_or_path"), values.get("r")
            return cls(factors, damage, _text(base), _text(rank), None, None)
        base, layers = values.get("base"), values.get("layers")
        layers = layers if isinstance(layers, dict) else {}
        ranks = {str(layer.get("rank")) for layer in layers.values() if isinstance(layer, dict)}
        path = base.get("path") if isinstance(base, dict) else None
        version = values.get("highnoon_version")
        return cls(
            factors, damage, _text(path), ", ".join(sorted(ranks)) or None, len(layers), _text(version)
        )


def is_adapter(folder: pathlib.Path) -> bool:
    """Whether a folder holds an adapter and no model."""
    has_description = any((folder / name).is_file() for name in DESCRIPTIONS)
    return has_description and not (folder / "config.json").is_file()


def _text(value: Any) -> str | None:
    return str(value) if isinstance(value, (str, int)) else None
