"""Rotary positions against complex numbers."""

from __future__ import annotations

import numpy as np
import pytest
from keras import ops

from highnoon.layers import RotaryEmbedding
from highnoon.testing.check_layer import (
    check_build_leaves_config,
    check_config,
    check_inference_is_deterministic,
)

INPUTS = {
    "x": np.random.default_rng(0).normal(size=(2, 7, 3, 8)).astype("float32"),
    "positions": np.arange(7, dtype="int32"),
}


def test_every_argument_survives_the_config():
    check_config(RotaryEmbedding, {"theta": 500.0, "scaling": {"rope_type": "linear", "factor": 2.0}})
    check_build_leaves_config(RotaryEmbedding, {"theta": 500.0}, INPUTS)
    check_inference_is_deterministic(RotaryEmbedding, {"theta": 500.0}, INPUTS)


def test_pairs_turn_as_complex_numbers():
    x, positions = INPUTS["x"], INPUTS["positions"]
    frequencies = 500.0 ** (-np.arange(4) / 4)
    turn = np.exp(1j * positions[:, None, None] * frequencies)
    expected = (x[..., :4] + 1j * x[..., 4:]) * turn
    y = ops.convert_to_numpy(RotaryEmbedding(theta=500.0)(x, positions))
    np.testing.assert_allclose(y, np.concatenate([expected.real, expected.imag], -1), atol=1e-5)


def test_products_depend_on_the_difference_of_positions_alone():
    layer, x = RotaryEmbedding(), INPUTS["x"]
    near, far = (ops.convert_to_numpy(layer(x, INPUTS["positions"] + shift)) for shift in (0, 900))
    np.testing.assert_allclose(
        np.einsum("bthk,bshk->bhts", near, near), np.einsum("bthk,bshk->bhts", far, far), atol=2e-3
    )


def test_linear_scaling_reads_each_position_as_an_earlier_one():
    x, positions = INPUTS["x"], INPUTS["positions"]
    scaled = RotaryEmbedding(scaling={"rope_type": "linear", "factor": 2.0})(x, 2 * positions)
    np.testing.assert_allclose(
        ops.convert_to_numpy(scaled), ops.convert_to_numpy(RotaryEmbedding()(x, positions)), atol=1e-6
    )


def test_each_row_can_have_its_own_positions():
    layer, x = RotaryEmbedding(), INPUTS["x"]
    positions = np.stack([np.arange(7), np.arange(7) + 3])
    both = ops.convert_to_numpy(layer(x, positions))
    for row in range(2):
        alone = ops.convert_to_numpy(layer(x[row : row + 1], positions[row]))
        np.testing.assert_allclose(both[row : row + 1], alone, atol=1e-6)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="`theta` must be above 0; received 0"):
        RotaryEmbedding(theta=0)
    with pytest.raises(ValueError, match="the head size must be even"):
        RotaryEmbedding()(np.zeros((1, 2, 1, 3), "float32"), np.arange(2))
