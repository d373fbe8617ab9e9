"""The layer of Dragon Hatching with spiking neurons: leaky integrate-and-fire on those of BDH."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
from keras import ops

from highnoon.config import require_count, require_flag, require_number
from highnoon.layers.hatching.adjacent_rotation import adjacent_rotation
from highnoon.layers.hatching.bdh_layer import BDHLayer
from highnoon.layers.hatching.earlier_token_attention import attend_with_state, earlier_token_attention
from highnoon.layers.hatching.firing_tally import FiringTally
from highnoon.layers.hatching.gain_search import find_gain
from highnoon.layers.hatching.scale_free import ScaleFree
from highnoon.layers.hatching.spike_timing import require_spike_timing, spike_timing_sums
from highnoon.layers.hatching.spike_timing_tally import SpikeTimingTally
from highnoon.layers.hatching.spiking_membrane import (
    Membrane,
    firing_rate,
    keeps_of_segments,
    keeps_of_step,
    sequential_spikes,
)
from highnoon.layers.recurrence.segment_restarts import count_restarts, is_token
from highnoon.layers.report import Report


@keras.saving.register_keras_serializable(package="highnoon")
class SpikingBDHLayer(BDHLayer):
    """BDH's layer, whose neurons are leaky integrate-and-fire neurons over the tokens.

    ```
    c[t] = input_gains[level] (x[t] encoder)        drive of each head's neurons
    f[t] = spikes(c[.. t])                          those of `LeakyIntegrateFire`, token by token
    s[t] = f[t] relu(c[t])                          a spike carries the drive
    a[t] = sum over u < t of trace_decay^(t-1-u) (rotate(s[t], t) . rotate(s[u], u)) x[u]
    r[t] = relu(norm(a[t]) encoder_v)               these do not spike
    y[t] = norm(x[t] + norm(dropout(s[t] * r[t]) decoder))
    ```

    The equations and constants are those of Hatching (github.com/psikosen/bdh), with what keeps it from
    firing repaired: there the membrane takes one step for a whole row, so that it integrates over nothing,
    and at the documented constants 33 standard deviations of the drive are below the threshold. Here tokens
    are the neurons' time, and `input_gains` are calibrated.

    **Calibration.** Within `calibrating()`, a call sets the gain of its level so that the fraction of neurons
    that fire on its inputs is `sparsity_target`. The threshold stays as it was given. The gains are weights
    that are not trained, so a saved model has them.

    **Homeostasis.** Training moves the rates, and the gradient of the sparsity loss is far too small to hold
    them at the documented weight. So `finish_step` multiplies the gain of each level after each training step
    by `(sparsity_target / rate)^gain_update_rate`, with the rate over the step's tokens and the quotient
    within 1/2 and 2. A run's training step calls it, Keras's `fit` does not. Where `encoder` is frozen, the
    gains stay.

    **Hebbian traces.** The decayed sum of products of spikes and features is a matrix of fast weights,
    `S[t] = trace_decay S[t-1] + s[t] x[t]^T`: linear attention with a decay, and nothing else. It changes
    within a row and never the trained weights.

    **Spike timing.** With `stdp`, training calls add up the rule of `spike_timing_sums` between the features
    x and the spikes f, over all levels, and `finish_step` changes `encoder` by `stdp_rate` times its mean
    over tokens, after the optimizer. A run's training step calls it, Keras's `fit` does not. Frozen weights
    stay as they are.

    Args:
        num_heads: Heads h.
        multiplier: Neurons for each feature of the model: n = multiplier d / h neurons a head.
        tau_mem: Time constant of the membrane, in tokens.
        tau_syn: Time constant of the synaptic current, in tokens.
        v_threshold: The potential above which a neuron fires.
        v_reset: The potential after a spike, and at the start of a document.
        reset: `"hard"` or `"soft"`, see `LeakyIntegrateFire`.
        surrogate: Slope of a spike in the backward pass, `"fast_sigmoid"` or `"arctan"`.
        sparsity_target: Fraction of neurons that should fire at a token, in (0, 0.4].
        sparsity_weight: Weight of the sparsity loss.
        gain_update_rate: Exponent of the homeostasis, in [0, 1]; 0 leaves the gains as calibrated.
        excitatory_ratio: Fraction of neurons whose outgoing weights (rows of `decoder`) are all positive;
            those of the others are all negative (Dale's principle). The two kinds are spread evenly over a
            head, and the signs are imposed by `sign * abs(decoder)`. None for weights of both signs.
        trace_decay: What is left of the fast weights after a token, in (0, 1); None for all, as in BDH.
        scale_free_gamma: Neurons start with k inputs that are not zero, with P(k) proportional to
            k^-scale_free_gamma, see `ScaleFree`; above 2. Training may change every weight. None for all.
        num_levels: Applications of this layer in the model, each with a gain of its own.
        stdp: Whether spike timing changes `encoder`. It takes as much memory again as `encoder`, and the
            operations of one more product with it.
        tau_plus: Time constant of potentiation, in tokens, above 0.
        tau_minus: Time constant of depression, in tokens, above 0.
        a_plus: Potentiation of a pair, at least 0.
        a_minus: Depression of a pair, at least 0.
        stdp_rate: Factor on the mean over tokens, at least 0.
        stdp_clip: Largest change of one weight in a step, above 0.
        norm_epsilon: Added to the variance inside the norms. Where no neuron both fires and is recalled, as
            at the first token of a document, a norm of zeros multiplies the gradient by
            `norm_epsilon^-0.5`, and the levels multiply: the 1e-5 of BDH makes gradients of 1e5 and more.
        **kwargs: `dropout`, `form`, `chunk_length` and `kernel_initializer` of `BDHLayer`, and what Keras's
            layers take.

    Inputs:
        x (b, t, d); segment_ids (b, t), no token sees one of another segment and neurons start at rest;
        positions (t,) or (b, t); level, which application this is, from 0.

    Returns:
        y (b, t, d) and a `Report` with the sparsity loss

    ```
    sparsity_weight * sum over rows of tokens_row / tokens * mean_n (rate[row, n] - sparsity_target)^2
    ```

        and the metrics `activation/firing_rate` and `activation/firing_rate_level_<i>`, the fraction of
        neurons that fire, `activation/gated_neurons`, that of s * r above zero, and `train/sparsity_loss`,
        the loss before its weight. All count tokens that are not padding.

    Raises:
        ValueError: an argument out of its range.

    Example:

    ```python
    import numpy as np
    from highnoon.layers.hatching import SpikingBDHLayer

    layer = SpikingBDHLayer(num_heads=2, multiplier=8)
    x = np.random.default_rng(0).standard_normal((2, 50, 32)).astype("float32")
    with layer.calibrating():
        layer(x)
    y, report = layer(x)
    assert abs(float(report.metrics["activation/firing_rate"]) - 0.1) < 0.01
    ```
    """

    def __init__(
        self,
        num_heads: int,
        multiplier: int = 128,
        tau_mem: float = 10.0,
        tau_syn: float = 5.0,
        v_threshold: float = 1.0,
        v_reset: float = 0.0,
        reset: str = "hard",
        surrogate: str = "fast_sigmoid",
        sparsity_target: float = 0.1,
        sparsity_weight: float = 0.001,
        gain_update_rate: float = 0.1,
        excitatory_ratio: float | None = None,
        trace_decay: float | None = None,
        scale_free_gamma: float | None = None,
        num_levels: int = 1,
        stdp: bool = False,
        tau_plus: float = 20.0,
        tau_minus: float = 20.0,
        a_plus: float = 0.01,
        a_minus: float = 0.0105,
        stdp_rate: float = 0.01,
        stdp_clip: float = 1e-3,
        norm_epsilon: float = 1e-2,
        **kwargs,
    ) -> None:
        super().__init__(num_heads, multiplier, norm_epsilon=norm_epsilon, **kwargs)
        self.membrane = Membrane.of_neuron(tau_mem, tau_syn, v_threshold, v_reset, reset, surrogate)
        if reset == "none":
            raise ValueError("`reset` must be 'hard' or 'soft'; received 'none'")
        self.sparsity_target = require_number("sparsity_target", sparsity_target, above=0, most=0.4)
        self.sparsity_weight = require_number("sparsity_weight", sparsity_weight, least=0)
        self.gain_update_rate = require_number("gain_update_rate", gain_update_rate, least=0, most=1)
        self.excitatory_ratio = excitatory_ratio
        if excitatory_ratio is not None:
            require_number("excitatory_ratio", excitatory_ratio, least=0, most=1)
        self.decay = 1.0
        if trace_decay is not None:
            self.decay = require_number("trace_decay", trace_decay, above=0, below=1)
        self.scale_free_gamma = scale_free_gamma
        if scale_free_gamma is not None:
            require_number("scale_free_gamma", scale_free_gamma, above=2)
        self.num_levels = require_count("num_levels", num_levels)
        self._firing: FiringTally | None = None
        self._is_calibrating = False
        self.stdp = require_flag("stdp", stdp)
        self.tau_plus, self.tau_minus, self.a_plus, self.a_minus = tau_plus, tau_minus, a_plus, a_minus
        require_spike_timing(tau_plus, tau_minus, a_plus, a_minus)
        self.stdp_rate = require_number("stdp_rate", stdp_rate, least=0)
        self.stdp_clip = require_number("stdp_clip", stdp_clip, above=0)
        self._tally: SpikeTimingTally | None = None

    def build(self, x_shape) -> None:
        super().build(x_shape)
        if self.stdp:
            self._tally = SpikeTimingTally(self.encoder.shape, self.stdp_rate, self.stdp_clip)
        if self.gain_update_rate:
            self._firing = FiringTally(self.num_levels)
        self.input_gains = self.add_weight(
            name="input_gains",
            shape=(self.num_levels, 1),
            initializer="ones",
            dtype="float32",
            autocast=False,
            trainable=False,
        )

    @contextmanager
    def calibrating(self) -> Iterator[None]:
        """Within it, each call outside of a graph sets the gain of its level, and uses it."""
        self._is_calibrating = True
        try:
            yield
        finally:
            self._is_calibrating = False

    def call(self, x, segment_ids=None, positions=None, training=None, level=0):
        batch, time = ops.shape(x)[0], x.shape[1]
        if positions is None:
            positions = ops.arange(time if time is not None else ops.shape(x)[1])
        drive = self._drive(x)
        keeps = keeps_of_segments(x, segment_ids)
        state = self._rest(batch)
        if self._is_calibrating:
            self._calibrate(drive, keeps, level)
        drive = self._gain(level) * drive
        spikes, _ = sequential_spikes(self.membrane, drive, keeps, state)
        if training and self._tally is not None and self.encoder.trainable:
            self._add_spike_timing(self._tally, x, spikes, segment_ids, level)
        sparse = self._neurons_of(spikes * ops.relu(drive))
        rotated = adjacent_rotation(sparse, positions)
        is_quadratic = self.form == "quadratic" or (
            self.form == "auto" and time is not None and time <= 2 * self.width
        )
        attended = earlier_token_attention(
            rotated,
            rotated,
            ops.cast(x, "float32")[:, None],
            None if segment_ids is None else count_restarts(segment_ids),
            None if is_quadratic else self.chunk_length,
            self.decay,
        )
        y, gated = self._gate(x, ops.cast(sparse, x.dtype), attended, training)
        report = self._report(spikes, gated, segment_ids, level)
        if training and self._firing is not None and self.encoder.trainable:
            num_tokens = batch * ops.shape(x)[1]
            if segment_ids is not None:
                num_tokens = ops.sum(ops.cast(ops.cast(segment_ids, "int32") > 0, "float32"))
            self._firing.add(self._row(level), report.metrics["activation/firing_rate"], num_tokens)
        return y, report

    @property
    def step_variables(self) -> list[keras.Variable]:
        """What training calls add to and `finish_step` resets; no weights."""
        firing = [] if self._firing is None else [self._firing.counts]
        return firing + ([] if self._tally is None else self._tally.variables)

    def finish_step(self) -> None:
        """Moves the gains towards the target, and changes `encoder` by the spike timing if there is any, of
        the training calls since the last one."""
        if self._firing is not None and self.encoder.trainable:
            errors = self._firing.take_errors(self.sparsity_target)
            self.input_gains.assign(self.input_gains * errors**self.gain_update_rate)
        if self._tally is not None and self.encoder.trainable:
            self.encoder.assign_add(ops.cast(self._tally.take(), self.encoder.dtype))

    def _add_spike_timing(self, tally: SpikeTimingTally, x, spikes, segment_ids, level: int) -> None:
        constants = {name: getattr(self, name) for name in ("tau_plus", "tau_minus", "a_plus", "a_minus")}
        sums = spike_timing_sums(x, spikes, segment_ids, is_time_first=True, **constants)
        by_head = ops.reshape(sums, (self.width, self.num_heads, self.neurons))
        is_real = ops.ones_like(x[..., 0], "float32")
        if segment_ids is not None:
            is_real = ops.cast(ops.cast(segment_ids, "int32") > 0, "float32")
        # All levels read the same tokens, which count once.
        num_tokens = ops.sum(is_real) if self._row(level) == 0 else 0.0
        tally.add(ops.transpose(by_head, (1, 0, 2)), num_tokens)

    def initial_cache(self, batch_size: int, max_length: int, dtype: Any = None) -> dict[str, Any]:
        """Returns BDH's cache with neurons at rest, {"potential", "current"} (b, h n) float32."""
        potential, current = self._rest(batch_size)
        cache = super().initial_cache(batch_size, max_length, dtype)
        return {**cache, "potential": potential, "current": current}

    def step(self, x, cache, index, padding=None, level=0):
        time = x.shape[1]
        positions = ops.cast(index, "int32") + ops.arange(time, dtype="int32")
        drive = self._gain(level) * self._drive(x)
        spikes, (potential, current) = sequential_spikes(
            self.membrane, drive, keeps_of_step(x, index, padding), (cache["potential"], cache["current"])
        )
        sparse = self._neurons_of(spikes * ops.relu(drive))
        query, value = adjacent_rotation(sparse, positions), ops.cast(x, "float32")
        tokens = is_token(index, time, padding)
        key = query if tokens is None else ops.where(tokens[:, None, :, None], query, 0.0)
        new_cache = {"potential": potential, "current": current}
        if "state" in cache:
            attended, new_cache["state"] = attend_with_state(
                query, key, value[:, None], cache["state"], self.chunk_length, self.decay
            )
        else:
            start = ops.cast(index, "int32")
            keys = ops.slice_update(cache["keys"], (0, 0, start, 0), key)
            values = ops.slice_update(cache["values"], (0, start, 0), value)
            new_cache |= {"keys": keys, "values": values}
            gap = positions[:, None] - 1 - ops.arange(keys.shape[2])[None, :]
            left = self.decay ** ops.maximum(ops.cast(gap, "float32"), 0.0)
            products = (query @ ops.swapaxes(keys, 2, 3)) * left
            attended = ops.where(gap >= 0, products, 0.0) @ values[:, None]
        return self._gate(x, ops.cast(sparse, x.dtype), attended, False)[0], new_cache

    def _drive(self, x):
        """The neurons' inputs before their gain, (t, b, h n) float32."""
        kernel = ops.reshape(ops.transpose(self.encoder, (1, 0, 2)), (self.width, -1))
        return ops.cast(ops.matmul(ops.swapaxes(x, 0, 1), ops.cast(kernel, x.dtype)), "float32")

    def _neurons_of(self, drive):
        """(t, b, h n) as (b, h, t, n)."""
        time = drive.shape[0] if drive.shape[0] is not None else ops.shape(drive)[0]
        heads = ops.reshape(drive, (time, -1, self.num_heads, self.neurons))
        return ops.transpose(heads, (1, 2, 0, 3))

    def _rest(self, batch):
        shape = (batch, self.num_heads * self.neurons)
        return ops.full(shape, self.membrane.rest, "float32"), ops.zeros(shape, "float32")

    def _row(self, level: int) -> int:
        if self.num_levels == 1:
            return 0
        if not 0 <= level < self.num_levels:
            raise ValueError(f"`level` must be below num_levels={self.num_levels}; received {level}")
        return level

    def _gain(self, level: int):
        return ops.convert_to_tensor(self.input_gains)[self._row(level), 0]

    def _calibrate(self, drive, keeps, level: int) -> None:
        gain = find_gain(self.membrane, drive, keeps, self.sparsity_target)
        row = ops.reshape(ops.arange(self.num_levels) == self._row(level), (-1, 1))
        self.input_gains.assign(ops.where(row, gain, self.input_gains))

    def _initializer_of(self, name: str):
        initializer = super()._initializer_of(name)
        if name != "encoder" or self.scale_free_gamma is None:
            return initializer
        return ScaleFree(initializer, self.scale_free_gamma)

    def _outgoing(self):
        """The weights of `decoder`, with the sign of each neuron where there is one."""
        if self.excitatory_ratio is None:
            return self.decoder
        index = ops.arange(self.neurons, dtype="float32")
        inhibitory = 1.0 - self.excitatory_ratio
        # One more inhibitory neuron wherever the sum of fractions passes a whole number.
        passes = ops.floor((index + 1.0) * inhibitory + 1e-4) - ops.floor(index * inhibitory + 1e-4)
        sign = ops.tile(1.0 - 2.0 * passes, self.num_heads)[:, None]
        return ops.cast(sign, self.decoder.dtype) * ops.abs(self.decoder)

    def _report(self, spikes, gated, segment_ids, level: int) -> Report:
        is_real = ops.ones_like(spikes[:, :, 0])  # (t, b)
        if segment_ids is not None:
            is_real = ops.transpose(ops.cast(ops.cast(segment_ids, "int32") > 0, "float32"))
        row_tokens = ops.sum(is_real, axis=0)
        tokens = ops.maximum(ops.sum(row_tokens), 1.0)
        rates = ops.einsum("tbn,tb->bn", spikes, is_real) / ops.maximum(row_tokens, 1.0)[:, None]
        off_target = ops.mean(ops.square(rates - self.sparsity_target), axis=-1)
        loss = ops.sum(row_tokens * off_target) / tokens
        rate = firing_rate(spikes, segment_ids)
        active = ops.mean(ops.cast(ops.stop_gradient(gated) > 0, "float32"), axis=(1, 3))
        metrics = {
            "activation/firing_rate": rate,
            f"activation/firing_rate_level_{level}": rate,
            "activation/gated_neurons": ops.sum(active * ops.transpose(is_real)) / tokens,
            "train/sparsity_loss": ops.stop_gradient(loss),
        }
        return Report(self.sparsity_weight * loss, metrics)

    def compute_output_spec(self, x, segment_ids=None, positions=None, training=None, level=0):
        names = ("firing_rate", f"firing_rate_level_{level}", "gated_neurons")
        scalar = keras.KerasTensor((), dtype="float32")
        metrics = {f"activation/{name}": scalar for name in names} | {"train/sparsity_loss": scalar}
        return keras.KerasTensor(x.shape, dtype=self.compute_dtype), Report(scalar, metrics)
