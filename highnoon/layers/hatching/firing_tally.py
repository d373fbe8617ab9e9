"""Counts spikes over the micro-batches of a step, from which gains follow."""

from __future__ import annotations

import keras
from keras import ops

_MOST = 2.0  # times that a rate counts as off its target, in either direction


class FiringTally:
    """Adds up how many neurons fire at how many tokens, for each level.

    It is zero between steps, so it is no weight of a layer and in no checkpoint. Replicas add up theirs.
    Under JAX a compiled function cannot update it, and counts are lost there.

    Args:
        num_levels: Applications of the layer in a model.

    Example:

    ```python
    import numpy as np
    from highnoon.layers.hatching.firing_tally import FiringTally

    tally = FiringTally(2)
    tally.add(0, rate=0.4, num_tokens=10.0)
    assert np.allclose(tally.take_errors(target=0.2), [[0.5], [1.0]])  # level 1 was not counted
    ```
    """

    def __init__(self, num_levels: int) -> None:
        self.counts = keras.Variable(
            "zeros",
            shape=(num_levels, 2),
            dtype="float32",
            trainable=False,
            autocast=False,
            name="firing_tally",
            aggregation="sum",
        )

    def add(self, level: int, rate, num_tokens) -> None:
        """Adds the mean rate of a call's tokens, and their number."""
        num_tokens = ops.cast(num_tokens, "float32")
        counts = ops.stack([ops.cast(rate, "float32") * num_tokens, num_tokens])
        if not _is_traced_by_jax(counts):
            row = ops.cast(ops.arange(self.counts.shape[0]) == level, "float32")
            self.counts.assign_add(row[:, None] * counts[None])

    def take_errors(self, target: float):
        """Returns `target / rate` of each level (levels, 1), in [1/2, 2], and resets the counts to zero.

        A level without tokens has 1.
        """
        counts = ops.convert_to_tensor(self.counts) + 0.0  # a copy: the variable changes next
        self.counts.assign(ops.zeros_like(counts))
        fired, tokens = counts[:, :1], counts[:, 1:]
        rate = ops.clip(fired / ops.maximum(tokens, 1.0), target / _MOST, target * _MOST)
        return ops.where(tokens > 0, target / rate, 1.0)


def _is_traced_by_jax(value) -> bool:
    if keras.backend.backend() != "jax":
        return False
    import jax

    return isinstance(value, jax.core.Tracer)
