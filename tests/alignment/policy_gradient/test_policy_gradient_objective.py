"""The objective in the training step: any split of the rows, ratios of 1, clipping, and its configuration."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from highnoon.alignment import PolicyGradient
from highnoon.alignment.policy_gradient.recomputed import RecomputedOutputs
from highnoon.alignment.policy_gradient.rollout_update import RolloutUpdate
from highnoon.alignment.policy_gradient.surrogate import clipped_surrogate, log_ratios, token_weights
from highnoon.config import ConfigError, TrainingConfig
from highnoon.testing.check_objective import check_objective
from highnoon.testing.objective_runs import evaluate_terms, gradient_function
from highnoon.training.learner import Learner
from highnoon.training.objective import describe_objective, objective_from_config
from highnoon.training.steps.run_schedule import RunSchedule

VOCAB, LENGTH, ROWS = 11, 7, 8


def make_policy(seed=0):
    keras.utils.set_random_seed(seed)
    ids = keras.Input((None,), dtype="int32", name="token_ids")
    vectors = keras.layers.Embedding(VOCAB, 6, name="embedding")(ids)
    hidden = keras.layers.Dense(6, activation="tanh", name="hidden")(vectors)
    return keras.Model({"token_ids": ids}, keras.layers.Dense(VOCAB, name="logits")(hidden))


class SmallPolicyWithValues(keras.Model):
    """The same with a value of each position."""

    def __init__(self, policy):
        super().__init__(name="small_policy_with_values")
        self.policy = policy
        self.value = keras.layers.Dense(1, name="value")
        self.value.build((None, None, VOCAB))
        self.built = True

    def call(self, inputs, training=None):
        return self.policy({"token_ids": inputs["token_ids"]}, training=training)

    def logits_and_values(self, batch, training):
        logits = self.call(batch, training=training)
        return logits, self.value(logits)[:, :, 0], ops.zeros(())


def make_policy_with_values():
    return SmallPolicyWithValues(make_policy())


def make_reference():
    return make_policy(seed=1)


def make_batch():
    rng = np.random.default_rng(0)
    ids = rng.integers(1, VOCAB, (ROWS, LENGTH + 1)).astype("int32")
    starts, ends = rng.integers(0, 3, (ROWS, 1)), rng.integers(4, LENGTH, (ROWS, 1))
    places = np.arange(LENGTH)
    sampled = ((places >= starts) & (places <= ends)).astype("float32")
    is_token = (places <= ends).astype("int32")
    floats = rng.normal(size=(5, ROWS, LENGTH)).astype("float32")
    return {
        "token_ids": ids[:, :-1] * is_token,
        "labels": ids[:, 1:] * is_token,
        "segment_ids": is_token,
        "positions": (places * is_token).astype("int32"),
        "loss_weights": sampled,
        "old_log_probs": -2.4 + 0.1 * floats[0],
        "reference_log_probs": -2.4 + 0.3 * floats[1],
        "advantages": floats[2],
        "returns": floats[3],
        "old_values": floats[4],
    }


def columns_of(objective):
    return {name: make_batch()[name] for name in objective.columns}


def make_grpo():
    # The bounds are far away: where the surrogate has a corner, finite differences have no limit.
    return PolicyGradient("grpo", reference=make_reference(), clip_low=0.9, clip_high=9.0)


def make_ppo():
    """All terms of the loss at once: surrogate, values, an exact divergence and entropy."""
    axes = {"kl": "exact", "clip_low": 0.9, "clip_high": 9.0, "value_clip": None, "entropy_weight": 0.1}
    return PolicyGradient("ppo", reference=make_reference(), **axes)


@pytest.mark.slow
def test_ppo_keeps_what_the_step_relies_on():
    batch = columns_of(make_ppo())
    check_objective(make_ppo, make_policy_with_values, batch, is_exact=False, reloads=False)


@pytest.mark.parametrize(
    ("make_objective", "make_model"), [(make_grpo, make_policy), (make_ppo, make_policy_with_values)]
)
def test_padding_at_the_end_of_rows_changes_nothing(make_objective, make_model):
    objective, policy, batch = make_objective(), make_model(), make_batch()
    longer = {name: np.pad(array, [(0, 0), (0, 4)]) for name, array in batch.items()}
    first, second = (evaluate_terms(objective, policy, each) for each in (batch, longer))
    assert second.loss_sum == pytest.approx(first.loss_sum, rel=1e-6) and second.weight == first.weight


def test_the_divisors_of_the_normalizers_are_those_of_a_loop():
    mask = np.array([[0, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0]], "float32")
    values = np.random.default_rng(0).normal(size=mask.shape)
    tokens, rows = [], []
    for row, weights in zip(values, mask, strict=True):
        own = [value for value, weight in zip(row, weights, strict=True) if weight]
        tokens += own
        rows += [own] if own else []
    expected = {
        "tokens": np.mean(tokens),
        "sequences": np.mean([np.mean(own) for own in rows]),
        "constant": np.mean([np.sum(own) / 5 for own in rows]),
    }
    for normalizer, value in expected.items():
        objective = PolicyGradient("dapo", normalizer=normalizer, constant_length=5)
        scales = ops.convert_to_numpy(token_weights(ops.convert_to_tensor(mask), normalizer, 5.0))
        count = float(objective.weight({"loss_weights": ops.convert_to_tensor(mask)}))
        assert np.sum(scales * values) / count == pytest.approx(value)


def test_clipped_tokens_have_no_gradient():
    ratios = tf.constant([[0.5, 0.79, 0.9, 1.1, 1.21, 2.0]])
    for sign, free in ((1.0, ratios < 1.2), (-1.0, ratios > 0.8)):
        with tf.GradientTape() as tape:
            tape.watch(ratios)
            surrogate, is_clipped = clipped_surrogate(ratios, sign * tf.ones_like(ratios), 0.2, 0.2)
        expected = sign * tf.cast(free, tf.float32)
        np.testing.assert_array_equal(tape.gradient(surrogate, ratios), expected)
        np.testing.assert_array_equal(is_clipped, 1.0 - tf.cast(free, tf.float32))


def test_one_bound_leaves_the_other_side_free():
    ratios = tf.constant([[0.1, 3.0]])
    up, _ = clipped_surrogate(ratios, tf.constant([[-1.0, 1.0]]), None, 0.5)
    np.testing.assert_allclose(up, [[-0.1, 1.5]])
    free, is_clipped = clipped_surrogate(ratios, tf.constant([[-1.0, 1.0]]), None, None)
    np.testing.assert_allclose(free, [[-0.1, 3.0]])
    assert not np.any(is_clipped)


def test_the_ratio_of_a_sequence_is_the_geometric_mean_of_its_tokens():
    batch = make_batch()
    new = batch["old_log_probs"] + np.random.default_rng(4).normal(size=(ROWS, LENGTH)).astype("float32")
    found = ops.convert_to_numpy(
        log_ratios(
            *map(ops.convert_to_tensor, (new, batch["old_log_probs"], batch["loss_weights"])), "sequence"
        )
    )
    for row in range(ROWS):
        sampled = batch["loss_weights"][row] > 0
        expected = np.mean((new - batch["old_log_probs"])[row, sampled])
        np.testing.assert_allclose(found[row], np.where(sampled, expected, 0), rtol=1e-5)


def test_at_the_policy_that_sampled_ratios_are_1_and_nothing_is_clipped():
    objective, policy, batch = PolicyGradient("dapo"), make_policy(), make_batch()
    tensors = {name: ops.convert_to_tensor(array) for name, array in batch.items()}
    batch["old_log_probs"] = ops.convert_to_numpy(objective.outputs(policy, tensors, training=True).log_probs)
    metrics = evaluate_terms(objective, policy, batch).metrics
    total, count = metrics["policy/ratio"]
    assert total == count and metrics["policy/clip_fraction"][0] == 0 and metrics["policy/kl_step"][0] == 0


def test_rows_without_weight_have_no_gradient():
    objective, policy, batch = PolicyGradient("dapo"), make_policy(), make_batch()
    batch["loss_weights"][3] = 0
    other = {name: array.copy() for name, array in batch.items()}
    other["advantages"][3], other["old_log_probs"][3] = 50.0, -9.0
    function = gradient_function(objective, policy)
    values = [tf.convert_to_tensor(weight.value) for weight in policy.trainable_variables]
    for one, two in zip(function(values, batch)[1], function(values, other)[1], strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("make_objective", [make_grpo, make_ppo])
def test_what_is_not_finite_where_nothing_was_sampled_changes_nothing(make_objective):
    objective, policy, batch = make_objective(), make_policy_with_values(), make_batch()
    other = {name: array.copy() for name, array in batch.items()}
    is_not_sampled = batch["loss_weights"] == 0
    for name in ("old_log_probs", "reference_log_probs"):
        other[name][is_not_sampled] = -np.inf
    for name in ("advantages", "returns", "old_values"):
        other[name][is_not_sampled] = np.nan
    first, second = (evaluate_terms(objective, policy, columns) for columns in (batch, other))
    assert second.loss_sum == first.loss_sum and second.metrics == first.metrics
    function = gradient_function(objective, policy)
    values = [tf.convert_to_tensor(weight.value) for weight in policy.trainable_variables]
    for one, two in zip(function(values, batch)[1], function(values, other)[1], strict=True):
        np.testing.assert_array_equal(one, two)


def make_policy_with_dropout(layer):
    keras.utils.set_random_seed(0)
    ids = keras.Input((None,), dtype="int32", name="token_ids")
    hidden = keras.layers.Embedding(VOCAB, 6)(ids)
    return keras.Model({"token_ids": ids}, keras.layers.Dense(VOCAB)(layer(hidden)))


class OnlyInTraining(keras.layers.Layer):
    """Differs in training, as the capacity of experts does."""

    def call(self, inputs, training=None):
        return 2.0 * inputs if training else inputs


def test_a_reference_is_scored_as_it_is_outside_of_training():
    model, batch = make_policy_with_dropout(OnlyInTraining()), make_batch()
    objective = PolicyGradient("grpo", reference=model)
    tensors = {name: ops.convert_to_tensor(array) for name, array in batch.items()}
    for training in (True, False):
        found = RecomputedOutputs(objective, model, 4, training=training)(batch)["log_probs"]
        expected = objective.outputs(model, tensors, training=training).log_probs
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    learner = Learner(make_policy(), TrainingConfig(batch_size=4), RunSchedule([1e-3], [1], 0))
    update = RolloutUpdate(learner, objective, 4, 1, None, 0)
    of_reference = update._of_reference(batch)["log_probs"]
    np.testing.assert_allclose(of_reference, expected, rtol=1e-6)


def test_dropout_of_any_layer_is_off_in_training():
    objective, policy = PolicyGradient("dapo"), make_policy_with_dropout(keras.layers.Dropout(0.5))
    tensors = {name: ops.convert_to_tensor(array) for name, array in make_batch().items()}
    one, other = (objective.outputs(policy, tensors, training=training) for training in (True, False))
    np.testing.assert_array_equal(one.log_probs, other.log_probs)


def test_a_configuration_names_preset_and_axes_and_is_read_again():
    objective = PolicyGradient("dr_grpo", constant_length=64, clip_high=0.3)
    described = describe_objective(objective)
    assert described["name"] == "policy_gradient" and described["preset"] == "dr_grpo"
    again = objective_from_config(described)
    assert again.axes == objective.axes and describe_objective(again) == described


def test_missing_references_and_value_functions_are_errors_of_one_line():
    with pytest.raises(ConfigError, match="kl='k3' needs a `reference`; received None"):
        PolicyGradient("grpo")
    with pytest.raises(ConfigError, match="needs a model with a value function; received a Functional"):
        evaluate_terms(make_ppo(), make_policy(), make_batch())
