"""Rotary position embedding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from highnoon.config import require_number
from highnoon.layers.attention.rope_frequencies import check_rope_scaling, longest_sequence, rope_frequencies
from highnoon.layers.configured_layer import ConfiguredLayer


@keras.saving.register_keras_serializable(package="highnoon")
class RotaryEmbedding(ConfiguredLayer):
    """Rotates pairs of features by an angle that grows with the position.

    ```
    angle[t, i] = positions[t] / theta ** (2 i / k)
    y[t, i]         = x[t, i] cos(angle[t, i]) - x[t, i + k/2] sin(angle[t, i])
    y[t, i + k/2]   = x[t, i + k/2] cos(angle[t, i]) + x[t, i] sin(angle[t, i])
    ```

    The product of two rotated vectors depends only on the difference of their positions. Angles are
    float32 under any dtype policy.

    Args:
        theta: Base wavelength, above 0.
        scaling: Scaling of the frequencies, a dict for `rope_frequencies`; None for no scaling.

    Inputs:
        x (b, t, h, k) with even k; positions (t,) or (b, t), integers.

    Returns:
        (b, t, h, k), the dtype of `x`.

    Raises:
        ValueError: `theta` is not above 0, k is odd, `scaling` is invalid, or a sequence is longer than a
            scaling of type `"longrope"` allows.

    Example:

    ```python
    import numpy as np
    from highnoon.layers import RotaryEmbedding

    y = RotaryEmbedding()(np.ones((2, 5, 4, 8), "float32"), np.arange(5))
    ```

    Su et al. 2021, RoFormer (arXiv:2104.09864), eq. 34, with the two halves of the features as
    the pairs in place of neighbors.
    """

    def __init__(self, theta: float = 10000.0, scaling: Mapping[str, Any] | None = None, **kwargs) -> None:
        super().__init__(**kwargs)
        require_number("theta", theta, above=0)
        check_rope_scaling(theta, scaling)
        self.theta = theta
        self.scaling = None if scaling is None else dict(scaling)

    def build(self, x_shape, positions_shape=None) -> None:
        if x_shape[-1] % 2:
            raise ValueError(f"the head size must be even, since pairs are rotated; received {x_shape[-1]}")
        rope_frequencies(x_shape[-1], self.theta, self.scaling)  # raises if the scaling does not fit

    def call(self, x, positions):
        length, most = x.shape[1], longest_sequence(self.scaling)
        if most is not None and length is not None and length > most:
            raise ValueError(
                f"a sequence must have at most original_max_position_embeddings={most} tokens, since "
                f"`rope_scaling` of type 'longrope' has other frequencies beyond; received {length}"
            )
        half = x.shape[-1] // 2
        frequencies, magnitude = rope_frequencies(x.shape[-1], self.theta, self.scaling)
        angles = ops.cast(positions, "float32")[..., None, None] * frequencies  # (.., t, 1, k/2)
        cosine, sine = ops.cos(angles), ops.sin(angles)
        if magnitude != 1.0:
            cosine, sine = cosine * magnitude, sine * magnitude
        wide = ops.cast(x, "float32")
        first, second = wide[..., :half], wide[..., half:]
        rotated = ops.concatenate([first * cosine - second * sine, second * cosine + first * sine], axis=-1)
        return ops.cast(rotated, x.dtype)

    def compute_output_spec(self, x, positions):
        return keras.KerasTensor(x.shape, dtype=x.dtype)
