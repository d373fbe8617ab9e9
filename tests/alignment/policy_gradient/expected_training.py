"""Trains the tabular policy on the expectation over all 64 sequences, without noise."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf
from tabular import REWARDS, SEQUENCES, TabularPolicy, batch_of, contexts, log_probs, probabilities

from highnoon.alignment.policy_gradient import assign_advantages

SAMPLES = 1e9


def gradient_function(objective, policy):
    """Returns a compiled function of the two tables and a batch: the gradients of the loss."""

    def function(weights, batch):
        pairs = list(zip(policy.trainable_variables, weights, strict=True))
        with tf.GradientTape() as tape:
            tape.watch(weights)
            with keras.StatelessScope(state_mapping=pairs):
                loss = objective.terms(policy, batch, training=True).loss_sum / objective.weight(batch)
        gradients = tape.gradient(loss, weights, unconnected_gradients="zero")
        return [tf.convert_to_tensor(gradient) for gradient in gradients]

    return tf.function(function, autograph=False)


def rollout(objective, tables, reference_table, rewards=REWARDS):
    """Returns the batch of all sequences, each as often as the policy samples it."""
    table, values = tables
    of_policy, of_reference = log_probs(table), log_probs(reference_table)
    counts = SAMPLES * probabilities(table)
    weights = np.repeat(counts[:, None], SEQUENCES.shape[1], axis=1)
    old_values = values[contexts(SEQUENCES)]
    groups = np.zeros(len(SEQUENCES), int)
    found = assign_advantages(objective.axes, rewards, weights, groups, of_policy, of_reference, old_values)
    columns = {
        "old_log_probs": of_policy,
        "reference_log_probs": of_reference,
        "advantages": found.advantages,
        "returns": found.returns,
        "old_values": old_values,
    }
    return batch_of(
        SEQUENCES, counts, **{name: columns[name] for name in columns if name in objective.columns}
    )


def train(objective, reference, iterations, learning_rate, epochs=1, rewards=REWARDS):
    """Returns the policy's table after iterations of Adam, whose rate falls to zero."""
    policy = TabularPolicy(seed=1)
    gradients_of = gradient_function(objective, policy)
    reference_table = np.array(reference.table)
    values = [reference_table.copy(), np.zeros(len(reference_table))]
    means, squares = ([np.zeros_like(value) for value in values] for _ in range(2))
    step, total = 0, iterations * epochs
    for _ in range(iterations):
        batch = {
            name: tf.constant(array)
            for name, array in rollout(objective, values, reference_table, rewards).items()
        }
        for _ in range(epochs):
            step += 1
            rate = learning_rate * (1.0 - step / total)
            found = gradients_of([tf.constant(value) for value in values], batch)
            for index, gradient in enumerate(np.array(each) for each in found):
                means[index] = 0.9 * means[index] + 0.1 * gradient
                squares[index] = 0.99 * squares[index] + 0.01 * gradient**2
                unbiased = means[index] / (1 - 0.9**step), squares[index] / (1 - 0.99**step)
                values[index] = values[index] - rate * unbiased[0] / (np.sqrt(unbiased[1]) + 1e-12)
    return values[0]
