"""Mamba: a selective state space for each channel."""

from __future__ import annotations

import math

import keras
from keras import ops

from highnoon.config import require_count, require_number
from highnoon.layers.built_dense import built_dense
from highnoon.layers.mixer import Mixer
from highnoon.layers.recurrence.causal_convolution import CausalConvolution
from highnoon.layers.recurrence.segment_restarts import count_restarts, is_token
from highnoon.layers.recurrence.selective_scan import selective_scan, selective_step
from highnoon.layers.recurrence.time_step_initializers import LogRange, TimeStepBias

# Numbers in the states that one step of the scan computes: enough to keep the cores busy, few enough to stay
# in their caches.
_STATES_AT_ONCE = 2**17


@keras.saving.register_keras_serializable(package="highnoon")
class SelectiveStateSpace(Mixer):
    """Mixes tokens through a state of fixed size for each channel (Mamba, S6).

    ```
    u, z        = split(x Win)
    u           = silu(causal_convolution(u))
    r, B, C     = split(u Wx)
    dt          = softplus(r Wdt + dt_bias)
    state[t]    = exp(-exp(A_log) * dt[t]) * state[t-1] + (dt[t] u[t]) B[t]^T       (inner, n)
    y           = ((state[t] C[t] + D u[t]) * silu(z)) Wout
    ```

    Time is linear in the length, and a decoded token costs the same at any context. The recurrence is
    computed in float32 under any dtype policy. Weights have the names and, except for Dense kernels
    (inputs, outputs) and the convolution's (kernel, channels), the shapes of the published models.

    Args:
        state_dim: Size n of the state of each channel.
        expand: Inner width as a multiple of the model's.
        conv_kernel_size: Positions that the convolution covers.
        time_step_rank: Width of the step's bottleneck; None takes d / 16, rounded up.
        num_parts: Parts of a row that are scanned in parallel; None chooses by the batch size.
        use_bias: Whether the input and output projections have biases.
        use_conv_bias: Whether the convolution has one.
        time_step_min: Smallest step at the start.
        time_step_max: Largest step at the start.
        time_step_floor: No step starts below it.
        time_step_scale: The step's kernel starts uniform within time_step_scale / sqrt(rank).
        dropout: Rate on the output while training, in [0, 1).
        kernel_initializer: Of the input kernel; None takes uniform within 1 / sqrt(d), as published.
        output_initializer: Of the output kernel; None takes `kernel_initializer`.

    Inputs:
        x (b, t, d); segment_ids (b, t), the convolution and the state restart where they change; positions
        are not used.

    Returns:
        (b, t, d). Padding gives finite values without meaning.

    Raises:
        ValueError: a size below 1, a rate or bounds out of their range.

    Example:

    ```python
    import numpy as np
    from highnoon.layers.recurrence.selective_state_space import SelectiveStateSpace

    y = SelectiveStateSpace(state_dim=8)(np.ones((2, 5, 32), "float32"))
    ```

    Gu & Dao 2023, Mamba (arXiv:2312.00752), algorithm 2 and section 3.4.
    """

    def __init__(
        self,
        state_dim: int = 16,
        expand: int = 2,
        conv_kernel_size: int = 4,
        time_step_rank: int | None = None,
        num_parts: int | None = None,
        use_bias: bool = False,
        use_conv_bias: bool = True,
        time_step_min: float = 0.001,
        time_step_max: float = 0.1,
        time_step_floor: float = 1e-4,
        time_step_scale: float = 1.0,
        dropout: float = 0.0,
        kernel_initializer=None,
        output_initializer=None,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        sizes = {
            "state_dim": state_dim,
            "expand": expand,
            "conv_kernel_size": conv_kernel_size,
            "time_step_rank": time_step_rank,
            "num_parts": num_parts,
        }
        for name, size in sizes.items():
            if size is not None or name not in ("time_step_rank", "num_parts"):
                require_count(name, size)
            setattr(self, name, size)
        require_number("dropout", dropout, least=0, below=1)
        require_number("time_step_scale", time_step_scale, above=0)
        self.use_bias = use_bias
        self.use_conv_bias = use_conv_bias
        self.time_step_initializer = TimeStepBias(time_step_min, time_step_max, time_step_floor)
        self.time_step_scale = time_step_scale
        self.dropout = dropout
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.output_initializer = keras.initializers.get(output_initializer)

    def build(self, x_shape) -> None:
        width, policy = x_shape[-1], self.dtype_policy
        self.inner_dim = self.expand * width
        self.rank = self.time_step_rank or math.ceil(width / 16)
        self.in_proj = built_dense(
            "in_proj", width, 2 * self.inner_dim, self.kernel_initializer, policy, self.use_bias
        )
        self.conv1d = CausalConvolution(
            self.conv_kernel_size, "silu", self.use_conv_bias, dtype=policy, name="conv1d"
        )
        self.conv1d.build((None, None, self.inner_dim))
        self.x_proj = built_dense("x_proj", self.inner_dim, self.rank + 2 * self.state_dim, None, policy)
        bound = self.time_step_scale * self.rank**-0.5
        self.dt_proj = built_dense(
            "dt_proj", self.rank, self.inner_dim, keras.initializers.RandomUniform(-bound, bound), policy
        )
        self.dt_bias = self.add_weight(
            name="dt_bias", shape=(self.inner_dim,), initializer=self.time_step_initializer
        )
        self.A_log = self.add_weight(
            name="A_log", shape=(self.inner_dim, self.state_dim), initializer=LogRange()
        )
        self.D = self.add_weight(name="D", shape=(self.inner_dim,), initializer="ones")
        self.out_proj = built_dense(
            "out_proj",
            self.inner_dim,
            width,
            self.output_initializer or self.kernel_initializer,
            policy,
            self.use_bias,
        )
        if self.dropout:
            self.seed_generator = keras.random.SeedGenerator(name="dropout")

    def call(self, x, segment_ids=None, positions=None, training=None):
        mixed, gate = ops.split(self.in_proj(x), 2, axis=-1)
        mixed = self.conv1d(mixed, segment_ids=segment_ids)
        counts = None if segment_ids is None else count_restarts(segment_ids)
        state = self.initial_cache(ops.shape(x)[0], 0)["state"]
        y, _ = self._mix(mixed, gate, state, counts=counts)
        if training and self.dropout:
            y = keras.random.dropout(y, self.dropout, seed=self.seed_generator)
        return y

    def initial_cache(self, batch_size: int, max_length: int, dtype=None):
        """Returns zeros, whatever the length: {"inputs" of the convolution, "state" (b, n, inner)}."""
        inputs = self.conv1d.initial_cache(batch_size, max_length, dtype)
        return {**inputs, "state": ops.zeros((batch_size, self.state_dim, self.inner_dim), "float32")}

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
        mixed, gate = ops.split(self.in_proj(x), 2, axis=-1)
        mixed, inputs = self.conv1d.step(mixed, {"inputs": cache["inputs"]}, index, padding)
        y, state = self._mix(mixed, gate, cache["state"], tokens=is_token(index, x.shape[1], padding))
        return y, {**inputs, "state": state}

    def _mix(self, mixed, gate, state, counts=None, tokens=None):
        """Runs the recurrence and projects; `tokens` (b, t) tells which positions may change the state."""
        projected = self.x_proj(mixed)
        low, middle, high = projected[..., : self.rank], self.rank, self.rank + self.state_dim
        write, read = projected[..., middle:high], projected[..., high:]
        x, gate, write, read = (ops.cast(part, "float32") for part in (mixed, gate, write, read))
        step = ops.cast(self.dt_proj(low), "float32") + ops.cast(self.dt_bias, "float32")
        step = ops.softplus(step)
        if tokens is not None:
            step = ops.where(tokens[..., None], step, 0.0)
        rate = -ops.exp(ops.transpose(ops.cast(self.A_log, "float32")))
        if x.shape[1] == 1 and counts is None:
            y, state = selective_step(x[:, 0], step[:, 0], rate, write[:, 0], read[:, 0], state)
            y = y[:, None]
        else:
            y, state = selective_scan(x, step, rate, write, read, state, counts, self._num_parts(x))
        y = (y + ops.cast(self.D, "float32") * x) * ops.silu(gate)
        return self.out_proj(ops.cast(y, self.compute_dtype)), state

    def _num_parts(self, x) -> int:
        if self.num_parts is not None:
            return self.num_parts
        return max(1, _STATES_AT_ONCE // ((x.shape[0] or 8) * self.inner_dim * self.state_dim))
