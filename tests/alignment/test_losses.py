"""The losses and their gradients equal the papers' equations, written naively in NumPy in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf

from highnoon.alignment.dpo import dpo_losses
from highnoon.alignment.kto import kto_losses
from highnoon.alignment.orpo import orpo_losses
from highnoon.alignment.pairwise_reward import reward_losses
from highnoon.alignment.simpo import simpo_losses

RNG = np.random.default_rng(0)
FIRST, SECOND = RNG.uniform(-4, -0.1, (2, 40))
IS_DESIRABLE = RNG.random(40) < 0.5
MARGINS = RNG.uniform(0, 2, 40)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def naive_dpo(first, second, beta, loss, smoothing):
    h = beta * (first - second)
    if loss == "ipo":
        return (first - second - 1 / (2 * beta)) ** 2
    right, wrong = -math.log(sigmoid(h)), -math.log(sigmoid(-h))
    if loss == "robust":
        return ((1 - smoothing) * right - smoothing * wrong) / (1 - 2 * smoothing)
    return (1 - smoothing) * right + smoothing * wrong


def naive_orpo(first, second, beta):
    odds = [math.exp(m) / (1 - math.exp(m)) for m in (first, second)]
    return -first - beta * math.log(sigmoid(math.log(odds[0] / odds[1])))


def naive_kto(ratio, point, is_desirable):
    if is_desirable:
        return 1.5 - 1.5 * sigmoid(0.3 * (ratio - point))
    return 0.7 - 0.7 * sigmoid(0.3 * (point - ratio))


DPO_CASES = {
    f"dpo {loss} {beta} {smoothing}": (
        lambda a, b, o=(beta, loss, smoothing): dpo_losses(a - b, *o),
        lambda a, b, n, o=(beta, loss, smoothing): naive_dpo(a, b, *o),
    )
    for loss, beta, smoothing in [
        ("sigmoid", 0.1, 0.0),
        ("sigmoid", 2.0, 0.2),
        ("robust", 0.5, 0.3),
        ("ipo", 0.4, 0.0),
    ]
}
CASES = {
    **DPO_CASES,
    "simpo": (
        lambda a, b: simpo_losses(a, b, 2.0, 1.5),
        lambda a, b, n: -math.log(sigmoid(2 * a - 2 * b - 1.5)),
    ),
    "orpo": (lambda a, b: orpo_losses(a, b, 0.25), lambda a, b, n: naive_orpo(a, b, 0.25)),
    "kto": (
        lambda a, b: kto_losses(a, tf.stop_gradient(b) + 4.0, IS_DESIRABLE, 0.3, (1.5, 0.7)),
        lambda a, b, n: naive_kto(a, SECOND[n] + 4.0, IS_DESIRABLE[n]),
    ),
    "reward_model": (
        lambda a, b: reward_losses(a, b, MARGINS, 0.05),
        lambda a, b, n: -math.log(sigmoid(a - b - MARGINS[n])) + 0.05 * (a + b) ** 2,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_loss_and_gradient_are_those_of_the_paper(name):
    ours, naive = CASES[name]
    first, second = tf.constant(FIRST), tf.constant(SECOND)
    with tf.GradientTape() as tape:
        tape.watch([first, second])
        losses = ours(first, second)
    gradients = tape.gradient(losses, [first, second], unconnected_gradients="zero")
    expected = [naive(a, b, n) for n, (a, b) in enumerate(zip(FIRST, SECOND, strict=True))]
    np.testing.assert_allclose(losses, expected, rtol=1e-6, atol=1e-9)
    size = 1e-5
    for number, gradient in enumerate(gradients):
        slopes = []
        for n, values in enumerate(zip(FIRST, SECOND, strict=True)):
            around = []
            for sign in (1, -1):
                moved = list(values)
                moved[number] += sign * size
                around.append(naive(*moved, n))
            slopes.append((around[0] - around[1]) / (2 * size))
        np.testing.assert_allclose(gradient, slopes, rtol=1e-6, atol=1e-8)


def test_the_gradient_of_dpo_is_that_of_equation_7():
    beta, first, second = 0.7, tf.constant(FIRST), tf.constant(SECOND)
    with tf.GradientTape() as tape:
        tape.watch(first)
        losses = dpo_losses(first - second, beta)
    expected = [-beta * sigmoid(-beta * (a - b)) for a, b in zip(FIRST, SECOND, strict=True)]
    np.testing.assert_allclose(tape.gradient(losses, first), expected, rtol=1e-9)


def test_odds_of_a_certain_answer_are_finite():
    certain = tf.zeros((2,))
    with tf.GradientTape() as tape:
        tape.watch(certain)
        losses = orpo_losses(certain, certain - 1.0, 1.0)
    assert np.isfinite(losses).all() and np.isfinite(tape.gradient(losses, certain)).all()
