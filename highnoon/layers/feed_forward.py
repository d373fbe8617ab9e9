"""The dense feed-forward of a reasoning block, without a gate."""

from __future__ import annotations

import keras

from highnoon.config import require_count
from highnoon.layers.activations import activation_function
from highnoon.layers.built_dense import built_dense
from highnoon.layers.configured_layer import ConfiguredLayer


@keras.saving.register_keras_serializable(package="highnoon")
class FeedForward(ConfiguredLayer):
    """Two projections with an activation between them.

    ```
    y = activation(x Wu + bu) Wd + bd
    ```

    Args:
        hidden_dim: Inner width, at least 1.
        kernel_initializer: Of the up kernel.
        output_initializer: Of the down kernel; None takes `kernel_initializer`.
        activation: One of `highnoon.layers.activations.ACTIVATIONS`.
        use_bias: Whether both projections have biases, initially zeros.

    Inputs:
        x (.., d).

    Returns:
        (.., d).

    Raises:
        ValueError: `hidden_dim` is below 1, or the activation is unknown.

    Example:

    ```python
    import numpy as np
    from highnoon.layers import FeedForward

    y = FeedForward(hidden_dim=64)(np.ones((2, 5, 32), "float32"))
    ```

    Vaswani et al. 2017 (arXiv:1706.03762), eq. 2.
    """

    def __init__(
        self,
        hidden_dim: int,
        kernel_initializer="glorot_uniform",
        output_initializer=None,
        activation: str = "gelu_tanh",
        use_bias: bool = True,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        require_count("hidden_dim", hidden_dim)
        self.hidden_dim = hidden_dim
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.output_initializer = keras.initializers.get(output_initializer)
        self.activation = activation
        self._activate = activation_function(activation)
        self.use_bias = use_bias

    def build(self, x_shape) -> None:
        width, policy = x_shape[-1], self.dtype_policy
        down_initializer = self.output_initializer or self.kernel_initializer
        self.up = built_dense("up", width, self.hidden_dim, self.kernel_initializer, policy, self.use_bias)
        self.down = built_dense("down", self.hidden_dim, width, down_initializer, policy, self.use_bias)

    def call(self, x):
        return self.down(self._activate(self.up(x)))

    def compute_output_shape(self, x_shape):
        return x_shape
