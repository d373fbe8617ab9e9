"""The frozen model of a distillation."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from highnoon.training.frozen_model import FrozenModel


class Teacher(FrozenModel):
    """The model from whose probabilities another one learns."""

    def best_tokens(self, logits: Any, top_k: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the ids and log probabilities of the likeliest tokens, likeliest first.

        Args:
            logits: (..., v).
            top_k: How many.
        """
        log_probs = keras.ops.log_softmax(keras.ops.cast(logits, "float32"), axis=-1)
        best, ids = keras.ops.top_k(log_probs, top_k)
        return keras.ops.convert_to_numpy(ids), keras.ops.convert_to_numpy(best)
