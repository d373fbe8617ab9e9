"""Reads the hidden states of a frozen language model, and what it predicts from them."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from keras import ops

from highnoon.config import ConfigError
from highnoon.inference.decoding.compiling import compile_for
from highnoon.inference.model_structure import ModelStructure
from highnoon.training.frozen_models import weights_hash

_INPUTS = ("token_ids", "segment_ids", "positions")

Batch = Mapping[str, npt.NDArray[Any]]


class StateReader:
    """The hidden states that the head of a model reads, compiled for the model as it is now.

    Args:
        model: A causal language model with a `backbone`, such as `LanguageModel`.

    Attributes:
        model_hash: The hash of the model's weights.

    Raises:
        ConfigError: another kind of model, or one that is not causal.
    """

    def __init__(self, model: Any) -> None:
        if not hasattr(getattr(model, "backbone", None), "step"):
            raise ConfigError(
                "a memory needs a model with a `backbone` that has `step`, such as LanguageModel; received a "
                f"{type(model).__name__}"
            )
        if not model.is_causal:
            raise ConfigError(
                "a memory needs a causal model, whose states know no later token; received one with mixers "
                "that see later tokens"
            )
        self.model_hash = weights_hash(model)
        self.width = int(model.backbone.config.embedding_dim)
        self._structure = ModelStructure(model)
        self._states = compile_for(model, _states, jit_compile=False)
        self._label_log_probs = compile_for(model, _label_log_probs, jit_compile=False)
        self._log_probs = compile_for(model, _log_probs, jit_compile=False)
        self._model = weakref.ref(model)

    @property
    def is_current(self) -> bool:
        """Whether the model still has the structure that it was compiled with."""
        return self._structure.matches(self._model())

    def states(self, batch: Batch) -> npt.NDArray[np.float32]:
        """Returns the states (b, t, d) of a batch of packed rows."""
        return _numpy(self._states(_inputs(batch)))

    def with_label_log_probs(self, batch: Batch) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Returns the states (b, t, d) and the log probability of each label (b, t)."""
        states, log_probs = self._label_log_probs(_inputs(batch), np.asarray(batch["labels"], np.int32))
        return _numpy(states), _numpy(log_probs)

    def with_log_probs(self, batch: Batch) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Returns the states (b, t, d) and the log probabilities of every next token (b, t, v)."""
        states, log_probs = self._log_probs(_inputs(batch))
        return _numpy(states), _numpy(log_probs)


def _inputs(batch: Batch) -> dict[str, Any]:
    return {name: np.asarray(batch[name], np.int32) for name in _INPUTS if batch.get(name) is not None}


def _numpy(array: Any) -> npt.NDArray[np.float32]:
    return np.asarray(ops.convert_to_numpy(array), np.float32)


def _states(model: Any, inputs: Any) -> Any:
    return ops.cast(model.backbone(inputs, training=False), "float32")


def _log_probs(model: Any, inputs: Any) -> tuple[Any, Any]:
    hidden = model.backbone(inputs, training=False)
    return ops.cast(hidden, "float32"), ops.log_softmax(model._logits(hidden), axis=-1)


def _label_log_probs(model: Any, inputs: Any, labels: Any) -> tuple[Any, Any]:
    states, log_probs = _log_probs(model, inputs)
    return states, ops.take_along_axis(log_probs, labels[:, :, None], axis=-1)[:, :, 0]
