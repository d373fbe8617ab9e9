"""Block diffusion: blocks of one token are an exact likelihood, and nothing passes back between blocks."""

from __future__ import annotations

import contextlib
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import highnoon as hn
from highnoon.config import ConfigError
from highnoon.data.sequences.block_noise import block_noise
from highnoon.evaluation import evaluate_model
from highnoon.experts.expert_kinds import expert_kind
from highnoon.models.arrays import load_arrays
from highnoon.testing.check_objective import check_objective
from highnoon.testing.objective_runs import evaluate_terms, gradient_function
from highnoon.tokenization import ByteTokenizer
from highnoon.training import BlockDiffusion
from highnoon.training.objective import NextToken, objective_from_config
from highnoon.training.objectives.block_diffusion.block_inputs import noisy_inputs
from tests.training.objectives.block_diffusion_toy import LENGTH, MASK, SEQUENCES, make_toy, rows_of

ROW = 12
SMALL = {"vocab_size": 12, "embedding_dim": 8, "num_reasoning_blocks": 1, "num_heads": 2, "ffn_dim": 8}


def make_model():
    keras.utils.set_random_seed(0)
    return hn.LanguageModel(**SMALL, max_seq_length=ROW, block_pattern="attention+mlp", initializer_range=0.3)


def make_objective():
    return BlockDiffusion(block_sizes=(1, 3, 4), mask_id=11)


def make_batch(rows=8):
    """Rows of two documents and padding, each with its noise."""
    rng = np.random.default_rng(0)
    ids = rng.integers(1, 11, (rows, ROW)).astype("int32")
    ends, used = rng.integers(2, 6, (rows, 1)), rng.integers(8, ROW + 1, (rows, 1))
    index = np.arange(ROW)[None]
    segments = np.where(index < ends, 1, 2) * (index < used)
    has_label = (np.roll(segments, -1, axis=1) == segments) & (index < ROW - 1) & (segments > 0)
    batch = {
        "token_ids": ids * (segments > 0),
        "labels": np.roll(ids, -1, axis=1) * has_label,
        "segment_ids": segments.astype("int32"),
        "positions": np.where(index < ends, index, index - ends).astype("int32"),
        "loss_weights": (has_label & (rng.random((rows, ROW)) < 0.8)).astype("float32"),
    }
    batch["labels"] = (batch["labels"] * (batch["loss_weights"] > 0)).astype("int32")
    lengths = np.array([1, 3, 4])[np.arange(rows) % 3].astype("int32")
    noise = [
        block_noise({name: array[row] for name, array in batch.items()}, int(lengths[row]), rng)
        for row in range(rows)
    ]
    columns = {name: np.stack([one[name] for one in noise]) for name in noise[0]}
    return {**batch, **columns, "block_lengths": lengths}


def exact_nats(model, sequences):
    """The negative log-likelihood of each sequence, from the kind's one pass."""
    found = expert_kind(model).token_log_probs(model, rows_of(sequences))
    return -np.asarray(found, np.float64).sum(axis=1)


@pytest.mark.parametrize(
    "pattern", ["attention+mlp", "sliding_attention(sliding_window=2)+mlp", "latent_attention"]
)
def test_the_likelihood_of_all_sequences_sums_to_one(pattern):
    nats = exact_nats(make_toy(pattern), SEQUENCES)
    assert np.exp(-nats).sum() == pytest.approx(1.0, abs=1e-5)
    assert nats.std() > 0.5  # far from even


def test_blocks_of_one_token_are_the_product_of_the_conditionals():
    model = make_toy()
    kind, rows = expert_kind(model), rows_of(SEQUENCES)
    cache = kind.initial_cache(model, len(SEQUENCES), LENGTH)
    total = np.zeros(len(SEQUENCES))
    for place in range(LENGTH):
        logits, cache = kind.decode(model, rows["token_ids"][:, place : place + 1], cache, place)
        logits = np.asarray(logits[:, 0], np.float64)
        log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        assert np.exp(log_probs[:, MASK]).max() == 0.0, "a mask is never text"
        total += log_probs[np.arange(len(total)), SEQUENCES[:, place]]
    np.testing.assert_allclose(-total, exact_nats(model, SEQUENCES), atol=1e-4)


def test_the_held_out_loss_is_the_exact_one_and_that_of_the_kind():
    model, batch = make_model(), make_batch()
    objective = make_objective()
    terms = objective.terms(model, batch, training=False)
    model.outputs_description = objective.describe_outputs()
    log_probs = np.asarray(expert_kind(model).token_log_probs(model, batch), np.float64)
    assert float(terms.loss_sum) == pytest.approx(-log_probs.sum(), rel=1e-5)
    assert objective.is_likelihood and objective.report(1.0, {})["perplexity"] == pytest.approx(np.e)


def test_training_on_blocks_of_one_token_is_the_exact_loss():
    model, batch = make_model(), make_batch()
    rng = np.random.default_rng(1)
    noise = [block_noise({n: a[r] for n, a in batch.items()}, 1, rng) for r in range(len(batch["labels"]))]
    batch |= {name: np.stack([one[name] for one in noise]) for name in noise[0]}
    batch["block_lengths"] = np.ones(len(noise), "int32")
    objective = make_objective()
    trained, held_out = (float(objective.terms(model, batch, training=t).loss_sum) for t in (True, False))
    assert trained == pytest.approx(held_out, rel=1e-5)


@pytest.mark.parametrize("block_length", [1, 4])
def test_later_blocks_change_nothing_earlier_and_their_own_block_does(block_length):
    model, length = make_model(), 8
    place = np.arange(length, dtype="int32")[None]
    row = {
        "token_ids": (place * 3 % 10 + 1).astype("int32"),
        "segment_ids": np.ones_like(place),
        "positions": place,
        "noisy_labels": (place * 7 % 10 + 1).astype("int32"),
        "noisy_segment_ids": np.ones_like(place),
        "noisy_positions": place + 1,
        "is_masked": (place % 2).astype("int32"),
        "block_lengths": np.array([block_length], "int32"),
    }

    def logits(**changed):
        return np.asarray(model(noisy_inputs({**row, **changed}, 11)))[0, :length]

    before = logits()
    for name in ("token_ids", "noisy_labels"):
        later = row[name].copy()
        later[0, 5:] = 9  # clean positions 5 .. 7, and noisy positions 6 .. 8: the second block of four
        np.testing.assert_array_equal(logits(**{name: later})[:4], before[:4])
        own = row[name].copy()
        own[0, 2] = 9
        assert np.abs(logits(**{name: own}) - before)[2:].max() > 1e-4
    # A noisy token is seen within its block alone, also by earlier ones.
    own = row["noisy_labels"].copy()
    own[0, 2] = 9
    moved = np.abs(logits(noisy_labels=own) - before).max(axis=-1)
    assert (moved[:2] > 1e-6).all() == (block_length == 4) and (moved[4:] == 0).all()


def test_documents_of_a_row_and_batch_mates_do_not_see_one_another():
    model, batch = make_model(), make_batch()
    model.outputs_description = make_objective().describe_outputs()
    found = np.asarray(expert_kind(model).token_log_probs(model, batch))
    noisy = np.asarray(model(noisy_inputs(batch, 11)))[:, :ROW]
    for name in ("token_ids", "noisy_labels"):
        changed = {key: array.copy() for key, array in batch.items()}
        segments = changed["noisy_segment_ids" if name == "noisy_labels" else "segment_ids"]
        changed[name][segments == 2] = 5
        changed[name][3:] = 7
        again = np.asarray(expert_kind(model).token_log_probs(model, changed))
        kept = (batch["segment_ids"] == 1) & (np.arange(8) < 3)[:, None]
        np.testing.assert_allclose(again[kept], found[kept], atol=1e-5)
        kept = (batch["noisy_segment_ids"] == 1) & (np.arange(8) < 3)[:, None]
        again = np.asarray(model(noisy_inputs(changed, 11)))[:, :ROW]
        np.testing.assert_allclose(again[kept], noisy[kept], atol=1e-5)


def test_padding_on_either_side_changes_nothing():
    model = make_toy()
    rows = rows_of(SEQUENCES[40:42])
    alone = np.asarray(expert_kind(model).token_log_probs(model, rows))
    longer = {name: np.pad(array, ((0, 0), (0, 3))) for name, array in rows.items()}
    np.testing.assert_allclose(expert_kind(model).token_log_probs(model, longer)[:, :4], alone, atol=1e-5)
    cache = expert_kind(model).initial_cache(model, 2, 8)
    ids = np.pad(rows["token_ids"], ((0, 0), (2, 0)))
    logits, _ = expert_kind(model).decode(model, ids, cache, 0, np.array([2, 2]))
    full = expert_kind(model).logits(model, {"token_ids": rows["token_ids"]})
    np.testing.assert_allclose(logits[:, 2:], full, atol=1e-4)


def test_prefill_in_pieces_equals_one_pass():
    model, kind = make_toy(), expert_kind(make_toy())
    ids = np.random.default_rng(0).integers(0, 3, (2, 9)).astype("int32")
    full = np.asarray(kind.logits(model, {"token_ids": ids}))
    cache, start = kind.initial_cache(model, 2, 9), 0
    for size in (4, 1, 4):
        logits, cache = kind.decode(model, ids[:, start : start + size], cache, start)
        np.testing.assert_allclose(logits, full[:, start : start + size], atol=1e-4)
        start += size


def test_every_weight_has_a_gradient():
    model, batch = make_model(), make_batch()
    values = [tf.convert_to_tensor(weight.value) for weight in model.trainable_variables]
    _, gradients = gradient_function(make_objective(), model)(values, batch)
    for weight, gradient in zip(model.trainable_variables, gradients, strict=True):
        assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0, weight.path


@pytest.mark.slow
@pytest.mark.parametrize("is_recomputed", [False, True])
def test_compiled_and_recomputed_blocks_give_the_same_loss_and_gradients(is_recomputed):
    keras.utils.set_random_seed(0)
    pattern = "attention+moe, latent_attention+mlp"
    fields = {**SMALL, "num_moe_experts": 2, "expert_dim": 8, "dropout": 0.0}
    model = hn.LanguageModel(**fields, max_seq_length=ROW, block_pattern=pattern, initializer_range=0.3)
    batch = {name: tf.convert_to_tensor(array) for name, array in make_batch().items()}
    values = [tf.convert_to_tensor(weight.value) for weight in model.trainable_variables]
    loss, gradients = gradient_function(make_objective(), model)(values, batch)
    if is_recomputed:
        model.gradient_checkpointing_enable()
    with contextlib.nullcontext() if is_recomputed else model.compiled_parts():
        function = tf.function(gradient_function(make_objective(), model), autograph=False)
        other_loss, others = function(values, batch)
    assert float(other_loss) == pytest.approx(float(loss), rel=1e-5)
    for one, other in zip(gradients, others, strict=True):
        np.testing.assert_allclose(other, one, atol=1e-4)


@pytest.mark.slow
def test_the_objective_keeps_all_promises():
    check_objective(make_objective, make_model, make_batch(), has_row_metrics=False)


@pytest.mark.parametrize("pattern", ["mamba2", "attention+mlp, gated_delta_rule", "bdh"])
def test_recurrent_mixers_are_refused_in_one_line(pattern):
    model = hn.LanguageModel(**SMALL, max_seq_length=ROW, block_pattern=pattern)
    with pytest.raises(ConfigError, match="attention as every mixer") as refusal:
        make_objective().terms(model, make_batch(), training=True)
    assert "\n" not in str(refusal.value)


def test_what_cannot_work_is_refused_in_one_line():
    model = make_model()
    with pytest.raises(ConfigError, match="needs an id for the mask"):
        BlockDiffusion().terms(model, make_batch(), training=True)
    with pytest.raises(ConfigError, match="must be below vocab_size=12"):
        BlockDiffusion(mask_id=12).terms(model, make_batch(), training=True)
    with pytest.raises(ConfigError, match="block_sizes"):
        BlockDiffusion(block_sizes=[])
    with pytest.raises(ConfigError, match="least_mask_rate"):
        BlockDiffusion(least_mask_rate=0.0)
    learned = hn.LanguageModel(
        **SMALL, max_seq_length=ROW, position_embedding="learned", block_pattern="attention"
    )
    with pytest.raises(ConfigError, match="rotary positions"):
        make_objective().terms(learned, make_batch(), training=True)
    model.outputs_description = make_objective().describe_outputs()
    with pytest.raises(ConfigError, match='objective="block_diffusion"'):
        NextToken().terms(model, make_batch(), training=True)


def test_the_mask_is_the_special_token_of_the_tokenizer():
    model = hn.LanguageModel(**{**SMALL, "vocab_size": 263}, max_seq_length=ROW, block_pattern="attention")
    model.tokenizer = ByteTokenizer()
    plain, given = (evaluate_terms(BlockDiffusion(mask_id=i), model, make_batch()) for i in (None, 6))
    assert plain.loss_sum == given.loss_sum
    described = objective_from_config({"name": "block_diffusion", "block_sizes": [2]}).describe_outputs()
    assert described == {"expert_kind": "block_diffusion", "mask_id": None, "block_sizes": [2]}


def write_corpus(tmp_path):
    rng = np.random.default_rng(0)
    lines = [json.dumps({"text": " ".join(rng.choice(["sun", "moon", "star"], size=5))}) for _ in range(40)]
    (tmp_path / "corpus.jsonl").write_text("\n".join(lines) + "\n")
    return str(tmp_path / "corpus.jsonl")


def make_trainer(corpus):
    keras.utils.set_random_seed(1)
    model = hn.LanguageModel(**{**SMALL, "vocab_size": 263}, max_seq_length=16, block_pattern="attention+mlp")
    model.tokenizer = ByteTokenizer()
    trainer = hn.Trainer(model, batch_size=4, max_seq_length=16, learning_rate=1e-2, jit_compile=False)
    return trainer.add_curriculum_stage("diffusion", corpus, steps=6, objective="block_diffusion")


@pytest.mark.slow
def test_a_resumed_run_ends_with_the_same_bits(tmp_path):
    corpus = write_corpus(tmp_path)

    class Stop(Exception):
        pass

    def stop(event):
        if event["event"] == "step_end" and event["step"] == 4:
            raise Stop

    options = {"checkpoint_interval": 3, "verbose": False, "log_dir": None}
    make_trainer(corpus).train(checkpoint_dir=tmp_path / "whole", **options)
    cut = make_trainer(corpus)
    cut.on_callback_error = "raise"
    cut.add_callback(stop)
    with pytest.raises(Stop):
        cut.train(checkpoint_dir=tmp_path / "cut", **options)
    make_trainer(corpus).train(checkpoint_dir=tmp_path / "cut", resume_from=True, **options)
    ends = [load_arrays(tmp_path / name / "step_00000006" / "model.safetensors") for name in ("whole", "cut")]
    for name, array in ends[0].items():
        np.testing.assert_array_equal(ends[1][name], array)


@pytest.mark.slow
def test_a_saved_model_is_evaluated_and_generates_by_its_kind(tmp_path):
    trainer, figures = make_trainer(write_corpus(tmp_path)), []
    trainer.add_callback(
        lambda event: figures.append(event["metrics"]) if event["event"] == "evaluation" else None
    )
    evaluators = [{"name": "diffusion_bound", "block_lengths": [4]}]
    trainer.train(save_checkpoints=False, verbose=False, log_dir=None, eval_interval=6, evaluators=evaluators)
    assert figures[-1]["val/bits_per_byte"] > 0 and figures[-1]["val/at_most/block_4"] > 0
    hn.save_model(trainer.model, tmp_path / "model")
    model = hn.load_model(tmp_path / "model")
    assert model.outputs_description["expert_kind"] == "block_diffusion"
    assert model.outputs_description["mask_id"] == 6
    result = evaluate_model(model, trainer.stage_data()[0].validation_rows)
    assert result.loss == pytest.approx(trainer.evaluate()["loss"], rel=1e-5)
    ids = model.generate([2, 122, 124], max_length=5, seed=0, temperature=3.0)
    assert len(ids) > 3 and 6 not in ids
