"""Makes one of two independent computations run first."""

from __future__ import annotations

import keras
from keras import ops

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    from highnoon.layers.experts.sorted_experts import is_compiled_by_xla

    def after(tensor, earlier):
        """Returns `tensor` such that its users wait until `earlier` is computed.

        A graph executor starts whatever is ready, and XLA's CPU scheduler runs independent work in parallel,
        so that all chunks of a computation that was cut to save memory would be in memory at once.
        """
        if is_compiled_by_xla():
            return _depending(tensor, earlier)
        with tf.control_dependencies([earlier]):
            return tf.identity(tensor)
else:

    def after(tensor, earlier):
        """Returns `tensor` such that its users wait until `earlier` is computed."""
        return _depending(tensor, earlier)


def zero_from(tensor):
    """A zero in the dtype of `tensor` that the compiler cannot constant-fold."""
    return ops.minimum(ops.abs(ops.reshape(tensor, (-1,))[0]), 0)  # of an infinity too


def _depending(tensor, earlier):
    """XLA removes its own barriers before it schedules operations, but no arithmetic."""
    return tensor + ops.cast(zero_from(earlier), tensor.dtype)
