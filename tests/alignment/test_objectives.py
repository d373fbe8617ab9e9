"""The objectives on a model: a naive loop over pairs, the batteries of an objective, and the reference."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf
from keras import ops

import highnoon as hn
from highnoon.alignment import DPO, KTO, ORPO, LabeledAnswers, PairRows, PairwiseReward, RewardModel, SimPO
from highnoon.alignment.kto import REFERENCE_POINT
from highnoon.config import ConfigError
from highnoon.data import derive_columns
from highnoon.testing import check_objective as checks
from highnoon.testing.objective_runs import gradient_function, train
from highnoon.training.objective import objective_from_config
from highnoon.training.steps.evaluation import EvaluationStep
from tests.alignment.bigram import make_bigram, make_dpo, make_kto
from tests.alignment.conftest import LENGTH, make_labeled, make_policy, make_store


def kto_batch(folder):
    store = make_store(folder, make_labeled(), LabeledAnswers)
    batch = (
        PairRows(store, row_length=LENGTH, may_be_equal=True, row_columns=[REFERENCE_POINT])
        .view(0)
        .read(0, 8)
    )
    drawn = np.random.default_rng(1).uniform(-6.5, -5.5, batch["token_ids"].shape)
    return {**batch, "reference_log_probs": (drawn * batch["loss_weights"]).astype("float32")}


@pytest.fixture(scope="module")
def labeled_batch(tmp_path_factory):
    return kto_batch(tmp_path_factory.mktemp("labeled"))


def naive_log_probs(model, batch, lane):
    """Sums over the tokens of each answer in float64, by row and segment."""
    found = {}
    for row in range(len(batch["token_ids"])):
        inputs = {
            name: batch[name][row : row + 1, lane] for name in ("token_ids", "segment_ids", "positions")
        }
        logits = np.asarray(model(inputs, training=False), np.float64)[0]
        for t in range(LENGTH):
            if batch["loss_weights"][row, lane, t]:
                key = row, int(batch["segment_ids"][row, lane, t])
                log_prob = logits[t, batch["labels"][row, lane, t]] - math.log(np.exp(logits[t]).sum())
                total, length, reference = found.get(key, (0.0, 0, 0.0))
                reference += batch.get("reference_log_probs", np.zeros(batch["labels"].shape))[row, lane, t]
                found[key] = total + log_prob, length + 1, reference
    return found


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def test_losses_and_figures_are_those_of_a_naive_loop_over_pairs(batch):
    policy = make_policy()
    better, worse = (naive_log_probs(policy, batch, lane) for lane in (0, 1))
    assert better.keys() == worse.keys() and len(better) > 8
    expected = {"dpo": 0.0, "normalized": 0.0, "simpo": 0.0, "orpo": 0.0, "margin": 0.0, "right": 0.0}
    for key, (w, num_w, ref_w) in better.items():
        loser, num_l, ref_l = worse[key]
        margin = 0.1 * (w - ref_w - loser + ref_l)
        expected["dpo"] -= math.log(sigmoid(margin))
        normalized = 0.1 * ((w - ref_w) / num_w - (loser - ref_l) / num_l)
        expected["normalized"] -= math.log(sigmoid(normalized))
        expected["simpo"] -= math.log(sigmoid(2 * w / num_w - 2 * loser / num_l - 1))
        odds = [math.exp(mean) / (1 - math.exp(mean)) for mean in (w / num_w, loser / num_l)]
        expected["orpo"] += -w / num_w - 0.1 * math.log(sigmoid(math.log(odds[0] / odds[1])))
        expected["margin"] += margin
        expected["right"] += margin > 0
    objectives = {
        "dpo": DPO(policy),
        "normalized": DPO(policy, length_normalized=True),
        "simpo": SimPO(),
        "orpo": ORPO(),
    }
    for name, objective in objectives.items():
        terms = objective.terms(policy, batch, training=False)
        assert float(terms.loss_sum) == pytest.approx(expected[name], rel=1e-5)
        assert float(objective.weight(batch)) == len(better)
    figures = objectives["dpo"].terms(policy, batch, training=False).metrics
    assert float(figures["rewards/margin"].total) == pytest.approx(expected["margin"], rel=1e-4)
    assert float(figures["rewards/accuracy"].total) == expected["right"] > 0


def test_kto_takes_its_reference_point_over_the_global_batch_without_a_gradient(labeled_batch):
    model, batch = make_bigram(), labeled_batch
    others, own = naive_log_probs(model, batch, 1), naive_log_probs(model, batch, 0)
    point = max(0.0, np.mean([total - reference for total, _, reference in others.values()]))
    assert point > 0.1
    expected = 0.0
    for (row, segment), (total, _, reference) in own.items():
        is_desirable = batch["pair_values"][row, segment - 1] > 0
        sign = 1 if is_desirable else -1
        expected += 1 - sigmoid(sign * 0.5 * (total - reference - point))
    split = EvaluationStep(model, objective=make_kto())([batch])
    assert split.loss == pytest.approx(expected / len(own), rel=1e-5)
    in_parts = [{name: array[start : start + 3] for name, array in batch.items()} for start in (0, 3, 6)]
    assert EvaluationStep(model, objective=make_kto())(in_parts).loss == pytest.approx(split.loss, rel=1e-6)
    # Micro-batches of one row see the point of all eight, and the gradient does not depend on their number.
    whole, by_rows = (train(make_kto(), make_bigram(), batch, size)[0] for size in (8, 1))
    filled = {**batch, REFERENCE_POINT: np.full(8, point, "float32")}
    values = [tf.convert_to_tensor(weight.value) for weight in model.trainable_variables]
    gradient = np.reshape(gradient_function(make_kto(), model)(values, filled)[1][0], -1) / len(own)
    for found in (by_rows, gradient):
        assert np.linalg.norm(found - whole) <= 1e-6 * np.linalg.norm(whole)


CASES = {"dpo": make_dpo, "kto": make_kto}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_padding_order_and_micro_batches_change_nothing(name, batch, labeled_batch):
    rows = labeled_batch if name == "kto" else batch
    rows = {column: rows[column] for column in CASES[name]().columns}
    case = checks.ObjectiveCase(CASES[name], make_bigram, rows, reloads=False)
    for check in (
        checks.check_columns,
        checks.check_padding_rows,
        checks.check_order_of_rows,
        checks.check_loop_over_rows,
        checks.check_micro_batches,
    ):
        check(case)


@pytest.mark.slow
def test_two_replicas_give_the_reduced_gradient_of_one(labeled_batch):
    """KTO's reference point is summed over the replicas before their first micro-batch."""
    checks.check_replicas(checks.ObjectiveCase(make_kto, make_bigram, labeled_batch, reloads=False))


def make_reward_model(seed=0):
    model = RewardModel.from_language_model(make_policy(seed))
    return model


def test_the_reward_is_at_the_last_token_of_each_answer(batch):
    model, objective = make_reward_model(), PairwiseReward(centering=0.05)
    rows = {**batch, "pair_values": np.full_like(batch["pair_values"], 0.25)}
    loss, right, pairs = 0.0, 0.0, 0
    for row in range(8):
        for segment in range(1, batch["segment_ids"][row].max() + 1):
            rewards = []
            for lane in (0, 1):
                chosen = batch["segment_ids"][row, lane] == segment
                rewards.append(float(model(batch["token_ids"][row, lane][chosen][None])[0, -1]))
            loss += -math.log(sigmoid(rewards[0] - rewards[1] - 0.25)) + 0.05 * sum(rewards) ** 2
            right, pairs = right + (rewards[0] > rewards[1]), pairs + 1
    terms = objective.terms(model, rows, training=False)
    assert float(terms.loss_sum) == pytest.approx(loss, rel=1e-4)
    assert float(terms.metrics["rewards/accuracy"].total) == right and float(objective.weight(rows)) == pairs
    with pytest.raises(ConfigError, match=r"make one with RewardModel\.from_language_model"):
        objective.terms(make_policy(), batch, training=False)


def test_a_reward_model_is_saved_and_loaded_with_its_tokenizer(tmp_path):
    model, ids = make_reward_model(), np.array([[2, 70, 80]])
    hn.save_model(model, tmp_path / "reward")
    again = hn.load_model(tmp_path / "reward")
    assert isinstance(again, RewardModel) and again.tokenizer.fingerprint() == model.tokenizer.fingerprint()
    np.testing.assert_array_equal(again(ids), model(ids))


def test_the_derived_column_the_copy_and_the_policy_without_factors_agree(batch, store, tmp_path):
    policy = make_policy()
    copy = make_policy()
    expected = np.asarray(DPO(copy, reference_by="copy").reference_log_probs(policy, batch)[0])
    objective = DPO(policy)
    columns = derive_columns(store, objective._reference.derivation(LENGTH), tmp_path)
    view = PairRows(store, row_length=LENGTH, derived=[columns]).view(0)
    rows = view.read(0, 8)
    np.testing.assert_allclose(objective.reference_log_probs(policy, rows)[0], expected, atol=1e-3, rtol=1e-5)
    policy.backbone.enable_lora(2)
    bare = DPO(policy, reference_by="no_adapter")
    bare._reference.require_untrained_adapter()
    described = bare.get_config()["reference_hash"]
    for layer in policy.backbone._flatten_layers():
        if getattr(layer, "lora_enabled", False):
            layer.lora_kernel_b.assign(layer.lora_kernel_b + 0.5)
    assert (
        np.abs(ops.convert_to_numpy(bare.answers(policy, batch, False).log_probs[0] - expected)).max() > 0.1
    )
    np.testing.assert_allclose(bare.reference_log_probs(policy, batch)[0], expected, rtol=1e-5)
    assert described == DPO(make_policy(), reference_by="no_adapter").get_config()["reference_hash"]
    with pytest.raises(ConfigError, match="needs a policy whose factors of LoRA are new; received trained"):
        bare._reference.require_untrained_adapter()
    with pytest.raises(ConfigError, match="needs a policy with factors of LoRA; received one without"):
        bare.reference_log_probs(copy, batch)
    with pytest.raises(ConfigError, match="must be another object than the policy"):
        DPO(copy, reference_by="copy").reference_log_probs(copy, batch)


def test_a_reference_that_was_trained_meanwhile_computes_no_column(store, tmp_path):
    policy = make_policy()
    objective = DPO(policy)
    objective.get_config()
    policy.trainable_variables[0].assign(policy.trainable_variables[0] * 1.5)
    with pytest.raises(ConfigError, match="`reference` was trained since it was given"):
        derive_columns(store, objective._reference.derivation(LENGTH), tmp_path)


def test_dropout_is_off_while_answers_are_scored_and_router_losses_stay_on(batch):
    fields = {"block_pattern": "attention+moe", "num_moe_experts": 2, "expert_dim": 16, "dropout": 0.5}
    policy = make_policy(**fields)
    objective = DPO(policy)
    first, again = (objective.terms(policy, batch, training=True) for _ in range(2))
    assert float(first.loss_sum) == float(again.loss_sum)
    assert float(first.aux_loss) > 0 and "router/load_entropy" in first.metrics
    assert policy.backbone.reasoning_blocks[0].dropout == 0.5


def test_log_probabilities_in_chunks_have_the_gradient_of_full_logits():
    from highnoon.layers import token_log_probs

    rng = np.random.default_rng(0)
    hidden, kernel = (tf.constant(rng.normal(size=shape), tf.float32) for shape in ((7, 5), (11, 5)))
    labels, weights = rng.integers(0, 11, 7), tf.constant(rng.normal(size=7), tf.float32)
    for softcap in (None, 3.0):
        found = []
        for is_ours in (True, False):
            with tf.GradientTape() as tape:
                tape.watch([hidden, kernel])
                if is_ours:
                    log_probs = token_log_probs(hidden, kernel, labels, chunk_tokens=3, softcap=softcap)
                else:
                    logits = hidden @ tf.transpose(kernel)
                    logits = logits if softcap is None else softcap * tf.tanh(logits / softcap)
                    log_probs = tf.gather(tf.nn.log_softmax(logits), labels[:, None], batch_dims=1)[:, 0]
                loss = tf.reduce_sum(tf.exp(weights * log_probs))
            found.append([log_probs, *tape.gradient(loss, [hidden, kernel])])
        for ours, expected in zip(*found, strict=True):
            np.testing.assert_allclose(ours, expected, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DPO(), "`reference` must be the model that the policy starts from"),
        (lambda: DPO("x", beta=0), "`beta`"),
        (lambda: DPO("x", loss="hinge"), "`loss` must be"),
        (lambda: DPO("x", label_smoothing=0.5), "`label_smoothing`"),
        (lambda: DPO("x", loss="ipo", label_smoothing=0.1), 'with loss="ipo"; leave it out'),
        (lambda: DPO("x", reference_by="magic"), "`reference_by` must be"),
        (lambda: KTO("x", desirable_weight=0), "`desirable_weight`"),
        (lambda: SimPO(gamma=-1), "`gamma`"),
        (lambda: ORPO(overlong="cut"), "`overlong` must be"),
        (
            lambda: RewardModel.from_language_model(make_bigram()),
            "is made of a LanguageModel; received Bigram",
        ),
        (lambda: objective_from_config({"name": "dpo", "reference": "x", "betta": 1}), "betta"),
    ],
)
def test_a_bad_argument_is_one_line(make, message):
    with pytest.raises(ConfigError, match=message) as error:
        make()
    assert "\n" not in str(error.value)


def test_a_missing_or_changed_reference_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match="`reference` cannot be loaded: no model at"):
        DPO(str(tmp_path / "none")).get_config()
    path = str(hn.save_model(make_policy(), tmp_path / "policy"))
    config = DPO(path).get_config()
    assert objective_from_config({"name": "dpo", **config}).get_config() == config
    hn.save_model(make_policy(1), path)
    with pytest.raises(ConfigError, match="`reference`, the model at .*policy, must have weights"):
        DPO(**config).get_config()
