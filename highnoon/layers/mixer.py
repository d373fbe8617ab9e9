"""The protocol of a mixer: the layer of a reasoning block through which tokens see one another."""

from __future__ import annotations

from typing import Any

import keras

from highnoon.layers.configured_layer import ConfiguredLayer


class Mixer(ConfiguredLayer):
    """Base class of the mixers of a reasoning block.

    A subclass defines `build`, `call`, `initial_cache` and `step`. `get_config` follows from its constructor,
    and the output has the shape of the input. `highnoon.testing.check_mixer` tests the whole protocol.

    A mixer that depends on its index in the stack takes a further argument `level` in `call` and `step`, a
    Python integer from 0.

    Attention that can see a block both ways takes further arguments for block diffusion: `block_ids` in
    `call` and `blocks` in `step`, see `highnoon.layers.attention.block_mask`.

    For a recurrence use `highnoon.layers.linear_scan`: `ops.scan` and `ops.associative_scan` do not compile
    under XLA.

    Attributes:
        is_causal: Whether no output depends on a later token. A mixer that sets this to False has no `step`;
            `create_model` takes it for classification, embedding and block diffusion alone, and generation
            and the next-token loss refuse it.

        is_quantizable: Whether the kernels are those of layers that `quantize` changes.

    Example:

    ```python
    import numpy as np
    from keras import ops
    from highnoon.layers import Mixer

    class RunningMean(Mixer):
        def build(self, x_shape):
            self.scale = self.add_weight((x_shape[-1],), initializer="ones", name="scale")

        def call(self, x, segment_ids=None, positions=None, training=None):
            time = ops.arange(ops.shape(x)[1])
            seen = ops.cast(time[None, :, None] >= time[None, None, :], x.dtype)
            if segment_ids is not None:
                seen = seen * ops.cast(segment_ids[:, :, None] == segment_ids[:, None, :], x.dtype)
            return self.scale * ops.matmul(seen, x) / ops.sum(seen, -1, keepdims=True)

        def initial_cache(self, batch_size, max_length, dtype=None):
            width = self.scale.shape[0]
            return {"sum": ops.zeros((batch_size, width)), "count": ops.zeros((batch_size, 1))}

        def step(self, x, cache, index, padding=None):
            slots = index + ops.arange(ops.shape(x)[1])
            seen = ops.ones_like(x[..., 0], "float32")
            if padding is not None:
                seen = ops.cast(slots >= padding[:, None], "float32")
            sums = cache["sum"][:, None] + ops.cumsum(ops.cast(x, "float32") * seen[..., None], axis=1)
            counts = cache["count"][:, None] + ops.cumsum(seen, axis=1)[..., None]
            new = {"sum": sums[:, -1], "count": counts[:, -1]}
            return ops.cast(self.scale * sums / ops.maximum(counts, 1.0), self.compute_dtype), new

    y = RunningMean()(np.ones((2, 5, 32), "float32"))
    ```
    """

    is_causal: bool = True
    is_quantizable: bool = True

    def call(self, x, segment_ids=None, positions=None, training=None):
        """Mixes tokens.

        Args:
            x: (b, t, d).
            segment_ids: (b, t) integers. Nothing passes between tokens of different segments: attention is
                masked, states and convolutions restart. 0 marks padding. None for a single segment.
            positions: (t,) or (b, t) integers, each token's position in its document; None for `0 .. t-1`.
            training: Whether dropout acts.

        Returns:
            y (b, t, d), or `(y, Report)` where the mixer has a loss or metrics of its own.
        """
        raise NotImplementedError(f"{type(self).__name__} must define `call`")

    def initial_cache(self, batch_size: int, max_length: int, dtype: Any = None) -> dict[str, Any]:
        """Returns the empty decoding state for `max_length` tokens.

        Args:
            batch_size: Rows b.
            max_length: Tokens that the state must hold; a recurrent mixer needs the same space for any.
            dtype: Of what the state stores of tokens; None takes the layer's compute dtype.

        Returns:
            A nested dict of arrays of static shape, the first axis b.
        """
        raise NotImplementedError(f"{type(self).__name__} must define `initial_cache` to decode")

    def step(self, x, cache, index, padding=None):
        """Continues with new tokens: a prompt of many, or one at a time.

        `step` on a prompt and then on each further token gives what `call` gives on all of them. Keras casts
        weights to the compute dtype in `call` alone; `step` casts them where it needs to.

        Args:
            x: (b, t, d), the tokens at positions index .. index+t-1 of the cache.
            cache: What `initial_cache` or an earlier step returned.
            index: Position of the first new token, a scalar, static or not.
            padding: (b,) integers, how many positions at the front of each row hold padding; None for 0.

        Returns:
            y (b, t, d) and the new cache, of the same shapes.
        """
        raise NotImplementedError(f"{type(self).__name__} must define `step` to decode")

    def compute_output_spec(self, x, segment_ids=None, positions=None, training=None):
        return keras.KerasTensor(x.shape, dtype=self.compute_dtype)
