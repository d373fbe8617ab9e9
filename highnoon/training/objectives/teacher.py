"""The frozen model of a distillation."""

from __future__ import annotations

import functools
import os
from typing import Any

import keras
import numpy as np

from highnoon.config import ConfigError, shown
from highnoon.training.frozen_models import weights_hash


class Teacher:
    """A model, or the folder of one, that is loaded when it is first needed.

    Args:
        reference: A model, or the path of a folder that `save_model` wrote.
        expected_hash: What `weights_hash` must give for its weights; None takes any.

    Raises:
        ConfigError: `reference` is neither.
    """

    def __init__(self, reference: Any, expected_hash: str | None = None) -> None:
        if not isinstance(reference, (str, os.PathLike, keras.Model)):
            raise ConfigError(
                f"`teacher` must be a model or the path of a saved one; received {shown(reference)}; a model "
                "that was given in memory is not saved with a run: give it again"
            )
        self._reference = reference
        self._expected_hash = expected_hash

    @property
    def path(self) -> str | None:
        """Where the model was loaded from, None for a model in memory."""
        return None if isinstance(self._reference, keras.Model) else os.fspath(self._reference)

    @functools.cached_property
    def model(self) -> keras.Model:
        """The model itself, which is read and never changed."""
        if isinstance(self._reference, keras.Model):
            return self._reference
        from highnoon.models import load_model

        return load_model(os.fspath(self._reference))

    @functools.cached_property
    def hash(self) -> str:
        """The hash of the model's weights.

        Raises:
            ConfigError: it is not the expected one.
        """
        found = weights_hash(self.model)
        if self._expected_hash not in (None, found):
            raise ConfigError(
                f"the teacher{f' at {self.path}' if self.path else ''} must have the weights "
                f"{self._expected_hash}, with which the run began; received {found}; give the same teacher, "
                "or begin another run"
            )
        return found

    def release(self) -> None:
        """Frees a model that was loaded from a path; it is loaded again if it is needed."""
        if self.path is not None:
            self.__dict__.pop("model", None)

    def best_tokens(self, logits: Any, top_k: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the ids and log probabilities of the likeliest tokens, likeliest first.

        Args:
            logits: (..., v).
            top_k: How many.
        """
        log_probs = keras.ops.log_softmax(keras.ops.cast(logits, "float32"), axis=-1)
        best, ids = keras.ops.top_k(log_probs, top_k)
        return keras.ops.convert_to_numpy(ids), keras.ops.convert_to_numpy(best)
