"""The router's losses have their closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from keras import ops

from highnoon.layers.experts.router_losses import LossWeights, router_losses
from highnoon.testing.gradients import value_and_gradients


def loss_of(logits, weights, is_token=None):
    logits = np.asarray(logits, "float32")
    probabilities = ops.softmax(logits)
    chosen = ops.one_hot(np.argmax(logits, axis=-1), logits.shape[-1])
    is_token = np.ones(logits.shape[:2], "float32") if is_token is None else is_token
    counts = ops.sum(chosen * is_token[..., None], axis=1)
    return float(router_losses(logits, probabilities, counts, is_token, 1, weights))


def test_the_balance_loss_is_one_for_an_even_load_and_grows_with_a_skewed_one():
    even, skewed = np.zeros((1, 8, 4)), np.zeros((1, 8, 4))
    even[0, np.arange(8), np.arange(8) % 4] = 5.0
    skewed[0, :, 0] = 5.0
    weights = LossWeights(balance=1.0)
    assert loss_of(even, weights) == pytest.approx(1.0, abs=1e-5)
    assert loss_of(skewed, weights) == pytest.approx(4 * np.exp(5) / (np.exp(5) + 3), rel=1e-4)


def test_the_entropy_loss_asks_for_an_even_load_and_not_for_undecided_tokens():
    weights = LossWeights(load_entropy=1.0)
    decided, one_sided = np.zeros((1, 8, 4)), np.zeros((1, 8, 4))
    decided[0, np.arange(8), np.arange(8) % 4] = 30.0
    one_sided[0, :, 0] = 30.0
    assert loss_of(decided, weights) == pytest.approx(0.0, abs=1e-5)
    assert loss_of(np.zeros((1, 8, 4)), weights) == pytest.approx(0.0, abs=1e-5)
    assert loss_of(one_sided, weights) == pytest.approx(np.log(4), rel=1e-5)


def test_the_entropy_loss_is_taken_row_by_row_and_weighted_by_tokens():
    logits = np.zeros((2, 6, 3))
    logits[0, :, 0] = 30.0  # one-sided, 2 tokens; the other row is even, 6 tokens
    is_token = np.array([[1, 1, 0, 0, 0, 0], [1] * 6], "float32")
    expected = np.log(3) * 2 / 8
    assert loss_of(logits, LossWeights(load_entropy=1.0), is_token) == pytest.approx(expected, rel=1e-5)


def test_following_the_entropy_loss_evens_the_load():
    rng = np.random.default_rng(0)
    logits = (rng.normal(size=(1, 32, 4)) + [3.0, 0.0, 0.0, -2.0]).astype("float32")
    counts, is_token = np.zeros((1, 4), "float32"), np.ones((1, 32), "float32")

    def loss(shift):
        shifted = logits + shift
        weights = LossWeights(load_entropy=1.0)
        return router_losses(shifted, ops.softmax(shifted), counts, is_token, 1, weights)

    shift, losses = np.zeros(4, "float32"), []
    for _ in range(30):
        value, (gradient,) = value_and_gradients(loss, shift)
        losses.append(value)
        shift = shift - 4.0 * gradient
    assert losses[0] > 0.3 and losses[-1] < 0.02
    assert shift[0] < shift[1] < shift[3]


def test_the_z_loss_is_the_mean_square_of_the_log_partition():
    logits = np.array([[[0.0, np.log(3.0)], [9.0, 9.0]]])
    is_token = np.array([[1.0, 0.0]], "float32")
    assert loss_of(logits, LossWeights(z=1.0), is_token) == pytest.approx(np.log(4) ** 2, rel=1e-5)
