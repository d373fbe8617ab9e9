"""On all 64 sequences of a tabular policy, in float64, the optimum is known in closed form."""

from __future__ import annotations

import itertools

import numpy as np
import tensorflow as tf

from highnoon.alignment.dpo import dpo_losses

VOCAB, LENGTH = 4, 3
SEQUENCES = np.array(list(itertools.product(range(VOCAB), repeat=LENGTH)))
PREFIXES = [(), *((a,) for a in range(VOCAB)), *itertools.product(range(VOCAB), repeat=2)]
NUMBER = {prefix: number for number, prefix in enumerate(PREFIXES)}
USED = np.array([[NUMBER[tuple(s[:t])] for t in range(LENGTH)] for s in SEQUENCES.tolist()])


def log_probs_of(table):
    """Log-probabilities of all sequences under a table (prefixes, VOCAB) of logits."""
    of_tokens = tf.nn.log_softmax(table, axis=-1)
    return tf.reduce_sum(tf.gather_nd(of_tokens, np.stack([USED, SEQUENCES], axis=-1)), axis=1)


def minimum(loss_of, table, steps=60):
    """Newton's method with a damped Hessian; the table has a direction without effect for each prefix."""
    size = int(tf.size(table))

    @tf.function
    def derivatives(table):
        with tf.GradientTape() as outer:
            outer.watch(table)
            gradient = tf.gradients(loss_of(table), table)[0]
        return gradient, outer.jacobian(gradient, table)

    for _ in range(steps):
        gradient, hessian = derivatives(table)
        hessian = np.reshape(hessian, (size, size)) + 1e-9 * np.eye(size)
        step = np.linalg.solve(hessian, np.reshape(gradient, -1))
        table = table - np.reshape(step / max(1.0, np.abs(step).max()), table.shape)
        if np.abs(step).max() < 1e-10:
            break
    return table


def case():
    rng = np.random.default_rng(0)
    reference = tf.constant(rng.normal(size=(len(PREFIXES), VOCAB)))
    rewards = rng.uniform(-1, 1, len(SEQUENCES))
    return reference, log_probs_of(reference).numpy(), rewards


def test_dpo_reaches_the_policy_that_maximizes_reward_and_divergence():
    """The expected loss over all pairs, each labeled by Bradley and Terry's model of the rewards."""
    reference, of_reference, rewards = case()
    beta = 0.5
    wins = 1 / (1 + np.exp(rewards[None, :] - rewards[:, None]))  # of the row over the column

    def loss_of(table):
        ratios = log_probs_of(table) - of_reference
        losses = dpo_losses(ratios[:, None] - ratios[None, :], beta)
        return tf.reduce_sum(wins * losses) / len(SEQUENCES) ** 2

    found = log_probs_of(minimum(loss_of, reference)).numpy()
    expected = of_reference + rewards / beta
    expected -= np.log(np.exp(expected).sum())
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert np.abs(expected - of_reference).max() > 1


def test_ipo_regresses_the_preference_onto_the_log_ratios():
    """With each pair in both orders, the minimum has differences (2 p - 1) / (2 beta) in least squares."""
    reference, of_reference, rewards = case()
    beta = 0.5
    wins = 1 / (1 + np.exp(rewards[None, :] - rewards[:, None]))

    def loss_of(table):
        ratios = log_probs_of(table) - of_reference
        losses = dpo_losses(ratios[:, None] - ratios[None, :], beta, "ipo")
        return tf.reduce_sum(wins * losses) / len(SEQUENCES) ** 2

    found = log_probs_of(minimum(loss_of, reference)).numpy() - of_reference
    # Least squares over all pairs of h = s_i - s_j on (2 p - 1) / (2 beta): s is the mean over opponents.
    scores = ((2 * wins - 1) / (2 * beta)).mean(axis=1)
    np.testing.assert_allclose(found - found.mean(), scores - scores.mean(), atol=1e-6)
