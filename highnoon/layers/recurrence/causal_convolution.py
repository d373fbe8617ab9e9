"""Depthwise causal convolution with a state for decoding."""

from __future__ import annotations

import keras
from keras import ops

from highnoon.config import require_count
from highnoon.layers.recurrence.segment_restarts import count_restarts, is_token


@keras.saving.register_keras_serializable(package="highnoon")
class CausalConvolution(keras.layers.Layer):
    """Mixes each channel with its own last `kernel_size` values, within one segment.

    ```
    y[t, d] = activation(bias[d] + sum_j kernel[j, d] x[t - (kernel_size - 1) + j, d])
    ```

    Positions before the row and positions of an earlier segment count as zeros.

    Args:
        kernel_size: Positions that an output depends on, its own included; at least 1.
        activation: Name or function applied to the result; None for none.
        use_bias: Whether there is a bias.
        kernel_initializer: Of the kernel; None takes the published one, uniform within
            1 / sqrt(kernel_size).
        bias_initializer: Of the bias.

    Inputs:
        x (b, t, d); segment_ids (b, t), the convolution restarts where they change; positions and training
        are not used.

    Returns:
        (b, t, d).

    Raises:
        ValueError: `kernel_size` is below 1.

    Example:

    ```python
    import numpy as np
    from highnoon.layers.recurrence.causal_convolution import CausalConvolution

    y = CausalConvolution(kernel_size=4, activation="silu")(np.ones((2, 5, 32), "float32"))
    ```

    Gu & Dao 2023, Mamba (arXiv:2312.00752), section 3.4, where it precedes the state space.
    """

    def __init__(
        self,
        kernel_size: int = 4,
        activation=None,
        use_bias: bool = True,
        kernel_initializer=None,
        bias_initializer="zeros",
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        require_count("kernel_size", kernel_size)
        self.kernel_size = kernel_size
        self.activation = keras.activations.get(activation)
        self.use_bias = use_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)

    def build(self, x_shape) -> None:
        self.channels = x_shape[-1]
        published = keras.initializers.VarianceScaling(1 / 3, mode="fan_in", distribution="uniform")
        self.kernel = self.add_weight(
            name="kernel",
            shape=(self.kernel_size, self.channels),
            initializer=self.kernel_initializer or published,
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias", shape=(self.channels,), initializer=self.bias_initializer
            )

    def call(self, x, segment_ids=None, positions=None, training=None):
        reach = self.kernel_size - 1
        x = ops.cast(x, self.compute_dtype)
        padded = ops.pad(x, [[0, 0], [reach, 0], [0, 0]])
        if segment_ids is None:
            return self._convolve(padded)
        counts = count_restarts(segment_ids)
        return self._convolve(padded, ops.pad(counts, [[0, 0], [reach, 0]], constant_values=-1))

    def initial_cache(self, batch_size: int, max_length: int, dtype=None):
        """Returns zeros for the last inputs, whatever the length: {"inputs": (b, kernel_size - 1, d)}."""
        shape = (batch_size, self.kernel_size - 1, self.channels)
        return {"inputs": ops.zeros(shape, dtype or self.compute_dtype)}

    def step(self, x, cache, index, padding=None):
        """Continues with new positions.

        Args:
            x: (b, t, d), the positions index .. index+t-1.
            cache: What `initial_cache` or an earlier step returned.
            index: The first new position, a scalar.
            padding: (b,) how many positions at the front are padding, which counts as zeros; None for 0.

        Returns:
            y (b, t, d) and the new cache.
        """
        x = ops.cast(x, self.compute_dtype)
        tokens = is_token(index, x.shape[1], padding)
        if tokens is not None:
            x = ops.where(tokens[..., None], x, ops.zeros_like(x))
        joined = ops.concatenate([ops.cast(cache["inputs"], x.dtype), x], axis=1)
        inputs = ops.cast(joined[:, x.shape[1] :], cache["inputs"].dtype)
        return self._convolve(joined), {"inputs": inputs}

    def _convolve(self, padded, counts=None):
        """Convolves (b, kernel_size - 1 + t, d), within equal `counts` (b, kernel_size - 1 + t) if given."""
        reach = self.kernel_size - 1
        time = ops.shape(padded)[1] - reach
        kernel = ops.cast(self.kernel, padded.dtype)
        y = padded[:, reach:] * kernel[reach]
        for j in range(reach):
            part = padded[:, j : j + time]
            if counts is not None:
                same = counts[:, j : j + time] == counts[:, reach:]
                part = ops.where(same[..., None], part, ops.zeros_like(part))
            y = y + part * kernel[j]
        if self.use_bias:
            y = y + ops.cast(self.bias, y.dtype)
        return self.activation(y)

    def compute_output_spec(self, x, segment_ids=None, positions=None, training=None):
        return keras.KerasTensor(x.shape, dtype=self.compute_dtype)

    def get_config(self):
        return {
            **super().get_config(),
            "kernel_size": self.kernel_size,
            "activation": keras.activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer)
            if self.kernel_initializer
            else None,
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
        }
