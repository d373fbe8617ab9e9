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


def test_an_inner_width_below_one_is_refused():
    with pytest.raises(ValueError, match="`hidden_dim` must be at least 1; received 0"):
        GatedFeedForward(0)
