"""Keeps the LoRA factors of a model in a `.keras` archive, in which Keras saves merged kernels alone."""

from __future__ import annotations

import pathlib
import weakref
from typing import Any

import keras

from highnoon.models.arrays import assign_arrays, load_arrays, save_arrays, variable_arrays

_FILE = "lora.safetensors"


class LoraAssets(keras.layers.Layer):
    """An attribute of a functional model, which Keras visits after the model's layers.

    A layer of Keras with LoRA saves its kernel with the factors merged into it, and sets the factors to zero
    when it reads them. The assets of this object hold the layer's own variables, read after that.

    Args:
        model: The model; it is not kept alive.
    """

    def __init__(self, model: Any) -> None:
        super().__init__(name="lora_assets")
        self.built = True
        # A layer would track a model that is its attribute.
        object.__setattr__(self, "_model", weakref.ref(model))

    def __deepcopy__(self, memo: dict[int, Any]) -> LoraAssets:
        model = self._model()
        return LoraAssets(memo.get(id(model), model))

    def save_assets(self, folder: str | pathlib.Path) -> None:
        """Writes the variables of layers with factors, if there are any."""
        weights = self._weights()
        if weights:
            save_arrays(pathlib.Path(folder) / _FILE, variable_arrays(weights))

    def load_assets(self, folder: str | pathlib.Path | None) -> None:
        """Assigns what `save_assets` wrote; Keras gives None for an archive without these assets."""
        file = pathlib.Path(folder or "") / _FILE
        if folder is not None and file.is_file():
            assign_arrays(self._weights(), load_arrays(file), owner="the layers with LoRA factors")

    def _weights(self) -> list[keras.Variable]:
        layers = self._model()._flatten_layers(include_self=False)
        return [v for layer in layers if getattr(layer, "lora_enabled", False) for v in layer.weights]
