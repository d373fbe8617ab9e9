"""Mamba-2: a selective state space in chunks of matrix products."""

from __future__ import annotations

import math

import keras
from keras import ops

from highnoon.config import require_count, require_number
from highnoon.layers.built_dense import built_dense
from highnoon.layers.gated_rms_normalization import GatedRMSNormalization
from highnoon.layers.mixer import Mixer
from highnoon.layers.recurrence.causal_convolution import CausalConvolution
from highnoon.layers.recurrence.chunked_state_space import chunked_state_space, state_space_step
from highnoon.layers.recurrence.segment_restarts import count_restarts, is_token
from highnoon.layers.recurrence.time_step_initializers import LogUniform, TimeStepBias


@keras.saving.register_keras_serializable(package="highnoon")
class StateSpaceDuality(Mixer):
    """Mixes tokens through a state of fixed size with one decay a head (Mamba-2).

    ```
    z, u, dt    = split(x Win)
    v, B, C     = split(silu(causal_convolution(u)))       v: h heads of size k; B, C: g groups of n
    dt          = clip(softplus(dt + dt_bias), time_step_limit)
    state[t]    = exp(-exp(A_log) dt[t]) state[t-1] + dt[t] B[t] v[t]^T       of each head
    w[t]        = state[t]^T C[t] + D v[t]
    y           = rms_norm(w * silu(z)) Wout
    ```

    Time is linear in the length, and a decoded token costs the same at any context. The recurrence is
    computed in float32 under any dtype policy. Weights have the names and, except for Dense kernels
    (inputs, outputs) and the convolution's (kernel, channels), the shapes of the published models.

    Args:
        state_dim: Size n of the state of each channel.
        head_dim: Channels k of one head, a divisor of `expand * d`.
        expand: Inner width as a multiple of the model's.
        num_groups: Groups of heads that share B and C, a divisor of the number of heads.
        conv_kernel_size: Positions that the convolution covers.
        chunk_length: Positions in one chunk of matrix products, at least 1.
        use_bias: Whether the projections have biases.
        use_conv_bias: Whether the convolution has one.
        norm_epsilon: Added to the mean square inside the norm.
        time_step_min: Smallest step at the start.
        time_step_max: Largest step at the start.
        time_step_floor: No step starts below it.
        time_step_limit: Two bounds (low, high) to which steps are clipped, None for no bound.
        dropout: Rate on the output while training, in [0, 1).
        kernel_initializer: Of the input kernel; None takes uniform within 1 / sqrt(d), as published.
        output_initializer: Of the output kernel; None takes `kernel_initializer`.

    Inputs:
        x (b, t, d); segment_ids (b, t), the convolution and the state restart where they change; positions
        are not used.

    Returns:
        (b, t, d). Padding gives finite values without meaning.

    Raises:
        ValueError: a size below 1, sizes that do not divide, a rate or bounds out of their range.

    Example:

    ```python
    import numpy as np
    from highnoon.layers.recurrence.state_space_duality import StateSpaceDuality

    y = StateSpaceDuality(state_dim=16, head_dim=8)(np.ones((2, 5, 32), "float32"))
    ```

    Dao & Gu 2024, Transformers are SSMs (arXiv:2405.21060), sections 6 and 7.
    """

    def __init__(
        self,
        state_dim: int = 128,
        head_dim: int = 64,
        expand: int = 2,
        num_groups: int = 1,
        conv_kernel_size: int = 4,
        chunk_length: int = 64,
        use_bias: bool = False,
        use_conv_bias: bool = True,
        norm_epsilon: float = 1e-5,
        time_step_min: float = 0.001,
        time_step_max: float = 0.1,
        time_step_floor: float = 1e-4,
        time_step_limit: tuple[float | None, float | None] = (None, None),
        dropout: float = 0.0,
        kernel_initializer=None,
        output_initializer=None,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        sizes = {
            "state_dim": state_dim,
            "head_dim": head_dim,
            "expand": expand,
            "num_groups": num_groups,
            "conv_kernel_size": conv_kernel_size,
            "chunk_length": chunk_length,
        }
        for name, size in sizes.items():
            require_count(name, size)
            setattr(self, name, size)
        require_number("dropout", dropout, least=0, below=1)
        require_number("norm_epsilon", norm_epsilon, above=0)
        self.use_bias = use_bias
        self.use_conv_bias = use_conv_bias
        self.norm_epsilon = norm_epsilon
        self.time_step_initializer = TimeStepBias(time_step_min, time_step_max, time_step_floor)
        self.time_step_limit = _bounds(time_step_limit)
        self.dropout = dropout
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.output_initializer = keras.initializers.get(output_initializer)

    def build(self, x_shape) -> None:
        width = x_shape[-1]
        self.inner_dim = self.expand * width
        if self.inner_dim % self.head_dim:
            raise ValueError(
                f"expand * width = {self.inner_dim} must be a multiple of head_dim={self.head_dim}; "
                "choose another `head_dim`"
            )
        self.num_heads = self.inner_dim // self.head_dim
        if self.num_heads % self.num_groups:
            raise ValueError(
                f"`num_groups` must divide the {self.num_heads} heads (expand * width / head_dim); "
                f"received {self.num_groups}"
            )
        self.conv_dim = self.inner_dim + 2 * self.num_groups * self.state_dim
        self.in_proj = built_dense(
            "in_proj",
            width,
            self.inner_dim + self.conv_dim + self.num_heads,
            self.kernel_initializer,
            self.dtype_policy,
            self.use_bias,
        )
        self.conv1d = CausalConvolution(
            self.conv_kernel_size, "silu", self.use_conv_bias, dtype=self.dtype_policy, name="conv1d"
        )
        self.conv1d.build((None, None, self.conv_dim))
        self.dt_bias = self._vector("dt_bias", self.time_step_initializer)
        self.A_log = self._vector("A_log", LogUniform(1.0, 16.0))
        self.D = self._vector("D", "ones")
        self.norm = GatedRMSNormalization(
            self.num_groups, epsilon=self.norm_epsilon, dtype=self.dtype_policy, name="norm"
        )
        self.norm.build((None, None, self.inner_dim))
        self.out_proj = built_dense(
            "out_proj",
            self.inner_dim,
            width,
            self.output_initializer or self.kernel_initializer,
            self.dtype_policy,
            self.use_bias,
        )
        if self.dropout:
            self.seed_generator = keras.random.SeedGenerator(name="dropout")

    def _vector(self, name: str, initializer):
        return self.add_weight(name=name, shape=(self.num_heads,), initializer=initializer)

    def call(self, x, segment_ids=None, positions=None, training=None):
        gate, mixed, step = self._project(x)
        mixed = self.conv1d(mixed, segment_ids=segment_ids)
        counts = None if segment_ids is None else count_restarts(segment_ids)
        state = self.initial_cache(ops.shape(x)[0], 0)["state"]
        y, _ = self._mix(mixed, step, state, counts)
        y = self.out_proj(self.norm(y, gate))
        if training and self.dropout:
            y = keras.random.dropout(y, self.dropout, seed=self.seed_generator)
        return y

    def initial_cache(self, batch_size: int, max_length: int, dtype=None):
        """Returns zeros, whatever the length: {"inputs" of the convolution, "state" (b, g, n, h/g, k)}."""
        heads = self.num_heads // self.num_groups
        shape = (batch_size, self.num_groups, self.state_dim, heads, self.head_dim)
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
        gate, mixed, step = self._project(x)
        mixed, inputs = self.conv1d.step(mixed, {"inputs": cache["inputs"]}, index, padding)
        tokens = is_token(index, x.shape[1], padding)
        if tokens is not None:
            step = ops.where(tokens[..., None], step, 0.0)
        y, state = self._mix(mixed, step, cache["state"])
        return self.out_proj(self.norm(y, gate)), {**inputs, "state": state}

    def _project(self, x):
        """Returns the gate (b, t, inner), the convolution's input and the steps (b, t, h) in float32."""
        gate, mixed, step = _split(self.in_proj(x), (self.inner_dim, self.conv_dim, self.num_heads))
        step = ops.softplus(ops.cast(step, "float32") + ops.cast(self.dt_bias, "float32"))
        low, high = self.time_step_limit
        step = step if low is None else ops.maximum(step, low)
        return gate, mixed, step if high is None else ops.minimum(step, high)

    def _mix(self, mixed, step, state, counts=None):
        """Runs the recurrence over (b, t, ..); returns (b, t, inner) in float32 and the last state."""
        lead = tuple(ops.shape(mixed)[:2])
        heads = (self.num_groups, self.num_heads // self.num_groups)
        groups = self.num_groups * self.state_dim
        x, write, read = _split(ops.cast(mixed, "float32"), (self.inner_dim, groups, groups))
        x = ops.reshape(x, (*lead, *heads, self.head_dim))
        write = ops.reshape(write, (*lead, self.num_groups, self.state_dim))
        read = ops.reshape(read, (*lead, self.num_groups, self.state_dim))
        step = ops.reshape(step, (*lead, *heads))
        rate = ops.reshape(-ops.exp(ops.cast(self.A_log, "float32")), heads)
        if mixed.shape[1] == 1 and counts is None:
            y, state = state_space_step(x[:, 0], step[:, 0], rate, write[:, 0], read[:, 0], state)
            y = y[:, None]
        else:
            y, state = chunked_state_space(x, step, rate, write, read, state, counts, self.chunk_length)
        skip = ops.reshape(ops.cast(self.D, "float32"), (*heads, 1))
        return ops.reshape(y + skip * x, (*lead, self.inner_dim)), state

    def get_config(self):
        return {**super().get_config(), "time_step_limit": self.time_step_limit}


def _split(x, sizes):
    """Cuts the last axis into parts of the given sizes."""
    parts, start = [], 0
    for size in sizes:
        parts.append(x[..., start : start + size])
        start += size
    return parts


def _bounds(limit) -> tuple[float | None, float | None]:
    """Published configurations write an absent upper bound as infinity, which JSON cannot represent."""
    low, high = limit
    low, high = low or None, None if high in (None, math.inf) else high
    if (low or 0) < 0 or (high is not None and high <= (low or 0)):
        raise ValueError(
            f"`time_step_limit` must be (low, high) with 0 <= low < high; received {tuple(limit)}"
        )
    return low, high
