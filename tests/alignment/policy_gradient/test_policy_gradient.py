"""The expected gradient of each algorithm over all 64 sequences, against finite differences in float64."""

from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from expected_training import gradient_function, rollout
from tabular import (
    NUM_CONTEXTS,
    REWARDS,
    SEQUENCES,
    TabularPolicy,
    batch_of,
    contexts,
    log_probs,
    probabilities,
)

from highnoon.alignment import PolicyGradient
from highnoon.alignment.policy_gradient import assign_advantages

BETA = 0.3


@pytest.fixture(scope="module")
def reference():
    return TabularPolicy(seed=0)


@pytest.fixture(scope="module")
def table():
    return np.random.default_rng(7).normal(size=(NUM_CONTEXTS, 4))


def slopes(function, at, size=1e-5):
    """Central differences of a scalar function of a table."""
    found = np.zeros_like(at)
    for index in np.ndindex(*at.shape):
        moved = np.zeros_like(at)
        moved[index] = size
        found[index] = (function(at + moved) - function(at - moved)) / (2 * size)
    return found


def table_of(policy):
    return keras.ops.convert_to_numpy(policy.table)


def expected_reward(table):
    return np.sum(probabilities(table) * REWARDS)


def sequence_kl(table, reference_table):
    p = probabilities(table)
    return np.sum(p * (np.log(p) - np.log(probabilities(reference_table))))


def ascent(objective, tables, batch):
    """The negative gradient of the loss by the policy's table."""
    policy = TabularPolicy(seed=1)
    tensors = {name: tf.constant(array) for name, array in batch.items()}
    return -gradient_function(objective, policy)([tf.constant(value) for value in tables], tensors)[0].numpy()


def of_all_sequences(objective, table, reference, values=None):
    """The expected gradient with a group of all sequences, each as often as the policy samples it."""
    tables = [table, np.zeros(NUM_CONTEXTS) if values is None else values]
    return ascent(objective, tables, rollout(objective, tables, table_of(reference)))


def of_all_pairs(objective, table, reference):
    """The expected gradient with groups of two: all 4,096 pairs, each with its probability."""
    pairs = np.array(list(itertools.product(range(64), repeat=2))).reshape(-1)
    sequences, groups = SEQUENCES[pairs], np.repeat(np.arange(4096), 2)
    of_policy, of_reference = log_probs(table, sequences), log_probs(table_of(reference), sequences)
    found = assign_advantages(
        objective.axes, REWARDS[pairs], np.ones(sequences.shape), groups, of_policy, of_reference
    )
    chances = np.repeat(np.prod(probabilities(table)[pairs].reshape(-1, 2), axis=1), 2)
    columns = {"old_log_probs": of_policy, "advantages": found.advantages}
    return ascent(objective, [table, np.zeros(NUM_CONTEXTS)], batch_of(sequences, chances, **columns))


@pytest.fixture(scope="module")
def true_gradient(table, reference):
    """Of the expected reward minus beta times the divergence over sequences."""
    frozen = table_of(reference)
    return slopes(lambda moved: expected_reward(moved) - BETA * sequence_kl(moved, frozen), table)


@pytest.fixture(scope="module")
def reward_gradient(table):
    return slopes(expected_reward, table)


def test_plain_rewards_with_an_exact_kl_are_unbiased(table, reference, true_gradient):
    objective = PolicyGradient("reinforce", reference=reference, kl_weight=BETA)
    np.testing.assert_allclose(of_all_sequences(objective, table, reference), true_gradient, atol=1e-6)


def test_generalized_advantages_with_any_values_are_unbiased_at_lambda_1(table, reference, true_gradient):
    objective = PolicyGradient("ppo", reference=reference, kl_weight=BETA, whiten=False, gae_lambda=1.0)
    values = np.random.default_rng(8).normal(size=NUM_CONTEXTS)
    found = of_all_sequences(objective, table, reference, values)
    # Three tokens a sequence divide the loss.
    np.testing.assert_allclose(3 * found, true_gradient, atol=1e-6)


def test_leave_one_out_is_unbiased_with_groups_of_two(table, reference, true_gradient):
    objective = PolicyGradient("rloo", reference=reference, kl_weight=BETA)
    np.testing.assert_allclose(of_all_pairs(objective, table, reference), true_gradient, atol=1e-6)


@pytest.mark.parametrize(("preset", "tokens"), [("dr_grpo", 1), ("grpo", 3)])
def test_a_group_mean_of_n_scales_the_gradient_by_1_minus_1_over_n(
    table, reference, reward_gradient, preset, tokens
):
    axes = {"scale_rewards": False, "kl": "none", "kl_weight": 0.0, "skip_constant_groups": False}
    objective = PolicyGradient(preset, **axes)
    found = of_all_pairs(objective, table, reference)
    np.testing.assert_allclose(tokens * found, 0.5 * reward_gradient, atol=1e-6)


@pytest.mark.parametrize("preset", ["dapo", "gspo"])
def test_scaled_groups_divide_the_gradient_by_the_deviation(table, reference, reward_gradient, preset):
    p = probabilities(table)
    sigma = np.sqrt(np.sum(p * (REWARDS - np.sum(p * REWARDS)) ** 2)) + 1e-4
    found = of_all_sequences(PolicyGradient(preset), table, reference)
    np.testing.assert_allclose(3 * sigma * found, reward_gradient, atol=1e-6)


def next_token_kl(table, reference_table, prefix_probabilities, *, forward=False):
    """The divergence of the next token, summed over prefixes whose probabilities stay as they are."""
    one, other = (each - np.log(np.exp(each).sum(1, keepdims=True)) for each in (table, reference_table))
    if forward:
        one, other = other, one
    return np.sum(prefix_probabilities * np.sum(np.exp(one) * (one - other), axis=1))


def prefix_probabilities(table):
    chances = np.zeros(NUM_CONTEXTS)
    for row, p in zip(contexts(SEQUENCES), probabilities(table), strict=True):
        chances[row] += p
    return chances


def kl_term(estimator, table, reference):
    """What a divergence as a loss adds to the expected gradient, over its weight."""
    axes = {"kl": estimator, "kl_weight": 1.0}
    objective = PolicyGradient("reinforce", reference=reference, **axes)
    tables = [table, np.zeros(NUM_CONTEXTS)]
    batch = rollout(objective, tables, table_of(reference), rewards=np.zeros(64))
    return -ascent(objective, tables, batch)


def test_estimators_as_losses_have_the_gradients_of_other_divergences(table, reference):
    frozen, chances = table_of(reference), prefix_probabilities(table)
    np.testing.assert_allclose(kl_term("k1", table, reference), 0.0, atol=1e-7)
    reverse = slopes(lambda moved: next_token_kl(moved, frozen, chances), table)
    np.testing.assert_allclose(kl_term("k2", table, reference), reverse, atol=1e-6)
    forward = slopes(lambda moved: next_token_kl(moved, frozen, chances, forward=True), table)
    np.testing.assert_allclose(kl_term("k3", table, reference), forward, atol=1e-6)


def test_only_the_exact_sum_as_a_loss_has_no_bias(table, reference):
    true = slopes(lambda moved: sequence_kl(moved, table_of(reference)), table)
    bias = {
        name: np.linalg.norm(kl_term(name, table, reference) - true) / np.linalg.norm(true)
        for name in ("exact", "k1", "k2", "k3")
    }
    assert bias["exact"] < 1e-6 and bias["k1"] == pytest.approx(1, abs=1e-6)
    assert 0.1 < bias["k2"] < 1 and bias["k3"] > 0.1
