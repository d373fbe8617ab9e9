"""The dense feed-forward against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from keras import ops

from highnoon.layers import GatedFeedForward
from highnoon.testing.check_layer import check_layer

INIT = {
    "hidden_dim": 12,
    "kernel_initializer": "random_normal",
    "output_initializer": "he_normal",
    "activation": "gelu_tanh",
    "use_bias": True,
}
INPUTS = {"x": np.random.default_rng(0).normal(size=(3, 7, 8)).astype("float32")}


def test_the_layer_passes_the_battery():
    check_layer(GatedFeedForward, INIT, INPUTS)


def test_output_is_the_gated_product():
    layer = GatedFeedForward(12)
    y = ops.convert_to_numpy(layer(INPUTS["x"]))
    gate, up, down = (ops.convert_to_numpy(dense.kernel) for dense in (layer.gate, layer.up, layer.down))
    gated = INPUTS["x"] @ gate
    expected = (gated / (1 + np.exp(-gated)) * (INPUTS["x"] @ up)) @ down
    np.testing.assert_allclose(y, expected, atol=1e-5)


def test_another_activation_and_biases_are_used():
    layer = GatedFeedForward(12, activation="gelu_tanh", use_bias=True)
    layer.build((None, 8))
    rng = np.random.default_rng(1)
    for dense in (layer.gate, layer.up, layer.down):
        dense.bias.assign(rng.normal(size=dense.bias.shape))
    gate, up, down = (
        lambda x, dense=dense: x @ ops.convert_to_numpy(dense.kernel) + ops.convert_to_numpy(dense.bias)
        for dense in (layer.gate, layer.up, layer.down)
    )
    z = gate(INPUTS["x"])
    gelu = 0.5 * z * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3)))
    y = ops.convert_to_numpy(layer(INPUTS["x"]))
    np.testing.assert_allclose(y, down(gelu * up(INPUTS["x"])), atol=1e-5)


def test_an_unknown_activation_is_refused():
    with pytest.raises(ValueError, match="`activation` must be one of silu, gelu, gelu_tanh, relu; received"):
        GatedFeedForward(12, activation="mish")


def test_an_inner_width_below_one_is_refused():
    with pytest.raises(ValueError, match="`hidden_dim` must be at least 1; received 0"):
        GatedFeedForward(0)
