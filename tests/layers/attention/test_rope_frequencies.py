"""Stretched rotary frequencies against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest

from highnoon.layers.attention.rope_frequencies import rope_frequencies, yarn_softmax_factor

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}

LONGROPE = {
    "rope_type": "longrope",
    "factor": 4.0,
    "original_max_position_embeddings": 64,
    "short_factor": [1.0, 1.5, 2.0, 4.0],
    "long_factor": [2.0, 3.0, 4.0, 5.0],
}


def test_without_scaling_frequencies_are_powers_of_theta():
    frequencies, magnitude = rope_frequencies(8, 100.0)
    np.testing.assert_allclose(frequencies, [1, 100**-0.25, 100**-0.5, 100**-0.75], rtol=1e-6)
    assert magnitude == 1.0


def test_llama3_keeps_short_waves_and_stretches_long_ones():
    plain, _ = rope_frequencies(16, 10000.0)
    scaled, magnitude = rope_frequencies(16, 10000.0, LLAMA3)
    waves = 2 * math.pi / plain
    np.testing.assert_allclose(scaled[waves < 64 / 4], plain[waves < 64 / 4])
    np.testing.assert_allclose(scaled[waves > 64], plain[waves > 64] / 8, rtol=1e-6)
    between = (waves >= 64 / 4) & (waves <= 64)
    assert between.any() and (scaled[between] < plain[between]).all() and magnitude == 1.0


def test_yarn_keeps_pairs_that_turn_often_and_sharpens_attention():
    plain, _ = rope_frequencies(32, 10000.0)
    scaled, magnitude = rope_frequencies(32, 10000.0, {**YARN, "beta_fast": 4.0})
    turns = 64 * plain / (2 * math.pi)
    np.testing.assert_allclose(scaled[turns > 4.5], plain[turns > 4.5])
    np.testing.assert_allclose(scaled[turns < 0.5], plain[turns < 0.5] / 4, rtol=1e-6)
    assert magnitude == pytest.approx(0.1 * math.log(4) + 1)


def test_longrope_divides_by_the_short_factors_and_sharpens_attention():
    plain, _ = rope_frequencies(8, 100.0)
    scaled, magnitude = rope_frequencies(8, 100.0, LONGROPE)
    np.testing.assert_allclose(scaled, plain / LONGROPE["short_factor"], rtol=1e-6)
    assert magnitude == pytest.approx(math.sqrt(1 + math.log(4) / math.log(64)))
    assert rope_frequencies(8, 100.0, {**LONGROPE, "attention_factor": 1.25})[1] == 1.25


def test_deepseek_moves_the_magnitude_into_the_softmax():
    scaling = {**YARN, "mscale": 0.7, "mscale_all_dim": 0.7}
    assert rope_frequencies(8, 100.0, scaling)[1] == 1.0
    assert yarn_softmax_factor(scaling) == pytest.approx((0.07 * math.log(4) + 1) ** 2)
    assert yarn_softmax_factor(YARN) == yarn_softmax_factor(None) == 1.0


@pytest.mark.parametrize(
    "scaling, words",
    [
        (
            {"rope_type": "ntk", "factor": 2.0},
            "needs a `rope_type` of linear, llama3, yarn, longrope; received 'ntk'",
        ),
        ({**LONGROPE, "short_factor": [1.0, 2.0]}, "a `short_factor` of 4 numbers, one for each pair of"),
        ({**LONGROPE, "short_factor": 1.0}, "a `short_factor` of numbers, one for each pair"),
        ({**LONGROPE, "long_factor": [1.0, 0.0, 1.0, 1.0]}, "a finite `long_factor` above 0; received 0.0"),
        ({**LONGROPE, "original_max_position_embeddings": 1}, "at least 2; received 1"),
        ({"rope_type": "yarn", "factor": 2.0}, "missing: original_max_position_embeddings; unknown: none"),
        ({"rope_type": "linear", "factor": 2.0, "beta": 1}, "missing: none; unknown: beta"),
        ({"rope_type": "linear", "factor": 0.5}, "a factor of at least 1; received 0.5"),
    ],
)
def test_a_scaling_that_cannot_be_read_is_named(scaling, words):
    with pytest.raises(ValueError, match=words):
        rope_frequencies(8, 100.0, scaling)
