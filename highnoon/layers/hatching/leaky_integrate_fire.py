"""Leaky integrate-and-fire neurons over the tokens of a row."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from highnoon.config import require_count
from highnoon.layers.hatching.spiking_membrane import (
    Membrane,
    firing_rate,
    keeps_of_segments,
    keeps_of_step,
    parallel_spikes,
    sequential_spikes,
)
from highnoon.layers.hatching.surrogate_gradients import spike
from highnoon.layers.mixer import Mixer
from highnoon.layers.recurrence.linear_scan import linear_scan
from highnoon.layers.recurrence.segment_restarts import count_restarts
from highnoon.layers.report import Report


@keras.saving.register_keras_serializable(package="highnoon")
class LeakyIntegrateFire(Mixer):
    """A spiking neuron for each channel, whose time is the token axis.

    ```
    i[t] = exp(-1 / tau_syn) i[t-1] + x[t]                                    synaptic current
    u[t] = exp(-1 / tau_mem) v[t-1] + (1 - exp(-1 / tau_mem)) i[t]            membrane potential
    s[t] = 1 where u[t] > v_threshold, else 0                                 the output
    v[t] = v_reset where s[t], else u[t]                                      reset="hard"
    v[t] = u[t] - (v_threshold - v_reset) s[t]                                reset="soft"
    v[t] = u[t]                                                               reset="none"
    ```

    v is `v_reset` and i is 0 before the first token of each document. `"hard"` and `"soft"` run token by
    token, exactly as written. `"none"` runs in parallel over the tokens, since the potential then is a linear
    function of the input. It is another neuron: one that is driven steadily fires at every token and does not
    pause, and so fires more often at the same threshold.

    In the backward pass a spike has the slope of a surrogate:

    - `"fast_sigmoid"`: 1 / (1 + k |u - v_threshold|)^2, k = 10, Zenke & Ganguli 2018, SuperSpike
      (arXiv:1705.11146), eq. 10.
    - `"arctan"`: k / 2 / (1 + (pi k (u - v_threshold) / 2)^2), k = 2, Fang et al. 2021 (arXiv:2007.05785),
      section 4.

    Args:
        tau_mem: Time constant of the membrane, in tokens, above 0.
        tau_syn: Time constant of the synaptic current, in tokens, above 0.
        v_threshold: The potential above which a neuron fires, above 0.
        v_reset: The potential after a spike and at the start of a document, below `v_threshold`.
        reset: `"hard"`, `"soft"` or `"none"`.
        surrogate: `"fast_sigmoid"` or `"arctan"`.
        sharpness: k of the surrogate; None takes the number above.
        detaches_reset: Whether the backward pass takes the reset as a constant, as Zenke & Vogels 2021
            (Neural Computation 33, 899) advise; else its spike has the surrogate's slope too.
        learns_threshold: Whether each neuron has a learned threshold that starts at `v_threshold`; with
            `reset="none"` alone.
        chunk_length: Tokens in one chunk of the parallel form.

    Inputs:
        x (b, t, n), the input currents; segment_ids (b, t), neurons start at rest where they change;
        positions are not used.

    Returns:
        Spikes (b, t, n), 0 or 1, and a `Report` with the metric `activation/firing_rate`, their mean over
        tokens that are not padding.

    Raises:
        ValueError: an argument out of its range, a `v_reset` other than 0 with `reset="none"`, or a learned
            threshold with another reset.

    Example:

    ```python
    import numpy as np
    from highnoon.layers.hatching import LeakyIntegrateFire

    spikes, report = LeakyIntegrateFire()(np.ones((2, 6, 3), "float32"))
    assert np.ravel(spikes[0, :, 0]).tolist() == [0.0, 0.0, 0.0, 0.0, 0.0, 1.0]
    ```

    Gerstner et al. 2014, Neuronal Dynamics, section 1.3; with tokens as time, Zhu et al. 2023, SpikeGPT
    (arXiv:2302.13939), section 3.2. `reset="none"`: Fang et al. 2023 (arXiv:2304.12760), section 3.
    """

    def __init__(
        self,
        tau_mem: float = 10.0,
        tau_syn: float = 5.0,
        v_threshold: float = 1.0,
        v_reset: float = 0.0,
        reset: str = "hard",
        surrogate: str = "fast_sigmoid",
        sharpness: float | None = None,
        detaches_reset: bool = True,
        learns_threshold: bool = False,
        chunk_length: int = 64,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        self.membrane = Membrane.of_neuron(
            tau_mem, tau_syn, v_threshold, v_reset, reset, surrogate, sharpness, detaches_reset
        )
        if learns_threshold and reset != "none":
            raise ValueError(
                f"`learns_threshold` needs reset='none'; received reset={reset!r}. With a reset to 0, scale "
                "the input instead, which is the same"
            )
        self.learns_threshold = learns_threshold
        self.chunk_length = require_count("chunk_length", chunk_length)

    def build(self, x_shape) -> None:
        self.neurons = x_shape[-1]
        self.threshold = None
        if self.learns_threshold:
            self.threshold = self.add_weight(
                name="threshold",
                shape=(self.neurons,),
                initializer=keras.initializers.Constant(self.membrane.threshold),
                dtype="float32",
                autocast=False,
            )

    def call(self, x, segment_ids=None, positions=None, training=None):
        drive = ops.cast(x, "float32")
        if self.membrane.reset == "none":
            counts = None if segment_ids is None else count_restarts(segment_ids)
            spikes = parallel_spikes(self._neurons(), drive, counts, self.chunk_length)
            over_time = ops.swapaxes(spikes, 0, 1)
        else:
            keeps = keeps_of_segments(x, segment_ids)
            state = self._state(ops.shape(x)[0])
            over_time, _ = sequential_spikes(self.membrane, ops.swapaxes(drive, 0, 1), keeps, state)
            spikes = ops.swapaxes(over_time, 0, 1)
        report = Report(metrics={"activation/firing_rate": firing_rate(over_time, segment_ids)})
        return ops.cast(spikes, self.compute_dtype), report

    def initial_cache(self, batch_size: int, max_length: int, dtype: Any = None) -> dict[str, Any]:
        """Returns neurons at rest: {"potential" (b, n), "current" (b, n)}, float32."""
        potential, current = self._state(batch_size)
        return {"potential": potential, "current": current}

    def step(self, x, cache, index, padding=None):
        drive = ops.swapaxes(ops.cast(x, "float32"), 0, 1)
        keeps = keeps_of_step(x, index, padding)
        state = (cache["potential"], cache["current"])
        if self.membrane.reset == "none":
            spikes, (potential, current) = self._linear_spikes(drive, keeps, state)
        else:
            spikes, (potential, current) = sequential_spikes(self.membrane, drive, keeps, state)
        spikes = ops.cast(ops.swapaxes(spikes, 0, 1), self.compute_dtype)
        return spikes, {"potential": potential, "current": current}

    def _neurons(self) -> Membrane:
        """The constants, with a learned threshold where there is one."""
        if self.threshold is None:
            return self.membrane
        return self.membrane._replace(threshold=ops.convert_to_tensor(self.threshold))

    def _linear_spikes(self, drive, keeps, state):
        """The parallel form with a state, for decoding."""
        neurons = self._neurons()
        rows = [ops.swapaxes(tensor, 0, 1) for tensor in (drive, keeps)]
        current = linear_scan(neurons.syn_decay * rows[1], rows[0], state[1])
        potential = linear_scan(neurons.mem_decay * rows[1], (1.0 - neurons.mem_decay) * current, state[0])
        spikes = spike(potential - neurons.threshold, neurons.surrogate, neurons.sharpness)
        return ops.swapaxes(spikes, 0, 1), (potential[:, -1], current[:, -1])

    def _state(self, batch):
        rest = ops.full((batch, self.neurons), self.membrane.rest, "float32")
        return rest, ops.zeros((batch, self.neurons), "float32")

    def compute_output_spec(self, x, segment_ids=None, positions=None, training=None):
        metrics = {"activation/firing_rate": keras.KerasTensor((), dtype="float32")}
        return keras.KerasTensor(x.shape, dtype=self.compute_dtype), Report(metrics=metrics)
