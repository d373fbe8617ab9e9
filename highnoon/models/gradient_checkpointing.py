"""Memory for time: a block's inner values are made again in the backward pass, not kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops


def call_and_forget(layer: keras.layers.Layer, x, **options: Any):
    """Calls a layer whose gradient keeps `x` alone and runs the layer again.

    What the layer changes while it runs, such as the state of its dropout, is changed once, and the
    second run starts from the same state as the first, so that it draws the same.

    Args:
        layer: Returns any nest of floating point tensors.
        x: Its first input, through which gradients flow.
        **options: Its other arguments.

    Returns: what the layer returns.

    Raises:
        NotImplementedError: the backend is not TensorFlow.

    Chen et al. 2016 (arXiv:1604.06174), section 3, with one segment a layer.
    """
    states = [*layer.non_trainable_variables, *_step_variables(layer)]
    before = [ops.copy(state) for state in states]  # read here: a second run must not see what was assigned

    def run(x):
        with keras.StatelessScope(state_mapping=list(zip(states, before, strict=True))) as scope:
            outputs = layer(x, **options)
        after = [scope.get_current_value(state) for state in states]
        return outputs, [old if new is None else new for new, old in zip(after, before, strict=True)]

    outputs, after = _recomputed(run, x)
    for state, value in zip(states, after, strict=True):
        state.assign(value)
    return outputs


def _step_variables(layer: keras.layers.Layer) -> list[keras.Variable]:
    """What layers count up during a step without owning it as a weight."""
    return [v for part in layer._flatten_layers() for v in getattr(part, "step_variables", [])]


def _recomputed(run: Callable[..., Any], x):
    if keras.backend.backend() != "tensorflow":
        # JAX's own checkpoint refuses gradients of ours that close over values, as those of gathers do.
        raise NotImplementedError(
            f"gradient checkpointing runs on the tensorflow backend; this is {keras.backend.backend()!r}. "
            "Train without it, or set KERAS_BACKEND=tensorflow"
        )
    import tensorflow as tf

    seen: list[Any] = []  # of the first run: structure, and the states, which are not floating point

    def floats(x):
        outputs, after = run(x)
        if not seen:
            seen.extend([outputs, after])
        return keras.tree.flatten(outputs)

    flat = tf.recompute_grad(floats)(x)
    return keras.tree.pack_sequence_as(seen[0], flat), seen[1]
