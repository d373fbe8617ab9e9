"""RMS norm whose learned scale is its distance from 1."""

from __future__ import annotations

import keras
from keras import ops

from highnoon.config import require_number
from highnoon.layers.configured_layer import ConfiguredLayer


@keras.saving.register_keras_serializable(package="highnoon")
class ZeroCenteredRMSNormalization(ConfiguredLayer):
    """RMS norm with the factor `1 + scale`, so that weight decay pulls the factor to 1.

    ```
    y = x / sqrt(mean(x^2) + epsilon) * (1 + scale)
    ```

    All of it is computed in float32 under any dtype policy; the result is cast.

    Args:
        epsilon: Added to the mean square, above 0.

    Inputs:
        x (.., d).

    Returns:
        (.., d).

    Raises:
        ValueError: `epsilon` is not above 0.

    Example:

    ```python
    import numpy as np
    from highnoon.layers import ZeroCenteredRMSNormalization

    y = ZeroCenteredRMSNormalization()(np.ones((2, 5, 32), "float32"))
    ```

    Zhang & Sennrich 2019 (arXiv:1910.07467), eq. 4, with the gain 1 + scale as in Gemma
    (arXiv:2403.08295).
    """

    def __init__(self, epsilon: float = 1e-6, **kwargs) -> None:
        super().__init__(**kwargs)
        require_number("epsilon", epsilon, above=0)
        self.epsilon = epsilon

    def build(self, x_shape) -> None:
        # Not cast to the compute dtype: in bfloat16 the sum with 1 would lose most of the scale.
        self.scale = self.add_weight(name="scale", shape=(x_shape[-1],), initializer="zeros", autocast=False)

    def call(self, x):
        y = ops.rms_normalization(
            ops.cast(x, "float32"), scale=1.0 + ops.cast(self.scale, "float32"), epsilon=self.epsilon
        )
        return ops.cast(y, self.compute_dtype)

    def compute_output_shape(self, x_shape):
        return x_shape
