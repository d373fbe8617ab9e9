"""The weights that training continues with, where a run ends with others in its model."""

from __future__ import annotations

import hashlib

import keras
import numpy as np

from highnoon.models.arrays import variable_arrays
from highnoon.models.saving import saved_weights


class TrainedWeights:
    """Copies a model's weights before a run's end replaces them by averages, the best, or a callback's.

    A checkpoint of the end stores those that were replaced next to the model's, so that an extended run
    continues from them, as if it had never ended.

    Args:
        model: Holds the weights that training continues with.
    """

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        self._arrays = variable_arrays(saved_weights(model))
        self._digest = b""

    def put_back(self) -> None:
        """Gives the model the copied weights again."""
        for variable, array in zip(saved_weights(self._model), self._arrays.values(), strict=True):
            variable.assign(array)

    def keep_replaced(self) -> bool:
        """Drops the copies of weights that the model still holds; returns whether any differ."""
        now = variable_arrays(saved_weights(self._model))
        self._arrays = {
            name: array for name, array in self._arrays.items() if array.tobytes() != now[name].tobytes()
        }
        self._digest = _digest(now)
        return bool(self._arrays)

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns what a checkpoint keeps: nothing once the model was given weights from elsewhere."""
        if self._arrays and _digest(variable_arrays(saved_weights(self._model))) != self._digest:
            self._arrays = {}
        return self._arrays


def _digest(arrays: dict[str, np.ndarray]) -> bytes:
    state = hashlib.blake2b(digest_size=16)
    for array in arrays.values():
        state.update(array.tobytes())
    return state.digest()
