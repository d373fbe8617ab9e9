"""Spike timing: a hand-computed case, a naive loop, documents, and the tally of a step."""

from __future__ import annotations

import math

import numpy as np
import pytest
from keras import ops

from highnoon.config import ConfigError
from highnoon.layers.hatching.spike_timing import spike_timing_sums
from highnoon.layers.hatching.spike_timing_tally import SpikeTimingTally


def test_four_tokens_give_what_is_computed_by_hand():
    # tau = 1 / ln 2 halves a trace with each token.
    half_life = 1 / math.log(2)
    #                token:     0    1    2    3
    pre = np.array([[[1.0], [0.0], [2.0], [0.0]]])
    post = np.array([[[0.0], [1.0], [0.0], [1.0]]])
    # trace of pre, before the token itself:    0, 1/2, 1/4, 1/8 + 2/2 = 9/8
    # the neuron fires at tokens 1 and 3:       potentiation = 1/2 + 9/8 = 13/8
    # trace of post:                            0, 0, 1/2, 1/4
    # pre is active at tokens 0 (1) and 2 (2):  depression = 1 * 0 + 2 * 1/2 = 1
    sums = spike_timing_sums(pre, post, tau_plus=half_life, tau_minus=half_life, a_plus=0.8, a_minus=0.3)
    np.testing.assert_allclose(sums, [[0.8 * 13 / 8 - 0.3 * 1]], rtol=1e-6)
    # The second document begins at token 2: the pairs (0, 1) and (2, 3) are left, each 1/2 apart.
    sums = spike_timing_sums(
        pre, post, np.array([[1, 1, 2, 2]]), tau_plus=half_life, tau_minus=half_life, a_plus=0.8, a_minus=0.3
    )
    np.testing.assert_allclose(sums, [[0.8 * (1 / 2 + 2 / 2)]], rtol=1e-6)


def naive_sums(pre, post, segment_ids, tau_plus, tau_minus, a_plus, a_minus):
    """The rule as it is written: traces token by token, in each row."""
    sums = np.zeros((pre.shape[-1], post.shape[-1]))
    for row in range(len(pre)):
        pre_trace, post_trace = np.zeros(pre.shape[-1]), np.zeros(post.shape[-1])
        for t, segment in enumerate(segment_ids[row]):
            if t and segment_ids[row, t - 1] == segment:
                pre_trace = math.exp(-1 / tau_plus) * (pre_trace + pre[row, t - 1])
                post_trace = math.exp(-1 / tau_minus) * (post_trace + post[row, t - 1])
            else:
                pre_trace, post_trace = 0 * pre_trace, 0 * post_trace
            if segment > 0:
                sums += a_plus * np.outer(pre_trace, post[row, t]) - a_minus * np.outer(
                    pre[row, t], post_trace
                )
    return sums


@pytest.fixture
def activity():
    rng = np.random.default_rng(0)
    segment_ids = np.array([[1] * 9 + [2] * 5 + [0] * 3, [1] * 17, [1, 2, 3, 3, 2, 2, 1, 1] + [4] * 8 + [0]])
    return rng.normal(size=(3, 17, 5)), (rng.random((3, 17, 4)) < 0.4) * 1.0, segment_ids


CONSTANTS = {"tau_plus": 7.0, "tau_minus": 13.0, "a_plus": 0.3, "a_minus": 0.2}


def test_the_sums_are_those_of_a_loop_over_tokens(activity):
    want = naive_sums(*activity, **CONSTANTS)
    np.testing.assert_allclose(spike_timing_sums(*activity, **CONSTANTS), want, atol=1e-5)
    without = {**CONSTANTS, "a_minus": 0.0}  # both halves take part
    assert np.abs(naive_sums(*activity, **without) - want).max() > 0.1


def test_each_head_of_neurons_has_its_own_sums(activity):
    pre, post, segment_ids = activity
    by_head = spike_timing_sums(pre, post.reshape(3, 17, 2, 2), segment_ids, **CONSTANTS)
    flat = spike_timing_sums(pre, post, segment_ids, **CONSTANTS)
    np.testing.assert_allclose(ops.reshape(by_head, (5, 4)), flat, atol=1e-6)


def test_padding_and_a_single_token_change_nothing(activity):
    pre, post, segment_ids = activity
    spoilt = np.where(segment_ids[..., None] > 0, 0.0, 9.0)
    sums = spike_timing_sums(pre, post, segment_ids, **CONSTANTS)
    np.testing.assert_allclose(
        spike_timing_sums(pre + spoilt, post, segment_ids, **CONSTANTS), sums, atol=1e-6
    )
    np.testing.assert_array_equal(spike_timing_sums(pre[:, :1], post[:, :1], **CONSTANTS), np.zeros((5, 4)))


@pytest.mark.parametrize(
    ("constant", "value"), [("tau_plus", 0.0), ("tau_minus", -1.0), ("a_plus", -0.1), ("a_minus", "x")]
)
def test_a_constant_out_of_its_range_is_refused(activity, constant, value):
    with pytest.raises(ConfigError, match=f"{constant}.*received {value!r}") as error:
        spike_timing_sums(*activity, **{**CONSTANTS, constant: value})
    assert "\n" not in str(error.value)


def test_the_change_is_a_clipped_mean_over_tokens():
    tally = SpikeTimingTally((2, 2), rate=0.5, most=0.1)
    tally.add([[1.0, -4.0], [0.2, 0.0]], 3)
    tally.add([[0.0, 0.0], [0.2, 0.0]], 1)
    tally.add([[0.0, 0.0], [0.1, 0.0]], 0)
    np.testing.assert_allclose(tally.take(), [[0.1, -0.1], [0.5 * 0.5 / 4, 0.0]], rtol=1e-6)
    np.testing.assert_array_equal(tally.take(), np.zeros((2, 2)))
