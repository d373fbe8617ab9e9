"""The layer of BDH, the Dragon Hatchling: sparse positive neurons that attend linearly to earlier tokens."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from highnoon.config import require_choice, require_count, require_number
from highnoon.layers.hatching.adjacent_rotation import adjacent_rotation
from highnoon.layers.hatching.earlier_token_attention import attend_with_state, earlier_token_attention
from highnoon.layers.hatching.neuron_dropout import neuron_dropout
from highnoon.layers.mixer import Mixer
from highnoon.layers.recurrence.segment_restarts import count_restarts, is_token
from highnoon.layers.report import Report

FORMS = ("auto", "quadratic", "chunked")
_METRICS = ("activation/active_neurons", "activation/gated_neurons")


@keras.saving.register_keras_serializable(package="highnoon")
class BDHLayer(Mixer):
    """Neurons that fire together: sparse positive activations, gated by what they recall of earlier tokens.

    ```
    s[t] = relu(x[t] encoder)                                          neurons of each head, mostly zero
    a[t] = sum over u < t of (rotate(s[t], t) . rotate(s[u], u)) x[u]  of each head; the token itself left out
    r[t] = relu(norm(a[t]) encoder_v)
    y[t] = norm(x[t] + norm(dropout(s[t] * r[t]) decoder))
    ```

    `norm` subtracts the mean and divides by the standard deviation of a token's features, without weights.
    The output contains the residual. A model of several such layers shares one set of weights among them.

    Three forms have the same result: all products of a row, in quadratic time; chunks that pass a state to
    the next, in linear time; and `step`, with a cache. Attention is computed in float32 under any dtype
    policy.

    Args:
        num_heads: Heads h.
        multiplier: Neurons for each feature of the model: n = multiplier d / h neurons a head.
        dropout: Rate on the neurons while training, in [0, 1).
        form: How `call` computes attention: `"quadratic"`, `"chunked"`, or `"auto"` for chunks where the
            length exceeds 2 d or is not known, from where on they need fewer operations.
        chunk_length: Positions in one chunk.
        norm_epsilon: Added to the variance inside the norms.
        kernel_initializer: Of the three kernels; None takes a normal distribution of deviation 0.02.

    Inputs:
        x (b, t, d); segment_ids (b, t), no token sees one of another segment; positions (t,) or (b, t).

    Returns:
        y (b, t, d) and a `Report` with the metrics `activation/active_neurons`, the fraction of s above zero,
        and `activation/gated_neurons`, that of s * r.

    Raises:
        ValueError: a size below 1, an odd number of neurons a head, heads that do not divide the neurons, an
            unknown form, or a rate out of its range.

    Example:

    ```python
    import numpy as np
    from highnoon.layers.hatching import BDHLayer

    y, report = BDHLayer(num_heads=2, multiplier=8)(np.ones((2, 5, 32), "float32"))
    ```

    Kosowski et al. 2025, The Dragon Hatchling (arXiv:2509.26507), section 3, the tensor form BDH-GPU.
    """

    is_quantizable = False

    def __init__(
        self,
        num_heads: int,
        multiplier: int = 128,
        dropout: float = 0.0,
        form: str = "auto",
        chunk_length: int = 128,
        norm_epsilon: float = 1e-5,
        kernel_initializer=None,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        self.num_heads = require_count("num_heads", num_heads)
        self.multiplier = require_count("multiplier", multiplier)
        self.dropout = require_number("dropout", dropout, least=0, below=1)
        self.form = require_choice("form", form, FORMS)
        self.chunk_length = require_count("chunk_length", chunk_length)
        self.norm_epsilon = require_number("norm_epsilon", norm_epsilon, above=0)
        if kernel_initializer is None:
            kernel_initializer = keras.initializers.RandomNormal(stddev=0.02)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, x_shape) -> None:
        self.width = x_shape[-1]
        neurons, heads = self.multiplier * self.width, self.num_heads
        if neurons % (2 * heads):
            raise ValueError(
                f"{neurons:,} neurons (`multiplier` {self.multiplier} x width {self.width}) must divide into "
                f"pairs for each of {heads} heads; choose another `num_heads` or `multiplier`"
            )
        self.neurons = neurons // heads
        shapes = {
            "encoder": (heads, self.width, self.neurons),
            "encoder_v": (heads, self.width, self.neurons),
            "decoder": (neurons, self.width),
        }
        for name, shape in shapes.items():
            # An object of its own each: an initializer object repeats its values.
            initializer = self._initializer_of(name)
            setattr(self, name, self.add_weight(name=name, shape=shape, initializer=initializer))
        if self.dropout:
            self.seed_generator = keras.random.SeedGenerator(name="dropout")

    def _initializer_of(self, name: str):
        return keras.initializers.get(self.kernel_initializer).clone()

    def call(self, x, segment_ids=None, positions=None, training=None):
        time = x.shape[1]
        if positions is None:
            positions = ops.arange(time if time is not None else ops.shape(x)[1])
        sparse = self._fire(x, self.encoder)
        rotated = ops.cast(adjacent_rotation(sparse, positions), "float32")
        is_quadratic = self.form == "quadratic" or (
            self.form == "auto" and time is not None and time <= 2 * self.width
        )
        attended = earlier_token_attention(
            rotated,
            rotated,
            ops.cast(x, "float32")[:, None],
            None if segment_ids is None else count_restarts(segment_ids),
            None if is_quadratic else self.chunk_length,
        )
        y, gated = self._gate(x, sparse, attended, training)
        is_real = None if segment_ids is None else segment_ids > 0
        return y, Report(
            metrics=dict(
                zip(_METRICS, (_active_fraction(part, is_real) for part in (sparse, gated)), strict=True)
            )
        )

    def initial_cache(self, batch_size: int, max_length: int, dtype: Any = None) -> dict[str, Any]:
        """Returns the empty state, or where `max_length` is below d, room for the shorter list of tokens.

        The state is `{"state": (b, h, n, d)}`; the list `{"keys": (b, h, max_length, n), "values": (b,
        max_length, d)}`. Both are float32, since they are summed over.
        """
        if max_length < self.width:
            keys = ops.zeros((batch_size, self.num_heads, max_length, self.neurons), "float32")
            return {"keys": keys, "values": ops.zeros((batch_size, max_length, self.width), "float32")}
        return {"state": ops.zeros((batch_size, self.num_heads, self.neurons, self.width), "float32")}

    def step(self, x, cache, index, padding=None):
        time = x.shape[1]
        positions = ops.cast(index, "int32") + ops.arange(time, dtype="int32")
        # One copy of the tokens a head: the kernel of each is then read as it is stored, not transposed.
        copies = ops.repeat(x[:, None], self.num_heads, axis=1)
        sparse = self._fire(copies, ops.cast(self.encoder, x.dtype))
        query = ops.cast(adjacent_rotation(sparse, positions), "float32")
        value = ops.cast(x, "float32")
        tokens = is_token(index, time, padding)
        key = query if tokens is None else ops.where(tokens[:, None, :, None], query, 0.0)
        if "state" in cache:
            attended, state = attend_with_state(query, key, value[:, None], cache["state"], self.chunk_length)
            new_cache = {"state": state}
        else:
            start = ops.cast(index, "int32")
            keys = ops.slice_update(cache["keys"], (0, 0, start, 0), key)
            values = ops.slice_update(cache["values"], (0, start, 0), value)
            new_cache = {"keys": keys, "values": values}
            products = query @ ops.swapaxes(keys, 2, 3)
            is_earlier = ops.arange(keys.shape[2])[None, :] < positions[:, None]
            attended = ops.where(is_earlier, products, 0.0) @ values[:, None]
        return self._gate(x, sparse, attended, False)[0], new_cache

    def _fire(self, x, kernel):
        """Returns the neurons (b, h, t, n) of (b, t, d) or, a kernel a head, of (b, h, t, d)."""
        batch, heads = ops.shape(x)[0], self.num_heads
        time = x.shape[-2] if x.shape[-2] is not None else ops.shape(x)[-2]
        if len(x.shape) == 3:
            kernel = ops.reshape(ops.transpose(kernel, (1, 0, 2)), (self.width, -1))
            drive = ops.matmul(ops.reshape(x, (-1, self.width)), kernel)
            drive = ops.transpose(ops.reshape(drive, (batch, time, heads, self.neurons)), (0, 2, 1, 3))
        else:
            rows = ops.reshape(ops.swapaxes(x, 0, 1), (heads, -1, self.width))
            drive = ops.reshape(ops.matmul(rows, kernel), (heads, batch, time, self.neurons))
            drive = ops.swapaxes(drive, 0, 1)
        return ops.relu(drive)

    def _gate(self, x, sparse, attended, training):
        """Returns the layer's output, and the neurons that fire and are recalled."""
        recalled = self._fire(ops.cast(self._norm(attended), x.dtype), ops.cast(self.encoder_v, x.dtype))
        gated = sparse * recalled
        kept = gated
        if training and self.dropout:
            kept = neuron_dropout(gated, self.dropout, self.seed_generator.next())
        shape = ops.shape(x)
        # As one product of matrices: XLA runs the gradient of an einsum over four axes in a plain loop.
        kept = ops.reshape(ops.transpose(kept, (0, 2, 1, 3)), (-1, self.num_heads * self.neurons))
        change = ops.reshape(ops.matmul(kept, ops.cast(self._outgoing(), x.dtype)), shape)
        return ops.cast(self._norm(x + ops.cast(self._norm(change), x.dtype)), x.dtype), gated

    def _outgoing(self):
        """The weights from the neurons to the model's features."""
        return self.decoder

    def _norm(self, x):
        """Normalizes the last axis in float32; zeros stay zeros."""
        x = ops.cast(x, "float32")
        centered = x - ops.mean(x, axis=-1, keepdims=True)
        variance = ops.mean(ops.square(centered), axis=-1, keepdims=True)
        return centered * ops.rsqrt(variance + self.norm_epsilon)

    def compute_output_spec(self, x, segment_ids=None, positions=None, training=None):
        metrics = {name: keras.KerasTensor((), dtype="float32") for name in _METRICS}
        return keras.KerasTensor(x.shape, dtype=self.compute_dtype), Report(metrics=metrics)


def _active_fraction(neurons, is_real):
    """The fraction of neurons (b, h, t, n) above zero, over tokens that are not padding."""
    active = ops.mean(ops.cast(ops.stop_gradient(neurons) > 0, "float32"), axis=(1, 3))
    if is_real is None:
        return ops.mean(active)
    weight = ops.cast(is_real, "float32")
    return ops.sum(active * weight) / ops.maximum(ops.sum(weight), 1.0)
