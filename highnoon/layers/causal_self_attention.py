"""Grouped-query causal self-attention with rotary positions."""

from __future__ import annotations

import keras
from keras import ops

from highnoon.layers.attention import cached_attention, causal_attention
from highnoon.layers.rotary_embedding import RotaryEmbedding


@keras.saving.register_keras_serializable(package="highnoon")
class CausalSelfAttention(keras.layers.Layer):
    """Mixes each token with the earlier tokens of its own segment.

    ```
    q, k, v = x Wq, x Wk, x Wv            (h query heads share g key and value heads)
    a[t, s] = softmax over s <= t of  rope(q[t]) . rope(k[s]) / sqrt(k)
    y[t]    = (sum_s a[t, s] v[s]) Wo
    ```

    Args:
        num_heads: Query heads, a divisor of the model's width.
        num_kv_heads: Key and value heads, a divisor of `num_heads`; None takes `num_heads`.
        rope_theta: Base wavelength of the rotary positions.
        dropout: Rate on the output while training, in [0, 1).
        chunk_length: Above this length, attention is taken in chunks of memory linear in time.
        kernel_initializer: Of the query, key and value kernels.
        output_initializer: Of the output kernel; None takes `kernel_initializer`.

    Inputs: x (b, t, d); segment_ids (b, t), tokens attend only within equal ones; positions
        (t,) or (b, t), the place in the document, `0 .. t-1` where it is None.
    Returns: (b, t, d). Rows of padding are finite and mean nothing.

    Raises:
        ValueError: head counts that do not divide, or a rate out of its range.

    Example:

    ```python
    import numpy as np
    from highnoon.layers import CausalSelfAttention

    y = CausalSelfAttention(num_heads=4, num_kv_heads=2)(np.ones((2, 5, 32), "float32"))
    ```

    Vaswani et al. 2017 (arXiv:1706.03762), eq. 1; grouped heads: Ainslie et al. 2023
    (arXiv:2305.13245).
    """

    def __init__(
        self,
        num_heads: int,
        num_kv_heads: int | None = None,
        rope_theta: float = 10000.0,
        dropout: float = 0.0,
        chunk_length: int = 512,
        kernel_initializer="glorot_uniform",
        output_initializer=None,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.num_kv_heads = num_kv_heads or num_heads
        if num_heads < 1 or num_heads % self.num_kv_heads:
            raise ValueError(
                f"`num_heads` must be a multiple of num_kv_heads={self.num_kv_heads}; received {num_heads}"
            )
        if not 0 <= dropout < 1:
            raise ValueError(f"`dropout` must be in [0, 1); received {dropout}")
        if chunk_length < 1:
            raise ValueError(f"`chunk_length` must be at least 1; received {chunk_length}")
        self.rope_theta = rope_theta
        self.dropout = dropout
        self.chunk_length = chunk_length
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.output_initializer = keras.initializers.get(output_initializer)

    def build(self, x_shape) -> None:
        width = x_shape[-1]
        if width % (2 * self.num_heads):
            raise ValueError(
                f"the width must be a multiple of 2 * num_heads={2 * self.num_heads}; received {width}"
            )
        self.head_dim = width // self.num_heads
        kv_width = self.num_kv_heads * self.head_dim
        out_initializer = self.output_initializer or self.kernel_initializer
        self.query = self._projection("query", width, self.kernel_initializer, width)
        self.key = self._projection("key", kv_width, self.kernel_initializer, width)
        self.value = self._projection("value", kv_width, self.kernel_initializer, width)
        self.attention_output = self._projection("attention_output", width, out_initializer, width)
        self.rotary = RotaryEmbedding(self.rope_theta, dtype=self.dtype_policy, name="rotary")
        self.rotary.build((None, None, self.num_heads, self.head_dim))
        if self.dropout:
            self.seed_generator = keras.random.SeedGenerator(name="dropout")

    def _projection(self, name: str, units: int, initializer, width: int):
        layer = keras.layers.Dense(
            units, use_bias=False, kernel_initializer=_fresh(initializer), dtype=self.dtype_policy, name=name
        )
        layer.build((None, None, width))
        return layer

    def call(self, x, segment_ids=None, positions=None, training=None):
        if positions is None:
            positions = ops.arange(ops.shape(x)[1])
        query, key, value = self._heads(x, positions)
        mixed = causal_attention(query, key, value, segment_ids, self.chunk_length)
        y = self.attention_output(self._merge(mixed))
        if training and self.dropout:
            y = keras.random.dropout(y, self.dropout, seed=self.seed_generator)
        return y

    def initial_cache(self, batch_size: int, max_length: int, dtype=None):
        """Returns zeros for `max_length` tokens: {"key", "value"}, each (b, s, g, k)."""
        shape = (batch_size, max_length, self.num_kv_heads, self.head_dim)
        dtype = dtype or self.compute_dtype
        return {"key": ops.zeros(shape, dtype), "value": ops.zeros(shape, dtype)}

    def step(self, x, cache, index, padding=None):
        """Mixes new tokens with the cache and puts them into it.

        Args:
            x: (b, t, d), the tokens at places index .. index+t-1.
            cache: What `initial_cache` or an earlier step returned.
            index: Place of the first new token, a scalar, static or not.
            padding: (b,) whole numbers, how many places at the front hold padding; None for 0.

        Returns: y (b, t, d) and the new cache.
        """
        index = ops.cast(index, "int32")
        places = index + ops.arange(x.shape[1], dtype="int32")
        padding = None if padding is None else ops.cast(padding, "int32")
        positions = places if padding is None else places[None, :] - padding[:, None]
        query, key, value = self._heads(x, positions)
        start = [0, index, 0, 0]
        cache = {
            "key": ops.slice_update(cache["key"], start, ops.cast(key, cache["key"].dtype)),
            "value": ops.slice_update(cache["value"], start, ops.cast(value, cache["value"].dtype)),
        }
        keys, values = (ops.cast(cache[name], query.dtype) for name in ("key", "value"))
        mixed = cached_attention(query, keys, values, index, padding, self.chunk_length)
        return self.attention_output(self._merge(mixed)), cache

    def _heads(self, x, positions):
        """Projects, splits heads and turns: query (b, t, g, r, k), key and value (b, t, g, k)."""
        batch, time = ops.shape(x)[0], ops.shape(x)[1]
        query = ops.reshape(self.query(x), (batch, time, self.num_heads, self.head_dim))
        key = ops.reshape(self.key(x), (batch, time, self.num_kv_heads, self.head_dim))
        value = ops.reshape(self.value(x), (batch, time, self.num_kv_heads, self.head_dim))
        query, key = self.rotary(query, positions), self.rotary(key, positions)
        group = self.num_heads // self.num_kv_heads
        return ops.reshape(query, (batch, time, self.num_kv_heads, group, self.head_dim)), key, value

    def _merge(self, heads):
        return ops.reshape(heads, (*ops.shape(heads)[:2], self.num_heads * self.head_dim))

    def compute_output_spec(self, x, segment_ids=None, positions=None, training=None):
        return keras.KerasTensor(x.shape, dtype=self.compute_dtype)

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "num_kv_heads": self.num_kv_heads,
            "rope_theta": self.rope_theta,
            "dropout": self.dropout,
            "chunk_length": self.chunk_length,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "output_initializer": keras.initializers.serialize(self.output_initializer)
            if self.output_initializer else None,
        }


def _fresh(initializer):
    """A copy with a seed of its own: one seeded initializer object repeats its values."""
    return initializer.__class__.from_config(initializer.get_config())
