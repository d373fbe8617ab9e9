"""A loop of static shape over a leading axis."""

from __future__ import annotations

import keras

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    def loop_over_time(advance, state, inputs, outputs_like, reverse: bool = False):
        """Runs `state, outputs = advance(state, inputs[i])` for each i in turn.

        It compiles one body for any length, in graph mode and under XLA. It is not differentiated: callers
        bring their own gradients, so that only what they name is kept in memory.

        Args:
            advance: Takes a state and a slice of the inputs; returns a state of the same shapes and
                dtypes, and outputs.
            state: A tuple of tensors.
            inputs: A tuple of tensors with the same leading axis.
            outputs_like: A tuple of tensors with the shape and dtype of one step's outputs.
            reverse: Whether the last index comes first; outputs stay in the inputs' order.

        Returns:
            the last state, and the outputs stacked over the leading axis.
        """
        length = inputs[0].shape[0]
        if length is None:
            length = tf.shape(inputs[0])[0]
        sources = [_filled(tensor, length) for tensor in inputs]
        sinks = [
            tf.TensorArray(tensor.dtype, size=length, element_shape=tensor.shape) for tensor in outputs_like
        ]

        def body(i, state, sinks):
            index = length - 1 - i if reverse else i
            state, outputs = advance(state, tuple(source.read(index) for source in sources))
            return (
                i + 1,
                state,
                [sink.write(index, output) for sink, output in zip(sinks, outputs, strict=True)],
            )

        _, state, sinks = tf.while_loop(
            lambda i, state, sinks: i < length, body, (0, tuple(state), sinks), parallel_iterations=1
        )
        outputs = tuple(sink.stack() for sink in sinks)
        for output, tensor in zip(outputs, inputs[:1] * len(outputs), strict=True):
            output.set_shape(tensor.shape[:1].concatenate(output.shape[1:]))
        return state, outputs

    def _filled(tensor, length):
        array = tf.TensorArray(
            tensor.dtype, size=length, element_shape=tensor.shape[1:], clear_after_read=False
        )
        return array.unstack(tensor)
elif keras.backend.backend() == "jax":
    import jax

    def loop_over_time(advance, state, inputs, outputs_like, reverse: bool = False):
        """Runs `state, outputs = advance(state, inputs[i])` for each i in turn, by `jax.lax.scan`."""
        return jax.lax.scan(advance, tuple(state), tuple(inputs), reverse=reverse)
else:
    raise ImportError(
        "recurrent mixers run on the backends tensorflow and jax; "
        f"set KERAS_BACKEND to one of them, it is {keras.backend.backend()!r}"
    )
