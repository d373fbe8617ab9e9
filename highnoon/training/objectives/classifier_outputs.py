"""What a classifier returns."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from highnoon.config import ConfigError


def gives_probabilities(model: keras.Model) -> bool:
    """Whether a model's last activation is a softmax, so that it returns probabilities and not logits.

    That can be seen in functional models, in those with an attribute `activation`, and in those whose last
    layer has one.
    """
    last: Any = None
    if _is_functional(model) and len(model.outputs) == 1:
        last = model.outputs[0]._keras_history.operation
    candidates = [model, last, *(getattr(model, "layers", None) or [])[-1:]]
    for layer in candidates:
        if isinstance(layer, keras.layers.Softmax):
            return True
        if isinstance(layer, keras.layers.Activation) and layer is not last:
            continue
        activation = getattr(layer, "activation", None)
        if activation is keras.activations.softmax:
            return True
    return False


def class_log_probs(outputs: Any, *, are_probabilities: bool, num_labels: int) -> Any:
    """Returns log probabilities (rows, labels), float32, of what a classifier returned.

    Raises:
        ConfigError: it has another shape.
    """
    shape = getattr(outputs, "shape", None)
    if shape is None or len(shape) != 2 or shape[-1] != num_labels:
        raise ConfigError(
            f"a classifier must return logits of shape (rows, num_labels={num_labels}); received "
            f"{tuple(shape) if shape is not None else type(outputs).__name__}"
        )
    outputs = ops.cast(outputs, "float32")
    if are_probabilities:
        return ops.log(ops.clip(outputs, keras.config.epsilon(), 1.0))
    return ops.log_softmax(outputs, axis=-1)


def _is_functional(model: Any) -> bool:
    return getattr(model, "_inputs_struct", None) is not None
