"""Rotary positions as BDH has them: adjacent pairs, frequencies in turns."""

from __future__ import annotations

import math

import numpy as np
from keras import ops


def adjacent_rotation(x, positions, theta: float = 65536.0):
    """Rotates adjacent pairs of neurons by an angle that grows with the position.

    ```
    turns[t, i]  = positions[t] / theta ** (2 i / n) / (2 pi)
    angle[t, i]  = 2 pi (turns[t, i] mod 1)
    y[t, 2i]     = x[t, 2i] cos(angle[t, i]) - x[t, 2i+1] sin(angle[t, i])
    y[t, 2i+1]   = x[t, 2i+1] cos(angle[t, i]) + x[t, 2i] sin(angle[t, i])
    ```

    Angles are float32 under any dtype policy, and computed in the order of the published code.

    Args:
        x: (b, h, t, n), with even n.
        positions: (t,) or (b, t) integers.
        theta: Base wavelength.

    Returns:
        (b, h, t, n), the dtype of `x`.

    Su et al. 2021, RoFormer (arXiv:2104.09864), eq. 34.
    """
    pairs = x.shape[-1] // 2
    turns = ops.cast(positions, "float32")[..., None] * pair_frequencies(2 * pairs, theta)  # (.., t, n/2)
    angles = ops.mod(turns, 1.0) * (2 * math.pi)
    cosine, sine = ops.cos(angles), ops.sin(angles)
    if len(angles.shape) == 3:
        cosine, sine = cosine[:, None], sine[:, None]  # (b, 1, t, n/2)
    shape = ops.shape(x)
    wide = ops.reshape(ops.cast(x, "float32"), (*shape[:3], pairs, 2))
    first, second = wide[..., 0], wide[..., 1]
    rotated = ops.stack([first * cosine - second * sine, second * cosine + first * sine], axis=-1)
    return ops.cast(ops.reshape(rotated, (*shape[:3], 2 * pairs)), x.dtype)


def pair_frequencies(size: int, theta: float = 65536.0) -> np.ndarray:
    """Returns the turns of each pair of `size` neurons from one position to the next, (size / 2) float32."""
    even = np.arange(0, size, 2, dtype="float32")
    frequencies = np.float32(1.0) / np.float32(theta) ** (even / np.float32(size))
    return (frequencies / np.float32(2 * math.pi)).astype("float32")
