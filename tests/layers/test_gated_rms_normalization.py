import keras
import numpy as np
import pytest

from highnoon.layers.gated_rms_normalization import GatedRMSNormalization


def silu(x):
    return x / (1 + np.exp(-x))


@pytest.mark.parametrize("num_groups", [1, 2])
@pytest.mark.parametrize("norm_before_gate", [False, True])
def test_outputs_equal_the_formula_group_by_group(num_groups, norm_before_gate):
    random = np.random.default_rng(0)
    x, gate = random.standard_normal((2, 3, 6)).astype("float32")
    layer = GatedRMSNormalization(num_groups, norm_before_gate=norm_before_gate, epsilon=0.1)
    layer.build(x.shape)
    scale = random.standard_normal(6).astype("float32")
    layer.scale.assign(scale)
    u = x if norm_before_gate else x * silu(gate)
    parts = np.split(u, num_groups, axis=-1)
    normed = np.concatenate([p / np.sqrt((p**2).mean(-1, keepdims=True) + 0.1) for p in parts], axis=-1)
    expected = normed * scale * (silu(gate) if norm_before_gate else 1)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(layer(x, gate)), expected, atol=1e-6)
    copy = GatedRMSNormalization.from_config(layer.get_config())
    assert copy.get_config() == layer.get_config()


def test_groups_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="must be a multiple of num_groups=4; received 6"):
        GatedRMSNormalization(4)(np.ones((1, 6)), np.ones((1, 6)))
    with pytest.raises(ValueError, match="`num_groups` must be at least 1; received 0"):
        GatedRMSNormalization(0)
