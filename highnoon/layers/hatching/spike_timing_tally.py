"""Sums spike timing over the micro-batches of a step, and changes weights by it once."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import ops

from highnoon.config import require_number


class SpikeTimingTally:
    """Adds up what `spike_timing_sums` gives over a step's calls.

    It is zero between steps, so it is no weight of a layer and in no checkpoint. Replicas add up theirs. It
    takes as much memory as the weights that it changes. Under JAX a compiled function cannot update it, and
    sums are lost there.

    Args:
        shape: Of the weights.
        rate: Factor on the mean over tokens, at least 0.
        most: Largest change of one weight in a step, above 0.

    Raises:
        ConfigError: `rate` or `most` is out of its range.

    Example:

    ```python
    import numpy as np
    from highnoon.layers.hatching.spike_timing_tally import SpikeTimingTally

    tally = SpikeTimingTally((2, 1), rate=0.5, most=0.1)
    tally.add(np.array([[1.0], [-0.2]]), num_tokens=2)
    assert np.allclose(tally.take(), [[0.1], [-0.05]])  # 0.5 * 1.0 / 2 is more than 0.1
    ```
    """

    def __init__(self, shape: Sequence[int], rate: float = 1.0, most: float = 1e-3) -> None:
        self.rate = require_number("rate", rate, least=0)
        self.most = require_number("most", most, above=0)
        self.sums = _counter(tuple(shape), "spike_timing_sums")
        self.num_tokens = _counter((), "spike_timing_tokens")

    @property
    def variables(self) -> list[keras.Variable]:
        """What a layer names in its `step_variables`."""
        return [self.sums, self.num_tokens]

    def add(self, sums, num_tokens) -> None:
        """Adds the sums of a call, and the tokens that are not padding.

        Args:
            sums: Of the shape of the weights.
            num_tokens: A scalar; 0 for a further application of the same weights to the same tokens.
        """
        sums = ops.convert_to_tensor(sums, "float32")
        if not _is_traced_by_jax(sums):
            self.sums.assign_add(sums)
            self.num_tokens.assign_add(ops.cast(num_tokens, "float32"))

    def take(self):
        """Returns the change of the weights, and resets the sums to zero.

        ```
        change = clip(rate * sums / num_tokens, -most, most)
        ```
        """
        change = self.rate * ops.convert_to_tensor(self.sums) / ops.maximum(self.num_tokens, 1.0)
        self.sums.assign(ops.zeros_like(change))
        self.num_tokens.assign(0.0)
        return ops.clip(change, -self.most, self.most)


def _counter(shape: tuple[int, ...], name: str) -> keras.Variable:
    return keras.Variable(
        "zeros",
        shape=shape,
        dtype="float32",
        trainable=False,
        autocast=False,
        name=name,
        aggregation="sum",
    )


def _is_traced_by_jax(value) -> bool:
    if keras.backend.backend() != "jax":
        return False
    import jax

    return isinstance(value, jax.core.Tracer)
