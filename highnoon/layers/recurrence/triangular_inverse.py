"""The inverse of a matrix with ones on its diagonal and nothing above it."""

from __future__ import annotations

from keras import ops


def unit_triangular_inverse(lower):
    """Inverts I + lower by halves.

    ```
    inverse([[a, 0], [c, d]]) = [[inverse(a), 0], [-inverse(d) c inverse(a), inverse(d)]]
    ```

    Both halves are inverted as one batch, so that the depth is log2 of the size and all work is
    matrix products. It is as stable as substitution: it computes no power of `lower`, which would
    overflow where keys repeat.

    Args:
        lower: (.., t, t) with t a power of two; the diagonal and everything above it is not read.

    Returns:
        (.., t, t).
    """
    # One batch axis: TensorFlow slices tensors of at most eight axes.
    size = lower.shape[-1]
    return ops.reshape(_inverse(ops.reshape(lower, (-1, size, size))), ops.shape(lower))


def _inverse(lower):
    if lower.shape[-1] == 1:
        return ops.ones_like(lower)
    half = lower.shape[-1] // 2
    corner = lower[:, half:, :half]
    halves = ops.concatenate([lower[:, :half, :half], lower[:, half:, half:]], axis=0)
    first, second = ops.split(_inverse(halves), 2, axis=0)
    above = ops.concatenate([first, ops.zeros_like(first)], axis=-1)
    below = ops.concatenate([-(second @ corner) @ first, second], axis=-1)
    return ops.concatenate([above, below], axis=-2)
