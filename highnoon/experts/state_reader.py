"""Reads the hidden states of a frozen language model, and what it predicts from them."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from keras import ops

from highnoon.experts.model_states import state_model, state_width, states, states_and_log_probs
from highnoon.inference.decoding.compiling import compile_for
from highnoon.inference.model_structure import ModelStructure
from highnoon.training.frozen_models import weights_hash

_INPUTS = ("token_ids", "segment_ids", "positions")

Batch = Mapping[str, npt.NDArray[Any]]


class StateReader:
    """The hidden states that the head of a model reads, compiled for the model as it is now.

    Args:
        model: A causal language model with a `backbone`, such as `LanguageModel`, or a `MixtureOfModels`,
            whose states are those of its router's trunk: they are there whichever experts run.

    Attributes:
        model_hash: The hash of the model's weights.

    Raises:
        ConfigError: another kind of model, or one that is not causal.
    """

    def __init__(self, model: Any) -> None:
        model = state_model(model)
        self.model_hash = weights_hash(model)
        self.width = state_width(model)
        self._structure = ModelStructure(model)
        self._states = compile_for(model, states, jit_compile=False)
        self._label_log_probs = compile_for(model, _label_log_probs, jit_compile=False)
        self._log_probs = compile_for(model, states_and_log_probs, jit_compile=False)
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


def _label_log_probs(model: Any, inputs: Any, labels: Any) -> tuple[Any, Any]:
    hidden, log_probs = states_and_log_probs(model, inputs)
    return hidden, ops.take_along_axis(log_probs, labels[:, :, None], axis=-1)[:, :, 0]
