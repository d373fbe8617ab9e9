"""The experts that a token uses: the most likely ones of the router."""

from __future__ import annotations

from typing import Any

from keras import ops

UNUSED = -1e30
"""The log-weight of an expert that a token does not use: finite, and its exponential is 0."""


def kept_log_weights(log_weights: Any, top_k: int | None) -> Any:
    """Returns the log-weights of the `top_k` largest experts of each token, renormalized.

    ```
    w'[k] = w[k] / sum of the kept w        for the top_k largest, of equal ones the first;  0 for the others
    ```

    Args:
        log_weights: (b, t, e), whose exponentials sum to 1.
        top_k: Experts of a token, from 1 to e; None keeps all.

    Returns:
        (b, t, e) float32, `UNUSED` where an expert is not kept.

    Example:

    ```python
    import numpy as np
    from highnoon.experts.kept_experts import kept_log_weights

    kept = kept_log_weights(np.log(np.array([[[0.5, 0.2, 0.3]]], "float32")), top_k=2)
    assert np.allclose(np.exp(kept), [[[0.625, 0, 0.375]]])
    ```
    """
    num_experts = log_weights.shape[-1]
    if top_k is None or top_k == num_experts:
        return log_weights
    _, kept = ops.top_k(log_weights, top_k)
    is_kept = ops.any(ops.one_hot(kept, num_experts, dtype="bool"), axis=-2)
    scores = ops.where(is_kept, ops.cast(log_weights, "float32"), UNUSED)
    return ops.where(is_kept, ops.log_softmax(scores, axis=-1), UNUSED)


def is_used(log_weights: Any) -> Any:
    """Returns whether each token uses each expert, bool of the shape of `log_weights`."""
    return log_weights > UNUSED / 2
