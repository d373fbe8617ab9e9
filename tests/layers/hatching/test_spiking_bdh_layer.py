"""BDH's layer with spiking neurons: its equations, its calibration and its options."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from highnoon.layers.hatching import SpikingBDHLayer
from highnoon.layers.hatching.gain_search import find_gain
from highnoon.layers.hatching.scale_free import ScaleFree
from highnoon.testing.check_mixer import check_mixer

WIDTH, TIME = 16, 40
SEGMENTS = np.array([[1] * 15 + [2] * 20 + [0] * 5, [1] * TIME])
ALL = {"trace_decay": 0.9, "excitatory_ratio": 0.8, "scale_free_gamma": 2.5, "num_levels": 3}


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((2, TIME, WIDTH)).astype("float32")


def calibrated(x, level: int = 0, **options) -> SpikingBDHLayer:
    keras.utils.set_random_seed(0)
    layer = SpikingBDHLayer(num_heads=2, multiplier=8, **options)
    with layer.calibrating():
        layer(x, level=level)
    return layer


def metric(outputs, name: str) -> float:
    return float(outputs[1].metrics[name])


def norm(x):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-2)


def rotated(x):
    angle = np.arange(len(x))[:, None] / 65536.0 ** (np.arange(0, x.shape[1], 2) / x.shape[1])
    y = np.empty_like(x)
    y[:, 0::2] = x[:, 0::2] * np.cos(angle) - x[:, 1::2] * np.sin(angle)
    y[:, 1::2] = x[:, 1::2] * np.cos(angle) + x[:, 0::2] * np.sin(angle)
    return y


def naive(layer, x, gain, decay, signs):
    """One document of one row, in float64."""
    kernels = [layer.encoder, layer.encoder_v, layer.decoder]
    encoder, encoder_v, decoder = (ops.convert_to_numpy(kernel).astype("float64") for kernel in kernels)
    mem, syn, gated = np.exp(-1 / 10), np.exp(-1 / 5), []
    for head in range(2):
        drive = gain * (x @ encoder[head])
        v = i = np.zeros(drive.shape[1])
        sparse = np.zeros_like(drive)
        for t in range(len(x)):
            i = syn * i + drive[t]
            u = mem * v + (1 - mem) * i
            sparse[t] = (u > 1) * np.maximum(drive[t], 0)
            v = np.where(u > 1, 0, u)
        key = rotated(sparse)
        gap = np.arange(len(x))[:, None] - 1 - np.arange(len(x))[None]
        attended = (np.where(gap >= 0, decay ** np.maximum(gap, 0.0), 0) * (key @ key.T)) @ x
        gated.append(sparse * np.maximum(norm(attended) @ encoder_v[head], 0))
    if signs is not None:
        decoder = np.tile(signs, 2)[:, None] * np.abs(decoder)
    return norm(x + norm(np.concatenate(gated, axis=1) @ decoder))


@pytest.mark.parametrize("is_full", [False, True])
@pytest.mark.parametrize("form", ["quadratic", "chunked"])
def test_the_layer_computes_its_equations(form, is_full, x):
    options = {"trace_decay": 0.9, "excitatory_ratio": 0.75, "num_levels": 2} if is_full else {}
    layer = calibrated(x, level=1, form=form, chunk_length=8, **options)
    gain = float(ops.convert_to_numpy(layer.input_gains)[-1, 0])
    signs = np.where(np.arange(64) % 4 == 3, -1.0, 1.0) if is_full else None
    y, _ = layer(x, level=1)
    for row in range(2):
        expected = naive(layer, x[row].astype("float64"), gain, 0.9 if is_full else 1.0, signs)
        np.testing.assert_allclose(ops.convert_to_numpy(y)[row], expected, atol=2e-4)


def test_documents_are_as_alone(x):
    layer = calibrated(x)
    positions = np.stack([np.concatenate([np.arange(15), np.arange(25)]), np.arange(TIME)])
    y = ops.convert_to_numpy(layer(x, segment_ids=SEGMENTS, positions=positions)[0])
    np.testing.assert_allclose(y[0, 15:35], ops.convert_to_numpy(layer(x[:1, 15:35])[0])[0], atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [{}, pytest.param(ALL, marks=pytest.mark.slow), pytest.param({"reset": "soft"}, marks=pytest.mark.slow)],
    ids=["default", "all", "soft"],
)
def test_it_keeps_the_mixer_protocol(options):
    keras.utils.set_random_seed(1)
    neurons = {"tau_mem": 2.0, "tau_syn": 2.0, "v_threshold": 0.3}
    layer = SpikingBDHLayer(num_heads=2, multiplier=32, dropout=0.1, **neurons, **options)
    check_mixer(layer, width=WIDTH, compares_slopes=False)


@pytest.mark.parametrize("target", [0.02, 0.1, 0.3])
@pytest.mark.parametrize("reset", ["hard", "soft"])
def test_calibration_sets_the_gain_of_one_level_and_no_threshold(reset, target, x):
    layer = calibrated(x, level=1, sparsity_target=target, reset=reset, num_levels=3, v_threshold=0.8)
    assert metric(layer(x, level=1), "activation/firing_rate_level_1") == pytest.approx(target, rel=0.01)
    gains = ops.convert_to_numpy(layer.input_gains)
    assert gains.shape == (3, 1) and gains[0] == gains[2] == 1.0
    assert layer.membrane.threshold == 0.8
    assert "input_gains" not in [weight.name for weight in layer.trainable_variables]


def test_calls_after_calibration_leave_the_gains(x):
    layer = calibrated(x)
    before = ops.convert_to_numpy(layer.input_gains)
    layer(3 * x, training=True)
    np.testing.assert_array_equal(ops.convert_to_numpy(layer.input_gains), before)


def test_gains_follow_the_target_after_a_step(x):
    layer = calibrated(x, level=1, num_levels=3, sparsity_target=0.2)
    calibrated_gain = float(ops.convert_to_numpy(layer.input_gains)[1, 0])
    layer.finish_step()
    layer(x, level=1)  # inference is not counted
    assert ops.convert_to_numpy(layer.input_gains).ravel().tolist() == [1.0, calibrated_gain, 1.0]
    layer.input_gains.assign([[1.0], [0.5 * calibrated_gain], [1.0]])
    rates = [metric(layer(x, segment_ids=SEGMENTS, training=True, level=1), "activation/firing_rate")]
    rates.append(metric(layer(x[:1], training=True, level=1), "activation/firing_rate"))
    rate = (rates[0] * 75 + rates[1] * 40) / 115  # tokens that are not padding
    layer.finish_step()
    gains = ops.convert_to_numpy(layer.input_gains).ravel()
    expected = 0.5 * calibrated_gain * min(0.2 / rate, 2) ** 0.1
    np.testing.assert_allclose(gains, [1.0, expected, 1.0], rtol=1e-5)
    layer.finish_step()
    np.testing.assert_array_equal(ops.convert_to_numpy(layer.input_gains).ravel(), gains)


def test_gains_stay_without_an_update_rate(x):
    layer = calibrated(x, gain_update_rate=0.0)
    before = ops.convert_to_numpy(layer.input_gains)
    layer(3 * x, training=True)
    layer.finish_step()
    np.testing.assert_array_equal(ops.convert_to_numpy(layer.input_gains), before)
    assert layer.step_variables == []


def test_a_rate_that_no_gain_reaches_is_refused_in_one_line(x):
    layer = SpikingBDHLayer(num_heads=2, multiplier=8)
    layer.build(x.shape)
    drive = -ops.ones((5, 2, 8))
    with pytest.raises(ValueError, match="no input gain makes the fraction 0.1") as error:
        find_gain(layer.membrane, drive, ops.ones((5, 2, 1)), 0.1)
    assert "\n" not in str(error.value)


def test_the_sparsity_loss_of_a_batch_is_that_of_its_rows(x):
    layer = calibrated(x, sparsity_weight=2.0)
    report = layer(x, segment_ids=SEGMENTS)[1]
    parts = [layer(x[row : row + 1], segment_ids=SEGMENTS[row : row + 1])[1] for row in range(2)]
    tokens = (SEGMENTS > 0).sum(axis=1) / (SEGMENTS > 0).sum()
    expected = sum(float(part.aux_loss) * fraction for part, fraction in zip(parts, tokens, strict=True))
    assert float(report.aux_loss) == pytest.approx(expected, rel=1e-5)
    assert float(report.aux_loss) == pytest.approx(2 * metric((None, report), "train/sparsity_loss"))
    rate = sum(metric((None, p), "activation/firing_rate") * f for p, f in zip(parts, tokens, strict=True))
    assert metric((None, report), "activation/firing_rate") == pytest.approx(rate, rel=1e-5)


def test_the_sparsity_loss_is_zero_where_every_neuron_fires_at_the_target():
    layer = SpikingBDHLayer(num_heads=2, multiplier=8, sparsity_target=0.25)
    layer.build((1, 8, WIDTH))
    spikes = np.zeros((8, 1, 128), "float32")
    spikes[2], spikes[5] = 1, 1
    report = layer._report(ops.convert_to_tensor(spikes), ops.zeros((1, 2, 8, 64)), None, 0)
    assert float(report.aux_loss) == 0.0
    report = layer._report(ops.convert_to_tensor(0 * spikes), ops.zeros((1, 2, 8, 64)), None, 0)
    assert float(report.metrics["train/sparsity_loss"]) == pytest.approx(0.25**2)


@pytest.mark.parametrize("ratio", [0.0, 0.8, 1.0])
def test_the_outgoing_weights_of_a_neuron_have_one_sign(ratio):
    layer = SpikingBDHLayer(num_heads=2, multiplier=10, excitatory_ratio=ratio)
    layer.build((1, 4, WIDTH))
    outgoing = ops.convert_to_numpy(layer._outgoing())
    is_excitatory = (outgoing >= 0).all(axis=1)
    assert (is_excitatory | (outgoing <= 0).all(axis=1)).all()
    np.testing.assert_allclose(is_excitatory.reshape(2, 80).mean(axis=1), ratio, atol=1 / 80)


def test_scale_free_inputs_follow_the_power_and_keep_the_variance():
    kernel = ops.convert_to_numpy(
        ScaleFree(keras.initializers.RandomNormal(stddev=0.02), 2.5, seed=3)((1, 256, 4000))
    )
    degree = (kernel[0] != 0).sum(axis=0)
    least = np.ceil(25.6 * 0.5 / 1.5)
    assert degree.min() == least and degree.max() == 256
    # P(k > 2 k_min) = 2^-1.5, whatever k_min is.
    assert (degree > 2 * 25.6 / 3).mean() == pytest.approx(2**-1.5, abs=0.03)
    variance = (kernel[0] ** 2).sum(axis=0)
    for part in (degree < 12, degree > 40):
        assert variance[part].mean() == pytest.approx(256 * 0.02**2, rel=0.1)


def test_scale_free_neurons_start_with_few_inputs():
    plain, sparse = (
        SpikingBDHLayer(num_heads=2, multiplier=8, scale_free_gamma=gamma) for gamma in (None, 2.5)
    )
    for layer in (plain, sparse):
        layer.build((1, 4, 64))
    assert (ops.convert_to_numpy(plain.encoder) != 0).all()
    assert (ops.convert_to_numpy(sparse.encoder) != 0).mean() < 0.3
    assert (ops.convert_to_numpy(sparse.encoder_v) != 0).all()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"tau_mem": 0.0}, "`tau_mem` must be above 0"),
        ({"reset": "none"}, "`reset` must be 'hard' or 'soft'"),
        ({"sparsity_target": 0.6}, "`sparsity_target` must be in"),
        ({"sparsity_weight": -1.0}, "`sparsity_weight` must not be negative"),
        ({"excitatory_ratio": 1.5}, "`excitatory_ratio` must be"),
        ({"trace_decay": 1.0}, "`trace_decay` must be in"),
        ({"scale_free_gamma": 2.0}, "`scale_free_gamma` must be above 2"),
        ({"num_levels": 0}, "`num_levels` must be"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(options, message):
    with pytest.raises(ValueError, match=message) as error:
        SpikingBDHLayer(num_heads=2, **options)
    assert "\n" not in str(error.value)


def test_an_unknown_level_is_refused(x):
    layer = calibrated(x, num_levels=2)
    with pytest.raises(ValueError, match="`level` must be below num_levels=2; received 2"):
        layer(x, level=2)
