"""RMS norm with a SiLU gate, which state space layers apply before their output projection."""

from __future__ import annotations

import keras
from keras import ops

from highnoon.config import require_count, require_number
from highnoon.layers.configured_layer import ConfiguredLayer


@keras.saving.register_keras_serializable(package="highnoon")
class GatedRMSNormalization(ConfiguredLayer):
    """Normalizes and gates.

    ```
    rms(u) = u / sqrt(mean over the group of u^2 + epsilon)
    y = rms(x * silu(gate)) * scale          norm_before_gate=False, Mamba-2
    y = rms(x) * scale * silu(gate)          norm_before_gate=True, gated delta rule
    ```

    Computed in float32 under any dtype policy.

    Args:
        num_groups: Parts of the last axis that are normalized separately; a divisor of it.
        norm_before_gate: Whether the gate comes after the norm.
        epsilon: Added to the mean square.

    Inputs:
        x (.., d), gate (.., d).

    Returns:
        (.., d).

    Raises:
        ValueError: `num_groups` does not divide the last axis, or an argument is out of its range.

    Example:

    ```python
    import numpy as np
    from highnoon.layers.gated_rms_normalization import GatedRMSNormalization

    x = np.ones((2, 5, 32), "float32")
    y = GatedRMSNormalization()(x, x)
    ```

    Dao & Gu 2024, Mamba-2 (arXiv:2405.21060), section 7.1; Yang et al. 2024 (arXiv:2412.06464),
    section 3.4.
    """

    def __init__(
        self, num_groups: int = 1, norm_before_gate: bool = False, epsilon: float = 1e-5, **kwargs
    ) -> None:
        super().__init__(**kwargs)
        require_count("num_groups", num_groups)
        require_number("epsilon", epsilon, above=0)
        self.num_groups = num_groups
        self.norm_before_gate = norm_before_gate
        self.epsilon = epsilon

    def build(self, x_shape, gate_shape=None) -> None:
        width = x_shape[-1]
        if width % self.num_groups:
            raise ValueError(
                f"the last axis must be a multiple of num_groups={self.num_groups}; received {width}"
            )
        self.scale = self.add_weight(name="scale", shape=(width,), initializer="ones")

    def call(self, x, gate):
        x, gate = ops.cast(x, "float32"), ops.silu(ops.cast(gate, "float32"))
        scale = ops.cast(self.scale, "float32")
        y = self._normalize(x) * scale * gate if self.norm_before_gate else self._normalize(x * gate) * scale
        return ops.cast(y, self.compute_dtype)

    def _normalize(self, x):
        if self.num_groups == 1:
            return x * ops.rsqrt(ops.mean(ops.square(x), axis=-1, keepdims=True) + self.epsilon)
        shape = ops.shape(x)
        x = ops.reshape(x, (*shape[:-1], self.num_groups, x.shape[-1] // self.num_groups))
        x = x * ops.rsqrt(ops.mean(ops.square(x), axis=-1, keepdims=True) + self.epsilon)
        return ops.reshape(x, shape)

    def compute_output_spec(self, x, gate):
        return keras.KerasTensor(x.shape, dtype=self.compute_dtype)
