"""Multi-head latent attention: keys and values from one small latent per token."""

from __future__ import annotations

from functools import partial

import keras
from keras import ops

from highnoon.config import require_count, require_number
from highnoon.layers.attention.block_mask import BlockStep
from highnoon.layers.attention.blockwise_attention import cached_attention, causal_attention
from highnoon.layers.attention.rope_frequencies import yarn_softmax_factor
from highnoon.layers.attention.rotary_embedding import RotaryEmbedding
from highnoon.layers.built_dense import built_dense
from highnoon.layers.mixer import Mixer


@keras.saving.register_keras_serializable(package="highnoon")
class LatentAttention(Mixer):
    """Attention whose cache stores a compressed latent and one rotary key per token, for all heads.

    ```
    c[s], p[s]   = split(x[s] Wkv_a);   c[s] = rms_norm(c[s]);   p[s] = rope(p[s])
    k[s], v[s]   = split(c[s] Wkv_b)                                     of each head
    q[t], u[t]   = split(rms_norm(x[t] Wq_a) Wq_b)  or  split(x[t] Wq);   u[t] = rope(u[t])
    a[t, s]      = softmax over s <= t of  softmax_scale (q[t] . k[s] + u[t] . p[s])
    y[t]         = (sum_s a[t, s] v[s]) Wo
    ```

    Decoding stores only c and p, `kv_lora_rank + qk_rope_head_dim` numbers per token. Where it is
    cheaper, as for single tokens, Wkv_b is absorbed: q is projected into the latent's space and the mixed
    latent to values, so that no key and no value is ever computed.

    Args:
        num_heads: Heads h, at least 1.
        kv_lora_rank: Size of the latent c.
        q_lora_rank: Size of the query's bottleneck; None for none.
        qk_nope_head_dim: Size of a head's q and k.
        qk_rope_head_dim: Size of a head's u, and of p; even.
        v_head_dim: Size of a head's v.
        rope_theta: Base wavelength of the rotary positions.
        rope_scaling: Scaling of their frequencies, see `RotaryEmbedding`; None for no scaling.
        rope_interleaved: Whether rotary positions rotate neighboring features, as in the published weights,
            or features half a head apart.
        softmax_scale: Factor on the scores; None takes 1 / sqrt(qk_nope_head_dim + qk_rope_head_dim),
            times `yarn_softmax_factor(rope_scaling)`.
        use_bias: Whether Wq_a, Wkv_a and Wo have biases.
        norm_epsilon: Added to the mean square inside the norms.
        dropout: Rate on the output while training, in [0, 1).
        chunk_length: Queries that attend at one time; None for 128 to 512, depending on the length.
        kernel_initializer: Of every kernel except the output's.
        output_initializer: Of the output kernel; None takes `kernel_initializer`.

    Inputs:
        x (b, t, d); segment_ids (b, t), tokens attend only within equal ones; positions (t,) or (b, t), the
        position in the document, `0 .. t-1` if it is None; block_ids (b, t) for block diffusion, see
        `highnoon.layers.attention.block_mask`: tokens attend as `may_see` says, whatever their order.

    Returns:
        (b, t, d). Padding gives finite values without meaning.

    Raises:
        ValueError: a size below 1, an odd rotary size, or a rate out of its range.

    Example:

    ```python
    import numpy as np
    from highnoon.layers.attention.latent_attention import LatentAttention

    layer = LatentAttention(4, kv_lora_rank=16, qk_nope_head_dim=8, qk_rope_head_dim=4, v_head_dim=8)
    y = layer(np.ones((2, 5, 32), "float32"))
    ```

    DeepSeek-AI 2024, DeepSeek-V2 (arXiv:2405.04434), eqs. 9-19 and appendix C.
    """

    def __init__(
        self,
        num_heads: int,
        kv_lora_rank: int = 512,
        q_lora_rank: int | None = None,
        qk_nope_head_dim: int = 128,
        qk_rope_head_dim: int = 64,
        v_head_dim: int = 128,
        rope_theta: float = 10000.0,
        rope_scaling: dict | None = None,
        rope_interleaved: bool = True,
        softmax_scale: float | None = None,
        use_bias: bool = False,
        norm_epsilon: float = 1e-6,
        dropout: float = 0.0,
        chunk_length: int | None = None,
        kernel_initializer="glorot_uniform",
        output_initializer=None,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        sizes = {
            "num_heads": num_heads,
            "kv_lora_rank": kv_lora_rank,
            "q_lora_rank": q_lora_rank,
            "qk_nope_head_dim": qk_nope_head_dim,
            "qk_rope_head_dim": qk_rope_head_dim,
            "v_head_dim": v_head_dim,
            "chunk_length": chunk_length,
        }
        for name, size in sizes.items():
            if size is not None or name not in ("q_lora_rank", "chunk_length"):
                require_count(name, size)
            setattr(self, name, size)
        if qk_rope_head_dim % 2:
            raise ValueError(
                f"`qk_rope_head_dim` must be even, since positions rotate pairs; received {qk_rope_head_dim}"
            )
        require_number("dropout", dropout, least=0, below=1)
        if softmax_scale is not None:
            require_number("softmax_scale", softmax_scale, above=0)
        require_number("norm_epsilon", norm_epsilon, above=0)
        self.rope_theta = rope_theta
        self.rope_scaling = rope_scaling
        self.rope_interleaved = rope_interleaved
        self.softmax_scale = softmax_scale
        self.use_bias = use_bias
        self.norm_epsilon = norm_epsilon
        self.dropout = dropout
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.output_initializer = keras.initializers.get(output_initializer)

    def build(self, x_shape) -> None:
        width = x_shape[-1]
        query_dim = self.num_heads * (self.qk_nope_head_dim + self.qk_rope_head_dim)
        if self.q_lora_rank is None:
            self.q_proj = self._dense("q_proj", width, query_dim)
        else:
            self.q_a_proj = self._dense("q_a_proj", width, self.q_lora_rank, self.use_bias)
            self.q_a_layernorm = self._norm("q_a_layernorm", self.q_lora_rank)
            self.q_b_proj = self._dense("q_b_proj", self.q_lora_rank, query_dim)
        self.kv_a_proj_with_mqa = self._dense(
            "kv_a_proj_with_mqa", width, self.kv_lora_rank + self.qk_rope_head_dim, self.use_bias
        )
        self.kv_a_layernorm = self._norm("kv_a_layernorm", self.kv_lora_rank)
        self.kv_b_proj = self._dense(
            "kv_b_proj", self.kv_lora_rank, self.num_heads * (self.qk_nope_head_dim + self.v_head_dim)
        )
        self.o_proj = built_dense(
            "o_proj",
            self.num_heads * self.v_head_dim,
            width,
            self.output_initializer or self.kernel_initializer,
            self.dtype_policy,
            self.use_bias,
        )
        self.rotary = RotaryEmbedding(
            self.rope_theta, self.rope_scaling, dtype=self.dtype_policy, name="rotary"
        )
        self.rotary.build((None, None, None, self.qk_rope_head_dim))
        if self.dropout:
            self.seed_generator = keras.random.SeedGenerator(name="dropout")

    def _dense(self, name: str, inputs: int, units: int, use_bias: bool = False):
        return built_dense(name, inputs, units, self.kernel_initializer, self.dtype_policy, use_bias)

    def _norm(self, name: str, size: int):
        norm = keras.layers.RMSNormalization(epsilon=self.norm_epsilon, dtype=self.dtype_policy, name=name)
        norm.build((None, None, size))
        return norm

    def call(self, x, segment_ids=None, positions=None, training=None, block_ids=None):
        if positions is None:
            positions = ops.arange(ops.shape(x)[1])
        query, rotary_query = self._queries(x, positions)
        latent, rotary_key = self._latents(x, positions)
        key, value = self._expand(latent, rotary_key)
        query = ops.concatenate([query, rotary_query], axis=-1)[:, :, :, None]
        mixed = causal_attention(
            self._scaled(query), key, value, segment_ids, self.chunk_length, block_ids=block_ids
        )
        y = self.o_proj(self._merge(mixed))
        if training and self.dropout:
            y = keras.random.dropout(y, self.dropout, seed=self.seed_generator)
        return y

    def initial_cache(self, batch_size: int, max_length: int, dtype=None):
        """Returns zeros for `max_length` tokens: {"latent" (b, s, rank), "rotary_key" (b, s, rope)}."""
        dtype = dtype or self.compute_dtype
        return {
            "latent": ops.zeros((batch_size, max_length, self.kv_lora_rank), dtype),
            "rotary_key": ops.zeros((batch_size, max_length, self.qk_rope_head_dim), dtype),
        }

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
        index = ops.cast(index, "int32")
        new_slots = index + ops.arange(x.shape[1], dtype="int32")
        padding = None if padding is None else ops.cast(padding, "int32")
        positions = new_slots if padding is None else new_slots[None, :] - padding[:, None]
        query, rotary_query = self._queries(x, positions)
        new = dict(zip(("latent", "rotary_key"), self._latents(x, positions), strict=True))
        if blocks is None or not blocks.is_noisy:
            cache = {
                name: ops.slice_update(old, [0, index, 0], ops.cast(new[name], old.dtype))
                for name, old in cache.items()
            }
        latent, rotary_key = (ops.cast(cache[name], query.dtype) for name in ("latent", "rotary_key"))
        if blocks is not None and blocks.is_noisy:
            latent = ops.concatenate([latent, new["latent"]], axis=1)
            rotary_key = ops.concatenate([rotary_key, new["rotary_key"]], axis=1)
        attend = partial(
            cached_attention, index=index, first=padding, chunk_length=self.chunk_length, blocks=blocks
        )
        if self._is_absorbed(x.shape[1], latent.shape[1]):
            to_key, to_value = self._kv_kernels()
            query = ops.einsum("bthk,nhk->bthn", query, to_key)
            query = self._scaled(ops.concatenate([query, rotary_query], axis=-1)[:, :, None])
            key = ops.concatenate([latent, rotary_key], axis=-1)[:, None]
            mixed = attend(query, key, latent[:, None])[:, :, 0]
            mixed = ops.einsum("bthn,nhk->bthk", mixed, to_value)
        else:
            key, value = self._expand(latent, rotary_key)
            query = self._scaled(ops.concatenate([query, rotary_query], axis=-1)[:, :, :, None])
            key, value = ops.swapaxes(key, 1, 2), ops.swapaxes(value, 1, 2)
            mixed = attend(query, key, value)
        return self.o_proj(self._merge(mixed)), cache

    def _is_absorbed(self, time: int, num_keys: int) -> bool:
        """Whether attention in the latent's space takes fewer products than expanding the complete cache."""
        kernel = self.kv_lora_rank * (self.qk_nope_head_dim + self.v_head_dim)
        expanded = self.qk_nope_head_dim + self.qk_rope_head_dim + self.v_head_dim
        absorbed = 2 * self.kv_lora_rank + self.qk_rope_head_dim
        return time * kernel + time * num_keys * absorbed < num_keys * kernel + time * num_keys * expanded

    def _queries(self, x, positions):
        """Returns q (b, t, h, nope) and u (b, t, h, rope)."""
        if self.q_lora_rank is None:
            query = self.q_proj(x)
        else:
            query = self.q_b_proj(self.q_a_layernorm(self.q_a_proj(x)))
        size = self.qk_nope_head_dim
        query = ops.reshape(query, (*ops.shape(x)[:2], self.num_heads, size + self.qk_rope_head_dim))
        return query[..., :size], self._rotate(query[..., size:], positions)

    def _latents(self, x, positions):
        """Returns c (b, t, rank) and p (b, t, rope)."""
        joined = self.kv_a_proj_with_mqa(x)
        rotary_key = self._rotate(joined[:, :, None, self.kv_lora_rank :], positions)
        return self.kv_a_layernorm(joined[..., : self.kv_lora_rank]), rotary_key[:, :, 0]

    def _rotate(self, x, positions):
        """Rotates; moves neighbors apart first, for good, which changes no product of two vectors."""
        if self.rope_interleaved:
            x = ops.concatenate([x[..., ::2], x[..., 1::2]], axis=-1)
        return self.rotary(x, positions)

    def _expand(self, latent, rotary_key):
        """Returns keys (b, s, h, nope + rope) and values (b, s, h, v)."""
        size = self.qk_nope_head_dim
        lead = tuple(ops.shape(latent)[:2])
        both = ops.reshape(self.kv_b_proj(latent), (*lead, self.num_heads, size + self.v_head_dim))
        rotary_key = ops.broadcast_to(rotary_key[:, :, None], (*lead, self.num_heads, self.qk_rope_head_dim))
        return ops.concatenate([both[..., :size], rotary_key], axis=-1), both[..., size:]

    def _kv_kernels(self):
        """Wkv_b's parts: to keys (rank, h, nope) and to values (rank, h, v)."""
        if self.kv_b_proj.quantization_mode is None:
            kernel = ops.cast(self.kv_b_proj.kernel, self.compute_dtype)
        else:
            # Each unit vector gives one row of the kernel, including its scale and any LoRA factors.
            kernel = self.kv_b_proj(ops.eye(self.kv_lora_rank, dtype=self.compute_dtype))
        size = self.qk_nope_head_dim
        kernel = ops.reshape(kernel, (self.kv_lora_rank, self.num_heads, size + self.v_head_dim))
        return kernel[..., :size], kernel[..., size:]

    def _scaled(self, query):
        """Scales queries such that attention's own 1 / sqrt(their size) gives `softmax_scale`."""
        size = self.qk_nope_head_dim + self.qk_rope_head_dim
        scale = self.softmax_scale
        if scale is None:
            scale = size**-0.5 * yarn_softmax_factor(self.rope_scaling)
        return query * ops.cast(scale * query.shape[-1] ** 0.5, query.dtype)

    def _merge(self, heads):
        return ops.reshape(heads, (*ops.shape(heads)[:2], self.num_heads * self.v_head_dim))
