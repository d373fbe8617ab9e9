"""Spike timing in the spiking layer: what it changes, by how much, and what it costs when it is off."""

from __future__ import annotations

import numpy as np
import pytest
from keras import ops

from highnoon.config import ConfigError
from highnoon.layers.hatching.spiking_bdh_layer import SpikingBDHLayer
from highnoon.layers.hatching.spiking_membrane import keeps_of_segments, sequential_spikes

SHAPE = {"num_heads": 2, "multiplier": 4}
X = np.random.default_rng(0).standard_normal((2, 12, 8)).astype("float32")
SEGMENTS = np.array([[1] * 5 + [2] * 7, [1] * 9 + [0] * 3])


def layer_of(**options) -> SpikingBDHLayer:
    layer = SpikingBDHLayer(**SHAPE, **{"stdp": True, "gain_update_rate": 0.0, **options})
    layer.build(X.shape)
    for level in range(layer.num_levels):
        with layer.calibrating():
            layer(X, level=level)
    return layer


def encoder_of(layer) -> np.ndarray:
    return ops.convert_to_numpy(layer.encoder)


def naive_change(layer, constants, level=0):
    """Traces token by token, from the layer's own spikes."""
    drive = layer._gain(level) * layer._drive(X)
    spikes, _ = sequential_spikes(layer.membrane, drive, keeps_of_segments(X, SEGMENTS), layer._rest(2))
    spikes = ops.convert_to_numpy(layer._neurons_of(spikes))  # (b, h, t, n)
    sums = np.zeros(layer.encoder.shape)
    for row in range(2):
        pre_trace, post_trace = np.zeros(8), np.zeros((2, 16))
        for t in range(12):
            begins = t == 0 or SEGMENTS[row, t] != SEGMENTS[row, t - 1]
            past = 0.0 if begins else 1.0
            pre_trace = past * np.exp(-1 / constants["tau_plus"]) * (pre_trace + X[row, t - 1])
            post_trace = past * np.exp(-1 / constants["tau_minus"]) * (post_trace + spikes[row, :, t - 1])
            if SEGMENTS[row, t]:
                sums += constants["a_plus"] * np.einsum("d,hn->hdn", pre_trace, spikes[row, :, t])
                sums -= constants["a_minus"] * np.einsum("d,hn->hdn", X[row, t], post_trace)
    return sums


def test_the_encoder_changes_by_the_rule_of_its_spikes_over_all_levels():
    constants = {"tau_plus": 5.0, "tau_minus": 9.0, "a_plus": 0.2, "a_minus": 0.3}
    layer = layer_of(num_levels=2, stdp_rate=0.5, stdp_clip=10.0, **constants)
    layer.input_gains.assign([[30.0], [60.0]])
    before, want = encoder_of(layer), sum(naive_change(layer, constants, level) for level in range(2))
    for level in range(2):
        layer(X, segment_ids=SEGMENTS, training=True, level=level)
    np.testing.assert_array_equal(encoder_of(layer), before)  # nothing before the step's end
    layer.finish_step()
    change = encoder_of(layer) - before
    np.testing.assert_allclose(change, 0.5 * want / 21, atol=1e-6)  # 21 tokens are not padding
    assert np.abs(change).max() > 0.01
    layer.finish_step()
    np.testing.assert_allclose(encoder_of(layer) - before, change, atol=1e-7)


def test_a_change_is_clipped():
    layer = layer_of(stdp_rate=1e6, stdp_clip=0.25)
    before = encoder_of(layer)
    layer(X, training=True)
    layer.finish_step()
    assert np.abs(encoder_of(layer) - before).max() == pytest.approx(0.25, abs=1e-6)


def test_inference_padding_and_frozen_weights_are_not_counted():
    layer = layer_of(stdp_rate=100.0)
    before = encoder_of(layer)
    layer(X)
    layer(X, segment_ids=np.zeros((2, 12), "int32"), training=True)
    layer.finish_step()
    np.testing.assert_array_equal(encoder_of(layer), before)
    layer.encoder.trainable = False
    layer(X, training=True)
    layer.finish_step()
    assert not any(ops.convert_to_numpy(counter).any() for counter in layer.step_variables)
    np.testing.assert_array_equal(encoder_of(layer), before)


def test_off_there_are_no_sums_and_on_the_weights_are_the_same_ones():
    on, off = layer_of(gain_update_rate=0.0), layer_of(stdp=False, gain_update_rate=0.0)
    assert off.step_variables == [] and not SpikingBDHLayer(**SHAPE).stdp
    assert [weight.shape for weight in on.weights] == [weight.shape for weight in off.weights]
    assert sum(np.prod(counter.shape) for counter in on.step_variables) == np.prod(on.encoder.shape) + 1
    before = encoder_of(off)
    off(X, training=True)
    off.finish_step()
    np.testing.assert_array_equal(encoder_of(off), before)
    y_on, _ = on(X, training=True)
    off.set_weights(on.get_weights())
    np.testing.assert_array_equal(off(X, training=True)[0], y_on)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("stdp", "yes"),
        ("tau_plus", 0),
        ("tau_minus", -1.0),
        ("a_plus", -0.1),
        ("a_minus", None),
        ("stdp_rate", -1.0),
        ("stdp_clip", 0.0),
    ],
)
def test_an_option_out_of_its_range_is_one_line(option, value):
    with pytest.raises(ConfigError, match=f"`{option}` must") as error:
        SpikingBDHLayer(**SHAPE, **{option: value})
    assert "\n" not in str(error.value)
