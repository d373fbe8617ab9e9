"""The log-probabilities of a mixture of distributions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from keras import ops


def mixed_log_probs(log_weights: Any, logits: Iterable[Any]) -> Any:
    """Returns `log sum_k exp(log_weights[k]) softmax(logits[k])`, one expert after the other.

    (experts x vocabulary) numbers a token are never in memory.

    Args:
        log_weights: (b, t, k), whose exponentials sum to 1.
        logits: k arrays (b, t, v).

    Returns:
        (b, t, v) float32.

    Example:

    ```python
    import numpy as np
    from highnoon.experts.mixed_log_probs import mixed_log_probs

    halves = np.full((1, 1, 2), np.log(0.5), "float32")
    distributions = [np.array([[[0.9, 0.1]]]), np.array([[[0.5, 0.5]]])]
    mixed = mixed_log_probs(halves, [np.log(p).astype("float32") for p in distributions])
    assert np.allclose(np.exp(mixed), [[[0.7, 0.3]]])
    ```
    """
    mixed = None
    for number, given in enumerate(logits):
        part = log_weights[..., number, None] + ops.log_softmax(ops.cast(given, "float32"), axis=-1)
        mixed = part if mixed is None else ops.logaddexp(mixed, part)
    return mixed
