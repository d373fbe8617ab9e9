"""The feed-forward without a gate against NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from keras import ops

from highnoon.layers import FeedForward
from highnoon.testing.check_layer import check_layer

INIT = {
    "hidden_dim": 12,
    "kernel_initializer": "random_normal",
    "output_initializer": "he_normal",
    "activation": "silu",
    "use_bias": False,
}
INPUTS = {"x": np.random.default_rng(0).normal(size=(3, 7, 8)).astype("float32")}
ACTIVATIONS = {
    "silu": lambda z: z / (1 + np.exp(-z)),
    "gelu": lambda z: 0.5 * z * (1 + np.vectorize(math.erf)(z / math.sqrt(2))),
    "gelu_tanh": lambda z: 0.5 * z * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3))),
    "relu": lambda z: np.maximum(z, 0),
}


def test_the_layer_passes_the_battery():
    check_layer(FeedForward, INIT, INPUTS)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_output_is_two_products_with_the_activation_between(name):
    layer = FeedForward(12, activation=name)
    layer.build((None, 8))
    rng = np.random.default_rng(1)
    layer.up.bias.assign(rng.normal(size=12))
    layer.down.bias.assign(rng.normal(size=8))
    up, up_bias, down, down_bias = (ops.convert_to_numpy(weight) for weight in layer.weights)
    expected = ACTIVATIONS[name](INPUTS["x"] @ up + up_bias) @ down + down_bias
    np.testing.assert_allclose(ops.convert_to_numpy(layer(INPUTS["x"])), expected, atol=1e-5)


def test_an_inner_width_below_one_is_refused():
    with pytest.raises(ValueError, match="`hidden_dim` must be at least 1; received 0"):
        FeedForward(0)
