"""The dense feed-forward of a reasoning block, with a gate."""

from __future__ import annotations

import keras

from highnoon.config import require_count
from highnoon.layers.activations import activation_function
from highnoon.layers.built_dense import built_dense
from highnoon.layers.configured_layer import ConfiguredLayer


@keras.saving.register_keras_serializable(package="highnoon")
class GatedFeedForward(ConfiguredLayer):
    """Feed-forward with a gate: SwiGLU, or GeGLU with another activation.

    ```
    y = (activation(x Wg) * (x Wu)) Wd
    ```

    Each product has a bias added where `use_bias`.

    Args:
        hidden_dim: Inner width, at least 1.
        kernel_initializer: Of the gate and up kernels.
        output_initializer: Of the down kernel; None takes `kernel_initializer`.
        activation: Of the gate, one of `highnoon.layers.activations.ACTIVATIONS`.
        use_bias: Whether the three projections have biases, initially zeros.

    Inputs:
        x (.., d).

    Returns:
        (.., d).

    Raises:
        ValueError: `hidden_dim` is below 1, or the activation is unknown.

    Example:

    ```python
    import numpy as np
    from highnoon.layers import GatedFeedForward

    y = GatedFeedForward(hidden_dim=64)(np.ones((2, 5, 32), "float32"))
    ```

    Shazeer 2020, GLU Variants Improve Transformer (arXiv:2002.05202), eqs. 5 and 6.
    """

    def __init__(
        self,
        hidden_dim: int,
        kernel_initializer="glorot_uniform",
        output_initializer=None,
        activation: str = "silu",
        use_bias: bool = False,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        require_count("hidden_dim", hidden_dim)
        self.hidden_dim = hidden_dim
        self.activation = activation
        self._activate = activation_function(activation)
        self.use_bias = use_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.output_initializer = keras.initializers.get(output_initializer)

    def build(self, x_shape) -> None:
        width = x_shape[-1]
        self.gate = self._projection("gate", width, self.hidden_dim, self.kernel_initializer)
        self.up = self._projection("up", width, self.hidden_dim, self.kernel_initializer)
        down_initializer = self.output_initializer or self.kernel_initializer
        self.down = self._projection("down", self.hidden_dim, width, down_initializer)

    def _projection(self, name: str, inputs: int, units: int, initializer):
        return built_dense(name, inputs, units, initializer, self.dtype_policy, self.use_bias)

    def call(self, x):
        return self.down(self._activate(self.gate(x)) * self.up(x))

    def compute_output_shape(self, x_shape):
        return x_shape
