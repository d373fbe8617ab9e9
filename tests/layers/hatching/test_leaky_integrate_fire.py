"""Leaky integrate-and-fire neurons against a loop over tokens and against snnTorch."""

from __future__ import annotations

import math

import numpy as np
import pytest
from keras import ops

from highnoon.layers.hatching import LeakyIntegrateFire
from highnoon.testing.check_mixer import check_mixer
from highnoon.testing.gradients import layer_gradients

TIME, NEURONS = 60, 7
SEGMENTS = np.array([[1] * 25 + [2] * 20 + [0] * 15, [1] * TIME])
OTHERS = {
    "tau_mem": 3.0,
    "tau_syn": 2.0,
    "v_threshold": 0.7,
    "v_reset": -0.1,
    "reset": "soft",
    "surrogate": "arctan",
    "sharpness": 3.0,
    "detaches_reset": False,
    "chunk_length": 8,
}


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    return np.random.default_rng(0).normal(0.5, 1.5, (2, TIME, NEURONS)).astype("float32")


def naive(x, segment_ids, thresholds, reset="hard", v_reset=0.0, tau_mem=10.0, tau_syn=5.0):
    """Each neuron and each document by itself, in float64."""
    spikes = np.zeros(x.shape)
    for row, ids in enumerate(segment_ids):
        for neuron in range(x.shape[2]):
            threshold = thresholds[neuron]
            for t in range(x.shape[1]):
                if t == 0 or ids[t] != ids[t - 1]:
                    v, i = v_reset, 0.0
                i = math.exp(-1 / tau_syn) * i + float(x[row, t, neuron])
                u = math.exp(-1 / tau_mem) * v + (1 - math.exp(-1 / tau_mem)) * i
                fired = u > threshold
                spikes[row, t, neuron] = fired
                if reset == "hard":
                    v = v_reset if fired else u
                else:
                    v = u - (threshold - v_reset) * fired * (reset == "soft")
    return spikes


@pytest.mark.parametrize(
    "options", [{}, {"reset": "soft"}, {"v_reset": -0.5, "tau_mem": 4.0}, {"reset": "none", "tau_syn": 3.0}]
)
def test_spikes_are_those_of_the_loop(options, x):
    spikes, report = LeakyIntegrateFire(**options)(x, segment_ids=SEGMENTS)
    expected = naive(x, SEGMENTS, np.ones(NEURONS), **options)
    assert 0.05 < expected.mean() < 0.7
    np.testing.assert_array_equal(ops.convert_to_numpy(spikes), expected)
    rate = expected[SEGMENTS > 0].mean()
    assert float(report.metrics["activation/firing_rate"]) == pytest.approx(rate, abs=1e-6)


def test_learned_thresholds_are_one_for_each_neuron(x):
    layer = LeakyIntegrateFire(reset="none", learns_threshold=True)
    layer.build(x.shape)
    assert ops.convert_to_numpy(layer.threshold).tolist() == [1.0] * NEURONS
    thresholds = np.linspace(0.2, 3.0, NEURONS).astype("float32")
    layer.threshold.assign(thresholds)
    spikes, _ = layer(x, segment_ids=SEGMENTS)
    np.testing.assert_array_equal(
        ops.convert_to_numpy(spikes), naive(x, SEGMENTS, thresholds.astype("float64"), "none")
    )
    gradient = layer_gradients(layer, x, np.ones(x.shape, "float32"))[layer.threshold.path]
    assert (gradient < 0).all()  # a higher threshold makes fewer spikes


def test_without_resets_neurons_fire_more_often_and_do_not_pause():
    steady = np.full((1, 200, 1), 0.4, "float32")  # a potential of 2.2 in the end
    rates = {
        reset: float(LeakyIntegrateFire(reset=reset)(steady)[1].metrics["activation/firing_rate"])
        for reset in ("hard", "soft", "none")
    }
    assert rates["hard"] < rates["soft"] < rates["none"]
    assert np.asarray(LeakyIntegrateFire(reset="none")(steady)[0])[0, 20:].all()


@pytest.mark.parametrize(
    "options",
    [{"reset": "hard"}, {"reset": "soft", "v_reset": -0.3}, {"reset": "none", "learns_threshold": True}],
    ids=lambda options: options["reset"],
)
def test_it_keeps_the_mixer_protocol(options):
    layer = LeakyIntegrateFire(tau_mem=2.0, tau_syn=1.5, chunk_length=4, **options)
    check_mixer(layer, width=16, compares_slopes=False)


def test_every_argument_survives_the_configuration():
    config = LeakyIntegrateFire(**OTHERS).get_config()
    assert {name: config[name] for name in OTHERS} == OTHERS
    assert LeakyIntegrateFire.from_config(config).membrane == LeakyIntegrateFire(**OTHERS).membrane


@pytest.mark.parametrize(
    "options, message",
    [
        ({"tau_mem": 0}, "`tau_mem` must be above 0"),
        ({"tau_syn": -1.0}, "`tau_syn` must be above 0"),
        ({"v_threshold": 0.0}, "`v_threshold` must be above 0"),
        ({"v_reset": 1.0}, "`v_reset` must be below 1"),
        ({"reset": "medium"}, "`reset` must be one of"),
        ({"surrogate": "sigmoid"}, "`surrogate` must be one of"),
        ({"sharpness": 0.0}, "`sharpness` must be above 0"),
        ({"learns_threshold": True}, "`learns_threshold` needs reset='none'"),
        ({"reset": "none", "v_reset": -1.0}, "`v_reset` must be 0 with reset='none'"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(options, message):
    with pytest.raises(ValueError, match=message) as error:
        LeakyIntegrateFire(**options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("reset", ["hard", "soft"])
def test_spikes_and_gradients_are_those_of_snntorch(reset, x):
    """`snntorch.Synaptic` with the same decays; it scales neither current, so the input is scaled for it."""
    snntorch = pytest.importorskip("snntorch", reason="needs snntorch")
    torch = pytest.importorskip("torch", reason="needs torch")
    mem, syn = math.exp(-1 / 10), math.exp(-1 / 5)
    neuron = snntorch.Synaptic(
        alpha=syn,
        beta=mem,
        threshold=1.0,
        reset_delay=False,
        reset_mechanism={"hard": "zero", "soft": "subtract"}[reset],
        spike_grad=snntorch.surrogate.fast_sigmoid(slope=10),
    )
    weight = np.random.default_rng(1).normal(size=x.shape).astype("float32")
    given = torch.tensor(x, requires_grad=True)
    current, potential = neuron.reset_mem()
    spikes = []
    for t in range(TIME):
        fired, current, potential = neuron((1 - mem) * given[:, t], current, potential)
        spikes.append(fired)
    theirs = torch.stack(spikes, dim=1)
    (theirs * torch.tensor(weight)).sum().backward()
    layer = LeakyIntegrateFire(reset=reset, detaches_reset=False)  # as snnTorch without a delay
    np.testing.assert_array_equal(ops.convert_to_numpy(layer(x)[0]), theirs.detach().numpy())
    ours = layer_gradients(layer, x, weight)["x"]
    np.testing.assert_allclose(ours, given.grad.numpy(), atol=1e-5)
