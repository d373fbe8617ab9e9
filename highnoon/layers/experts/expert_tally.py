"""Counts the tokens of each expert since the last training step."""

from __future__ import annotations

import keras
from keras import ops


class ExpertTally:
    """Adds up loads over the micro-batches of a step.

    It is zero between steps, so it is no weight of a layer and in no checkpoint. Under JAX a compiled
    function cannot update it, and counts are lost there.

    Args:
        num_experts: Experts.

    Example:

    ```python
    from highnoon.layers.experts.expert_tally import ExpertTally

    tally = ExpertTally(2)
    tally.add([3.0, 1.0], 4.0)
    load, num_tokens = tally.take()
    ```
    """

    def __init__(self, num_experts: int) -> None:
        self.counts = keras.Variable(
            "zeros",
            shape=(num_experts + 1,),
            dtype="float32",
            trainable=False,
            autocast=False,
            name="expert_tally",
            aggregation="sum",
        )

    def add(self, load, num_tokens) -> None:
        """Adds the choices (e,) that fell on each expert, and the number of tokens."""
        counts = ops.concatenate(
            [ops.convert_to_tensor(load, "float32"), ops.reshape(ops.convert_to_tensor(num_tokens), (1,))]
        )
        if not _is_traced_by_jax(counts):
            self.counts.assign_add(counts)

    def take(self):
        """Returns the load (e,) and the number of tokens, and resets both to zero."""
        counts = ops.convert_to_tensor(self.counts) + 0.0  # a copy: the variable changes next
        self.counts.assign(ops.zeros_like(counts))
        return counts[:-1], counts[-1]


def _is_traced_by_jax(value) -> bool:
    if keras.backend.backend() != "jax":
        return False
    import jax

    return isinstance(value, jax.core.Tracer)
