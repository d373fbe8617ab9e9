"""Which of two independent computations runs first."""

from __future__ import annotations

import keras
from keras import ops

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    from highnoon.layers.experts.sorted_experts import is_compiled_by_xla

    def after(tensor, earlier):
        """Returns `tensor`, for users that must wait until `earlier` is there.

        A graph executor starts whatever is ready, and XLA's CPU scheduler puts independent work side
        by side, so that chunks which were cut to save memory would all be held at once.
        """
        if is_compiled_by_xla():
            return _depending(tensor, earlier)
        with tf.control_dependencies([earlier]):
            return tf.identity(tensor)
else:

    def after(tensor, earlier):
        """Returns `tensor`, for users that must wait until `earlier` is there."""
        return _depending(tensor, earlier)


def zero_from(tensor):
    """A zero in the dtype of `tensor` that no compiler knows for one."""
    return ops.minimum(ops.abs(ops.reshape(tensor, (-1,))[0]), 0)  # of an infinity too


def _depending(tensor, earlier):
    """XLA removes its own barriers before it puts operations into order, but no arithmetic."""
    return tensor + ops.cast(zero_from(earlier), tensor.dtype)
