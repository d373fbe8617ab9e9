"""RMS norm around a factor of 1, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from keras import ops

from highnoon.layers import ZeroCenteredRMSNormalization
from highnoon.testing.check_layer import check_layer

X = np.random.default_rng(0).normal(size=(3, 7, 8)).astype("float32")
SCALE = np.random.default_rng(1).normal(size=8).astype("float32") * 1e-3


def expected(x):
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-3) * (1 + SCALE)


def test_the_layer_passes_the_battery():
    check_layer(ZeroCenteredRMSNormalization, {"epsilon": 1e-3}, {"x": X})


def test_the_factor_is_one_plus_the_scale():
    layer = ZeroCenteredRMSNormalization(1e-3)
    layer.build(X.shape)
    layer.scale.assign(SCALE)
    np.testing.assert_allclose(ops.convert_to_numpy(layer(X)), expected(X), rtol=1e-5)


def test_under_bfloat16_the_scale_is_not_rounded_before_it_is_added():
    layer = ZeroCenteredRMSNormalization(1e-3, dtype="mixed_bfloat16")
    layer.build(X.shape)
    layer.scale.assign(SCALE)
    x = ops.cast(X, "bfloat16")
    y = ops.cast(ops.cast(expected(ops.convert_to_numpy(ops.cast(x, "float32"))), "bfloat16"), "float32")
    got = ops.convert_to_numpy(ops.cast(layer(x), "float32"))
    assert np.mean(got == ops.convert_to_numpy(y)) > 0.97


def test_an_epsilon_of_zero_is_refused():
    with pytest.raises(ValueError, match="`epsilon` must be above 0; received 0"):
        ZeroCenteredRMSNormalization(0)
