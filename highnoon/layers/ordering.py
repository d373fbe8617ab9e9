"""Which of two independent computations runs first."""

from __future__ import annotations

import keras

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    def after(tensor, earlier):
        """Returns `tensor`, for users that must wait until `earlier` is there.

        A graph executor starts whatever is ready, so that chunks which were cut to save memory
        would all be held at once. XLA plans for memory by itself.
        """
        with tf.control_dependencies([earlier]):
            return tf.identity(tensor)
else:

    def after(tensor, earlier):
        """Returns `tensor`: XLA orders chunks to save memory by itself."""
        return tensor
