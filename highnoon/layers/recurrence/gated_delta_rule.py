"""The gated delta rule: linear attention over a memory that overwrites."""

from __future__ import annotations

import keras
from keras import ops

from highnoon.config import require_count, require_number
from highnoon.layers.built_dense import built_dense
from highnoon.layers.gated_rms_normalization import GatedRMSNormalization
from highnoon.layers.mixer import Mixer
from highnoon.layers.recurrence.causal_convolution import CausalConvolution
from highnoon.layers.recurrence.chunked_delta_rule import chunked_delta_rule, delta_rule_step
from highnoon.layers.recurrence.segment_restarts import count_restarts, is_token
from highnoon.layers.recurrence.time_step_initializers import LogUniform, TimeStepBias


@keras.saving.register_keras_serializable(package="highnoon")
class GatedDeltaRule(Mixer):
    """Mixes tokens through a key-value memory of fixed size a head (Gated DeltaNet).

    ```
    q, k, v, z  = split(x Wqkvz);   b, a = split(x Wba)
    q, k, v     = split(silu(causal_convolution(q, k, v)))
    q, k        = q / |q| / sqrt(key_head_dim),  k / |k|
    old[t]      = exp(-exp(A_log) softplus(a[t] + dt_bias)) state[t-1]         of each value head
    state[t]    = old[t] + sigmoid(b[t]) k[t] (v[t] - old[t]^T k[t])^T
    y[t]        = (rms_norm(state[t]^T q[t]) * silu(z[t])) Wout
    ```

    Time is linear in the length, and a decoded token costs the same at any context. The recurrence is
    computed in float32 under any dtype policy. Weights have the names and, except for Dense kernels
    (inputs, outputs) and the convolution's (kernel, channels), the shapes of Qwen3-Next.

    Args:
        num_value_heads: Heads, each with a memory of its own.
        num_key_heads: Heads of queries and keys, a divisor of `num_value_heads`; None takes
            `num_value_heads`.
        key_head_dim: Size k of a query and of a key.
        value_head_dim: Size v of a value.
        conv_kernel_size: Positions that the convolution covers.
        chunk_length: Positions in one chunk of matrix products, a power of two.
        norm_epsilon: Added to the mean square inside the norm.
        time_step_min: Smallest softplus(dt_bias) at the start.
        time_step_max: Largest softplus(dt_bias) at the start.
        time_step_floor: No softplus(dt_bias) starts below it.
        dropout: Rate on the output while training, in [0, 1).
        kernel_initializer: Of the input kernels; None takes uniform within 1 / sqrt(d).
        output_initializer: Of the output kernel; None takes `kernel_initializer`.

    Inputs:
        x (b, t, d); segment_ids (b, t), the convolution and the memory restart where they change; positions
        are not used.

    Returns:
        (b, t, d). Padding gives finite values without meaning.

    Raises:
        ValueError: a size below 1, heads that do not divide, a chunk length that is not a power of
            two, a rate or bounds out of their range.

    Example:

    ```python
    import numpy as np
    from highnoon.layers.recurrence.gated_delta_rule import GatedDeltaRule

    y = GatedDeltaRule(2, key_head_dim=8, value_head_dim=16)(np.ones((2, 5, 32), "float32"))
    ```

    Yang et al. 2024, Gated Delta Networks (arXiv:2412.06464), eq. 10 and section 3.4.
    """

    def __init__(
        self,
        num_value_heads: int,
        num_key_heads: int | None = None,
        key_head_dim: int = 128,
        value_head_dim: int = 128,
        conv_kernel_size: int = 4,
        chunk_length: int = 64,
        norm_epsilon: float = 1e-6,
        time_step_min: float = 0.001,
        time_step_max: float = 0.1,
        time_step_floor: float = 1e-4,
        dropout: float = 0.0,
        kernel_initializer=None,
        output_initializer=None,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        num_key_heads = num_value_heads if num_key_heads is None else num_key_heads
        sizes = {
            "num_value_heads": num_value_heads,
            "num_key_heads": num_key_heads,
            "key_head_dim": key_head_dim,
            "value_head_dim": value_head_dim,
            "conv_kernel_size": conv_kernel_size,
            "chunk_length": chunk_length,
        }
        for name, size in sizes.items():
            require_count(name, size)
            setattr(self, name, size)
        if num_value_heads % num_key_heads:
            raise ValueError(
                f"`num_key_heads` must divide num_value_heads={num_value_heads}; received {num_key_heads}"
            )
        if chunk_length & (chunk_length - 1):
            raise ValueError(f"`chunk_length` must be a power of two; received {chunk_length}")
        require_number("dropout", dropout, least=0, below=1)
        require_number("norm_epsilon", norm_epsilon, above=0)
        self.norm_epsilon = norm_epsilon
        self.time_step_initializer = TimeStepBias(time_step_min, time_step_max, time_step_floor)
        self.dropout = dropout
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.output_initializer = keras.initializers.get(output_initializer)

    def build(self, x_shape) -> None:
        width, policy = x_shape[-1], self.dtype_policy
        self.key_dim = self.num_key_heads * self.key_head_dim
        self.value_dim = self.num_value_heads * self.value_head_dim
        self.in_proj_qkvz = built_dense(
            "in_proj_qkvz", width, 2 * (self.key_dim + self.value_dim), self.kernel_initializer, policy
        )
        self.in_proj_ba = built_dense(
            "in_proj_ba", width, 2 * self.num_value_heads, self.kernel_initializer, policy
        )
        self.conv1d = CausalConvolution(
            self.conv_kernel_size, "silu", use_bias=False, dtype=policy, name="conv1d"
        )
        self.conv1d.build((None, None, 2 * self.key_dim + self.value_dim))
        heads = (self.num_value_heads,)
        self.dt_bias = self.add_weight(name="dt_bias", shape=heads, initializer=self.time_step_initializer)
        self.A_log = self.add_weight(name="A_log", shape=heads, initializer=LogUniform(0.01, 16.0))
        self.norm = GatedRMSNormalization(
            norm_before_gate=True, epsilon=self.norm_epsilon, dtype=policy, name="norm"
        )
        self.norm.build((None, None, None, self.value_head_dim))
        self.out_proj = built_dense(
            "out_proj", self.value_dim, width, self.output_initializer or self.kernel_initializer, policy
        )
        if self.dropout:
            self.seed_generator = keras.random.SeedGenerator(name="dropout")

    def call(self, x, segment_ids=None, positions=None, training=None):
        mixed, gate, log_decay, strength = self._project(x)
        mixed = self.conv1d(mixed, segment_ids=segment_ids)
        counts = None if segment_ids is None else count_restarts(segment_ids)
        state = self.initial_cache(ops.shape(x)[0], 0)["state"]
        y, _ = self._mix(mixed, gate, log_decay, strength, state, counts)
        if training and self.dropout:
            y = keras.random.dropout(y, self.dropout, seed=self.seed_generator)
        return y

    def initial_cache(self, batch_size: int, max_length: int, dtype=None):
        """Returns zeros, whatever the length: {"inputs" of the convolution, "state" (b, g, r, k, v)}."""
        heads = self.num_value_heads // self.num_key_heads
        shape = (batch_size, self.num_key_heads, heads, self.key_head_dim, self.value_head_dim)
        inputs = self.conv1d.initial_cache(batch_size, max_length, dtype)
        return {**inputs, "state": ops.zeros(shape, "float32")}

    def step(self, x, cache, index, padding=None):
        """Continues with new tokens.

        Args:
            x: (b, t, d), the tokens at positions index .. index+t-1.
            cache: What `initial_cache` or an earlier step returned.
            index: Position of the first new token, a scalar, static or not.
            padding: (b,) integers, how many positions at the front are padding; None for 0.

        Returns:
            y (b, t, d) and the new cache.
        """
        mixed, gate, log_decay, strength = self._project(x)
        mixed, inputs = self.conv1d.step(mixed, {"inputs": cache["inputs"]}, index, padding)
        tokens = is_token(index, x.shape[1], padding)
        if tokens is not None:
            tokens = tokens[..., None, None]
            log_decay, strength = ops.where(tokens, log_decay, 0.0), ops.where(tokens, strength, 0.0)
        y, state = self._mix(mixed, gate, log_decay, strength, cache["state"])
        return y, {**inputs, "state": state}

    def _project(self, x):
        """Returns the convolution's input, the gate (b, t, h, v), and in float32 log decay and strength."""
        lead, groups = tuple(ops.shape(x)[:2]), self.num_key_heads
        heads = self.num_value_heads // groups
        # The published kernels contain q, k, v and z of one key head next to each other.
        projected = ops.reshape(self.in_proj_qkvz(x), (*lead, groups, -1))
        parts, start = [], 0
        for size in (self.key_head_dim, self.key_head_dim, *[heads * self.value_head_dim] * 2):
            parts.append(ops.reshape(projected[..., start : start + size], (*lead, groups * size)))
            start += size
        gate = ops.reshape(parts[3], (*lead, self.num_value_heads, self.value_head_dim))
        both = ops.cast(ops.reshape(self.in_proj_ba(x), (*lead, groups, 2 * heads)), "float32")
        rate = ops.reshape(-ops.exp(ops.cast(self.A_log, "float32")), (groups, heads))
        bias = ops.reshape(ops.cast(self.dt_bias, "float32"), (groups, heads))
        log_decay = rate * ops.softplus(both[..., heads:] + bias)
        return ops.concatenate(parts[:3], axis=-1), gate, log_decay, ops.sigmoid(both[..., :heads])

    def _mix(self, mixed, gate, log_decay, strength, state, counts=None):
        """Runs the recurrence, norms and projects; returns y (b, t, d) and the last state."""
        lead, groups = tuple(ops.shape(mixed)[:2]), self.num_key_heads
        mixed = ops.cast(mixed, "float32")
        query, key = (
            _unit(ops.reshape(part, (*lead, groups, self.key_head_dim)))
            for part in (mixed[..., : self.key_dim], mixed[..., self.key_dim : 2 * self.key_dim])
        )
        query = query * self.key_head_dim**-0.5
        heads = self.num_value_heads // groups
        value = ops.reshape(mixed[..., 2 * self.key_dim :], (*lead, groups, heads, self.value_head_dim))
        inputs = (query, key, value, log_decay, strength)
        if mixed.shape[1] == 1 and counts is None:
            y, state = delta_rule_step(*(tensor[:, 0] for tensor in inputs), state)
        else:
            y, state = chunked_delta_rule(*inputs, state, counts, self.chunk_length)
        y = ops.reshape(y, (*lead, self.num_value_heads, self.value_head_dim))
        y = ops.reshape(self.norm(y, gate), (*lead, self.value_dim))
        return self.out_proj(y), state


def _unit(x):
    """Scales the last axis to length 1."""
    return x * ops.rsqrt(ops.sum(ops.square(x), axis=-1, keepdims=True) + 1e-6)
