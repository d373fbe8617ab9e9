"""Causal self-attention whose queries, keys and values see the last few tokens."""

from __future__ import annotations

import keras
from keras import ops

from highnoon.config import require_count
from highnoon.layers.attention.causal_self_attention import CausalSelfAttention
from highnoon.layers.recurrence.causal_convolution import CausalConvolution


@keras.saving.register_keras_serializable(package="highnoon")
class ConvolvedAttention(CausalSelfAttention):
    """Causal self-attention after a depthwise convolution of queries, keys and values.

    ```
    u       = x [Wq Wk Wv]
    q, k, v = split(sum_j C[j] * u[t - (conv_kernel_size - 1) + j])          within the segment
    y       = attention(q, k, v) Wo                                          as in `CausalSelfAttention`
    ```

    A key can hold the tokens before its own, so one layer finds where the last tokens occurred earlier and
    copies what followed (an induction head). Without the convolution this takes two layers.

    Args:
        num_heads: As in `CausalSelfAttention`.
        conv_kernel_size: Positions that the convolution covers, the token's own included; at least 1.
        **kwargs: The further arguments of `CausalSelfAttention`.

    Inputs:
        x (b, t, d); segment_ids (b, t), tokens attend only within equal ones, and the convolution restarts
        where they change; positions (t,) or (b, t), `0 .. t-1` if it is None.

    Returns:
        (b, t, d). Padding gives finite values without meaning.

    Raises:
        ValueError: As `CausalSelfAttention`, or `conv_kernel_size` is below 1.

    Example:

    ```python
    import numpy as np
    from highnoon.layers import ConvolvedAttention

    y = ConvolvedAttention(num_heads=4, conv_kernel_size=3)(np.ones((2, 5, 32), "float32"))
    ```

    So et al. 2021, Primer (arXiv:2109.08668), section 4.2, with a convolution over 3 positions.
    """

    def __init__(self, num_heads: int, conv_kernel_size: int = 4, **kwargs) -> None:
        super().__init__(num_heads, **kwargs)
        self.conv_kernel_size = require_count("conv_kernel_size", conv_kernel_size)

    def build(self, x_shape) -> None:
        super().build(x_shape)
        self.sizes = tuple(layer.kernel.shape[-1] for layer in (self.query, self.key, self.value))
        self.conv1d = CausalConvolution(
            self.conv_kernel_size, use_bias=False, dtype=self.dtype_policy, name="conv1d"
        )
        self.conv1d.build((None, None, sum(self.sizes)))

    def call(self, x, segment_ids=None, positions=None, training=None):
        convolved = self.conv1d(ops.concatenate(self._project(x), axis=-1), segment_ids=segment_ids)
        return self._attend(self._split(convolved), segment_ids, positions, training)

    def initial_cache(self, batch_size: int, max_length: int, dtype=None):
        """Returns zeros: {"key", "value"} of `CausalSelfAttention`, {"inputs"} of the convolution."""
        cache = super().initial_cache(batch_size, max_length, dtype)
        return {**cache, **self.conv1d.initial_cache(batch_size, max_length, dtype)}

    def step(self, x, cache, index, padding=None):
        """Mixes new tokens with the cache and adds them to it; arguments as in `CausalSelfAttention`."""
        joined = ops.concatenate(self._project(x), axis=-1)
        convolved, inputs = self.conv1d.step(joined, {"inputs": cache["inputs"]}, index, padding)
        stored = {name: cache[name] for name in ("key", "value")}
        y, stored = self._attend_cached(self._split(convolved), stored, index, padding)
        return y, {**stored, **inputs}

    def _split(self, joined):
        query, key, _ = self.sizes
        return joined[..., :query], joined[..., query : query + key], joined[..., query + key :]
