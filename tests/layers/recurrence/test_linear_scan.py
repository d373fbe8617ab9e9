"""A mixer of one's own that is a recurrence keeps the protocol, by `linear_scan` alone."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from highnoon.layers import Mixer, linear_scan
from highnoon.testing.check_mixer import check_mixer
from highnoon.testing.compiled import compiled_forms
from highnoon.testing.gradients import value_and_gradients
from highnoon.testing.slopes import check_slopes


class MovingAverage(Mixer):
    def build(self, x_shape):
        self.decay = self.add_weight((x_shape[-1],), initializer="zeros", name="decay")

    def call(self, x, segment_ids=None, positions=None, training=None):
        decay, new = self._inputs(x)
        if segment_ids is not None:
            is_same = segment_ids == ops.pad(segment_ids, [[0, 0], [1, 0]])[:, :-1]
            decay = ops.where(is_same[..., None], decay, 0.0)
        return ops.cast(linear_scan(decay, new), x.dtype)

    def initial_cache(self, batch_size, max_length, dtype=None):
        return {"state": ops.zeros((batch_size, self.decay.shape[0]), "float32")}

    def step(self, x, cache, index, padding=None):
        decay, new = self._inputs(x)
        if padding is not None:
            is_token = (index + ops.arange(ops.shape(x)[1]) >= padding[:, None])[..., None]
            decay, new = ops.where(is_token, decay, 1.0), ops.where(is_token, new, 0.0)
        states = linear_scan(decay, new, cache["state"])
        return ops.cast(states, x.dtype), {"state": states[:, -1]}

    def _inputs(self, x):
        decay = ops.sigmoid(ops.cast(self.decay, "float32"))
        return decay, (1 - decay) * ops.cast(x, "float32")


def test_a_moving_average_by_linear_scan_passes_the_battery_of_mixers():
    check_mixer(MovingAverage(), width=4)


class MovingAverageByKeras(MovingAverage):
    def call(self, x, segment_ids=None, positions=None, training=None):
        decay, new = self._inputs(x)
        decay = decay * ops.ones_like(new)
        if segment_ids is not None:
            is_same = segment_ids == ops.pad(segment_ids, [[0, 0], [1, 0]])[:, :-1]
            decay = ops.where(is_same[..., None], decay, 0.0)

        def advance(state, now):
            state = now[0] * state + now[1]
            return state, state

        inputs = ops.swapaxes(decay, 0, 1), ops.swapaxes(new, 0, 1)
        _, states = ops.scan(advance, ops.zeros_like(new[:, 0]), inputs)
        return ops.cast(ops.swapaxes(states, 0, 1), x.dtype)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="JAX compiles `ops.scan`")
def test_a_recurrence_that_does_not_compile_is_told_what_to_use():
    with pytest.raises(Exception) as caught:
        check_mixer(MovingAverageByKeras(), width=4)
    assert "for a recurrence use `highnoon.layers.linear_scan`" in "".join(caught.value.__notes__)


@pytest.mark.parametrize("time", [1, 5])
def test_states_and_gradients_are_those_of_the_recurrence(time):
    random = np.random.default_rng(0)
    decay, new = random.uniform(size=(2, 2, time, 3)).astype("float32")
    state = random.normal(size=(2, 3)).astype("float32")
    expected, last = [], state
    for t in range(time):
        last = decay[:, t] * last + new[:, t]
        expected.append(last)
    expected = np.stack(expected, axis=1)
    np.testing.assert_allclose(linear_scan(decay, new, state), expected, rtol=1e-6)
    for form in compiled_forms(linear_scan).values():
        np.testing.assert_allclose(form(decay, new, state), expected, rtol=1e-6)
    target = random.normal(size=expected.shape).astype("float32")

    def loss(decay, new, state):
        return ops.sum(target * linear_scan(decay, new, state) ** 2)

    arrays = [decay, new, state]
    _, gradients = value_and_gradients(loss, *arrays)
    check_slopes(loss, arrays, gradients, ["decay", "new", "state"])
