"""Grouped-query causal self-attention with rotary positions."""

from __future__ import annotations

import keras
from keras import ops

from highnoon.config import require_count, require_number
from highnoon.layers.attention.block_mask import BlockStep
from highnoon.layers.attention.blockwise_attention import cached_attention, causal_attention
from highnoon.layers.attention.rotary_embedding import RotaryEmbedding
from highnoon.layers.built_dense import built_dense
from highnoon.layers.mixer import Mixer


@keras.saving.register_keras_serializable(package="highnoon")
class CausalSelfAttention(Mixer):
    """Mixes each token with the earlier tokens of its own segment.

    ```
    q, k, v = x Wq + bq, x Wk + bk, x Wv + bv   (h query heads share g key and value heads)
    q, k    = rms_norm(q), rms_norm(k)                       where `qk_norm`
    a[t, s] = softmax over t - window < s <= t of  cap(rope(q[t]) . rope(k[s]) * softmax_scale)
    y[t]    = (sum_s a[t, s] v[s]) Wo + bo
    ```

    where `cap(z) = softcap * tanh(z / softcap)`, or z without a cap.

    Args:
        num_heads: Query heads; without `head_dim` a divisor of the model's width.
        num_kv_heads: Key and value heads, a divisor of `num_heads`; None takes `num_heads`.
        head_dim: Size k of one head, even; None takes the width over `num_heads`.
        qk_norm: Whether each head's query and key pass through an RMS norm before they are rotated.
        norm_epsilon: Added to the mean square inside it.
        window: How many tokens, itself included, a token attends to; None for all before it.
        rope_theta: Base wavelength of the rotary positions.
        rope_scaling: Scaling of their frequencies, see `RotaryEmbedding`; None for no scaling.
        use_rotary: Whether queries and keys are rotated; positions have no effect without it.
        qkv_bias: Whether queries, keys and values have biases, initially zeros.
        output_bias: Whether the output has a bias, initially zeros.
        softmax_scale: Factor on the scores; None takes 1 / sqrt(k).
        softcap: Bound of the scores' absolute value, above 0; None for no bound.
        dropout: Rate on the output while training, in [0, 1).
        chunk_length: Queries that attend at one time; None for 128 to 512, depending on the length.
        kernel_initializer: Of the query, key and value kernels.
        output_initializer: Of the output kernel; None takes `kernel_initializer`.

    Inputs:
        x (b, t, d); segment_ids (b, t), tokens attend only within equal ones; positions (t,) or (b, t), the
        position in the document, `0 .. t-1` if it is None; block_ids (b, t) for block diffusion, see
        `highnoon.layers.attention.block_mask`: tokens attend as `may_see` says, whatever their order.

    Returns:
        (b, t, d). Padding gives finite values without meaning.

    Raises:
        ValueError: head counts that do not divide, or a rate is out of its range.

    Example:

    ```python
    import numpy as np
    from highnoon.layers import CausalSelfAttention

    y = CausalSelfAttention(num_heads=4, num_kv_heads=2)(np.ones((2, 5, 32), "float32"))
    ```

    Vaswani et al. 2017 (arXiv:1706.03762), eq. 1; grouped heads: Ainslie et al. 2023
    (arXiv:2305.13245); caps: Gemma Team 2024, Gemma 2 (arXiv:2408.00118), section 2.
    """

    def __init__(
        self,
        num_heads: int,
        num_kv_heads: int | None = None,
        head_dim: int | None = None,
        qk_norm: bool = False,
        norm_epsilon: float = 1e-6,
        window: int | None = None,
        rope_theta: float = 10000.0,
        rope_scaling: dict | None = None,
        dropout: float = 0.0,
        chunk_length: int | None = None,
        kernel_initializer="glorot_uniform",
        output_initializer=None,
        use_rotary: bool = True,
        qkv_bias: bool = False,
        output_bias: bool = False,
        softmax_scale: float | None = None,
        softcap: float | None = None,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.num_kv_heads = num_heads if num_kv_heads is None else num_kv_heads
        for name, size in (
            ("num_heads", num_heads),
            ("num_kv_heads", self.num_kv_heads),
            ("chunk_length", chunk_length),
            ("head_dim", head_dim),
            ("window", window),
        ):
            if size is not None:
                require_count(name, size)
        if num_heads % self.num_kv_heads:
            raise ValueError(
                f"`num_heads` must be a multiple of num_kv_heads={self.num_kv_heads}; received {num_heads}"
            )
        require_number("dropout", dropout, least=0, below=1)
        require_number("norm_epsilon", norm_epsilon, above=0)
        for name, number in (("softmax_scale", softmax_scale), ("softcap", softcap)):
            if number is not None:
                require_number(name, number, above=0)
        if head_dim is not None and head_dim % 2:
            raise ValueError(f"`head_dim` must be even, since positions rotate pairs; received {head_dim}")
        self.given_head_dim = head_dim
        self.qk_norm = qk_norm
        self.norm_epsilon = norm_epsilon
        self.window = window
        self.rope_theta = rope_theta
        self.rope_scaling = rope_scaling
        self.use_rotary = use_rotary
        self.qkv_bias = qkv_bias
        self.output_bias = output_bias
        self.softmax_scale = softmax_scale
        self.softcap = softcap
        self.dropout = dropout
        self.chunk_length = chunk_length
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.output_initializer = keras.initializers.get(output_initializer)

    def build(self, x_shape) -> None:
        width = x_shape[-1]
        if self.given_head_dim is None and width % (2 * self.num_heads):
            raise ValueError(
                f"the width must be a multiple of 2 * num_heads={2 * self.num_heads}, "
                f"or set `head_dim`; received {width}"
            )
        self.head_dim = self.given_head_dim or width // self.num_heads
        query_dim, kv_dim = self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim
        out_initializer = self.output_initializer or self.kernel_initializer
        policy = self.dtype_policy
        bias = self.qkv_bias
        self.query = built_dense("query", width, query_dim, self.kernel_initializer, policy, bias)
        self.key = built_dense("key", width, kv_dim, self.kernel_initializer, policy, bias)
        self.value = built_dense("value", width, kv_dim, self.kernel_initializer, policy, bias)
        self.attention_output = built_dense(
            "attention_output", query_dim, width, out_initializer, policy, self.output_bias
        )
        if self.qk_norm:
            self.query_norm, self.key_norm = self._norm("query_norm"), self._norm("key_norm")
        if self.use_rotary:
            self.rotary = RotaryEmbedding(self.rope_theta, self.rope_scaling, dtype=policy, name="rotary")
            self.rotary.build((None, None, self.num_heads, self.head_dim))
        if self.dropout:
            self.seed_generator = keras.random.SeedGenerator(name="dropout")

    def _norm(self, name: str):
        norm = keras.layers.RMSNormalization(epsilon=self.norm_epsilon, dtype=self.dtype_policy, name=name)
        norm.build((None, None, None, self.head_dim))
        return norm

    def call(self, x, segment_ids=None, positions=None, training=None, block_ids=None):
        return self._attend(self._project(x), segment_ids, positions, training, block_ids)

    def _attend(self, projected, segment_ids, positions, training, block_ids=None):
        if positions is None:
            positions = ops.arange(ops.shape(projected[0])[1])
        query, key, value = self._heads(projected, positions)
        mixed = causal_attention(
            query,
            key,
            value,
            segment_ids,
            self.chunk_length,
            self.window,
            self.softmax_scale,
            self.softcap,
            block_ids,
            positions,
        )
        y = self.attention_output(self._merge(mixed))
        if training and self.dropout:
            y = keras.random.dropout(y, self.dropout, seed=self.seed_generator)
        return y

    def initial_cache(self, batch_size: int, max_length: int, dtype=None):
        """Returns zeros for `max_length` tokens: {"key", "value"}, each (b, g, s, k)."""
        shape = (batch_size, self.num_kv_heads, max_length, self.head_dim)
        dtype = dtype or self.compute_dtype
        return {"key": ops.zeros(shape, dtype), "value": ops.zeros(shape, dtype)}

    def step(self, x, cache, index, padding=None, blocks: BlockStep | None = None):
        """Mixes new tokens with the cache and adds them to it.

        Args:
            x: (b, t, d), the tokens at positions index .. index+t-1.
            cache: What `initial_cache` or an earlier step returned.
            index: Position of the first new token, a scalar, static or not.
            padding: (b,) integers, how many positions at the front are padding; None for 0.
            blocks: How the tokens are decoded in blocks, see `BlockStep`; None for causal attention.

        Returns:
            y (b, t, d) and the new cache.
        """
        return self._attend_cached(self._project(x), cache, index, padding, blocks)

    def _attend_cached(self, projected, cache, index, padding, blocks=None):
        index = ops.cast(index, "int32")
        new_slots = index + ops.arange(projected[0].shape[1], dtype="int32")
        padding = None if padding is None else ops.cast(padding, "int32")
        positions = new_slots if padding is None else new_slots[None, :] - padding[:, None]
        query, key, value = self._heads(projected, positions)
        new = {"key": ops.swapaxes(key, 1, 2), "value": ops.swapaxes(value, 1, 2)}
        if blocks is None or not blocks.is_noisy:
            cache = {
                name: ops.slice_update(old, [0, 0, index, 0], ops.cast(new[name], old.dtype))
                for name, old in cache.items()
            }
        keys, values = (ops.cast(cache[name], query.dtype) for name in ("key", "value"))
        if blocks is not None and blocks.is_noisy:
            keys = ops.concatenate([keys, new["key"]], axis=2)
            values = ops.concatenate([values, new["value"]], axis=2)
        mixed = cached_attention(
            query,
            keys,
            values,
            index,
            padding,
            self.chunk_length,
            self.window,
            self.softmax_scale,
            self.softcap,
            blocks,
        )
        return self.attention_output(self._merge(mixed)), cache

    def _project(self, x):
        """Returns the query (b, t, h k), and key and value (b, t, g k), before heads are split."""
        return self.query(x), self.key(x), self.value(x)

    def _heads(self, projected, positions):
        """Splits heads and rotates: query (b, t, g, r, k), key and value (b, t, g, k)."""
        query, key, value = projected
        batch, time = ops.shape(query)[0], ops.shape(query)[1]
        query = ops.reshape(query, (batch, time, self.num_heads, self.head_dim))
        key = ops.reshape(key, (batch, time, self.num_kv_heads, self.head_dim))
        value = ops.reshape(value, (batch, time, self.num_kv_heads, self.head_dim))
        if self.qk_norm:
            query, key = self.query_norm(query), self.key_norm(key)
        if self.use_rotary:
            query, key = self.rotary(query, positions), self.rotary(key, positions)
        group = self.num_heads // self.num_kv_heads
        return ops.reshape(query, (batch, time, self.num_kv_heads, group, self.head_dim)), key, value

    def _merge(self, heads):
        return ops.reshape(heads, (*ops.shape(heads)[:2], self.num_heads * self.head_dim))
