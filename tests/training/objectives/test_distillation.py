"""Distillation: the loss of a naive loop, with a teacher in the step or computed beforehand."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
from keras import ops

import highnoon as hn
from highnoon.config import ConfigError
from highnoon.data import PackedRows, derive_columns, open_source, tokenize
from highnoon.models.arrays import load_arrays
from highnoon.testing.check_objective import ObjectiveCase, check_jax, check_objective
from highnoon.tokenization import ByteTokenizer
from highnoon.training import BlockDiffusion, Distillation
from highnoon.training.frozen_models import weights_hash
from highnoon.training.objective import NextToken

VOCAB, LENGTH, TOP_K = 263, 24, 4


def make_model(seed, **fields):
    keras.utils.set_random_seed(seed)
    shape = {"vocab_size": VOCAB, "embedding_dim": 16, "num_reasoning_blocks": 1, "num_heads": 2}
    options = {"block_pattern": "attention+mlp", "ffn_dim": 16, "max_seq_length": LENGTH, **fields}
    model = hn.create_model("highnoon-nano", **{**shape, **options})
    model.tokenizer = ByteTokenizer()
    return model


def make_plain_model(seed=3):
    keras.utils.set_random_seed(seed)
    ids = keras.Input((None,), dtype="int32", name="token_ids")
    mask = keras.Input((None,), dtype="int32", name="padding_mask")
    hidden = keras.layers.Embedding(VOCAB, 8)(ids) * ops.expand_dims(ops.cast(mask, "float32"), -1)
    return keras.Model({"token_ids": ids, "padding_mask": mask}, keras.layers.Dense(VOCAB)(hidden))


def make_plain_teacher():
    return make_plain_model(4)


def make_objective():
    return Distillation(make_plain_teacher(), temperature=2.0, alpha=0.7)


def make_batch(rows=8, top_k=None):
    rng = np.random.default_rng(0)
    used = np.arange(LENGTH) < rng.integers(3, LENGTH, size=(rows, 1))
    ids = rng.integers(1, VOCAB, (rows, LENGTH + 1)).astype("int32")
    batch = {
        "token_ids": ids[:, :-1] * used,
        "labels": ids[:, 1:] * used,
        "segment_ids": used.astype("int32"),
        "positions": np.tile(np.arange(LENGTH, dtype="int32"), (rows, 1)),
        "loss_weights": (used & (rng.random((rows, LENGTH)) < 0.8)).astype("float32"),
    }
    if top_k:
        best = np.argsort(rng.random((rows, LENGTH, VOCAB)), axis=-1)[:, :, :top_k]
        batch["teacher_ids"] = (best * used[..., None]).astype("int32")
        logs = np.sort(rng.uniform(-3, -0.5, (rows, LENGTH, top_k)))[:, :, ::-1]
        batch["teacher_log_probs"] = (logs * used[..., None]).astype("float32")
    return batch


def naive_loss(student, batch, temperature, alpha, teacher=None):
    """The loss as a loop over tokens, in float64."""
    total = 0.0
    logits = np.asarray(student, np.float64)
    for row, token in np.argwhere(batch["loss_weights"] > 0):
        scaled = logits[row, token] / temperature
        log_probs = scaled - np.log(np.sum(np.exp(scaled)))
        if teacher is not None:
            weights = np.exp(np.asarray(teacher, np.float64)[row, token] / temperature)
            ids = np.arange(VOCAB)
        else:
            weights = np.exp(np.float64(batch["teacher_log_probs"][row, token]) / temperature)
            ids = batch["teacher_ids"][row, token]
        probs = weights / weights.sum()
        soft = -sum(p * log_probs[i] for p, i in zip(probs, ids, strict=True)) * temperature**2
        plain = logits[row, token]
        hard = np.log(np.sum(np.exp(plain))) - plain[batch["labels"][row, token]]
        total += alpha * soft + (1 - alpha) * hard
    return total


def inputs_of(batch):
    return {"token_ids": batch["token_ids"], "padding_mask": batch["segment_ids"]}


@pytest.mark.parametrize(("temperature", "alpha"), [(1.0, 0.5), (3.0, 0.9), (2.0, 0.0), (2.0, 1.0)])
def test_the_loss_is_that_of_a_naive_loop(temperature, alpha):
    student, teacher, batch = make_plain_model(), make_plain_teacher(), make_batch(3)
    terms = Distillation(teacher, temperature, alpha=alpha).terms(student, batch, training=False)
    expected = naive_loss(student(inputs_of(batch)), batch, temperature, alpha, teacher(inputs_of(batch)))
    assert float(terms.loss_sum) == pytest.approx(expected, rel=1e-5)


def test_the_loss_with_top_k_is_that_of_a_naive_loop():
    student, batch = make_plain_model(), make_batch(3, TOP_K)
    objective = Distillation(make_plain_teacher(), 2.0, top_k=TOP_K, alpha=0.6)
    assert set(objective.columns) == set(batch) and not objective.frozen_models()
    terms = objective.terms(student, batch, training=False)
    expected = naive_loss(student(inputs_of(batch)), batch, 2.0, 0.6)
    assert float(terms.loss_sum) == pytest.approx(expected, rel=1e-5)


def test_all_of_the_vocabulary_as_top_k_is_the_teacher_itself():
    teacher, batch = make_plain_teacher(), make_batch(2)
    whole = Distillation(teacher, 2.0).terms(make_plain_model(), batch, training=False)
    objective = Distillation(teacher, 2.0, top_k=VOCAB)
    ids, log_probs = objective._teacher.best_tokens(teacher(inputs_of(batch)), VOCAB)
    columns = {**batch, "teacher_ids": ids, "teacher_log_probs": log_probs}
    terms = objective.terms(make_plain_model(), columns, training=False)
    assert float(terms.loss_sum) == pytest.approx(float(whole.loss_sum), rel=1e-5)


def test_alpha_0_is_the_next_token_with_the_losses_of_experts():
    fields = {"block_pattern": "attention+moe", "num_moe_experts": 2, "expert_dim": 16}
    model, batch = make_model(0, **fields), make_batch(4)
    with keras.StatelessScope(collect_losses=True, state_mapping=[]):
        ours = Distillation(make_plain_teacher(), alpha=0.0).terms(model, batch, training=True)
        theirs = NextToken().terms(model, batch, training=True)
    assert float(ours.loss_sum) == pytest.approx(float(theirs.loss_sum), rel=1e-5)
    assert float(ours.aux_loss) == pytest.approx(float(theirs.aux_loss), rel=1e-5) and ours.aux_loss > 0


def write_corpus(tmp_path):
    rng = np.random.default_rng(0)
    words = "sun moon star stone river wind".split()
    lines = [json.dumps({"text": " ".join(rng.choice(words, size=6))}) for _ in range(50)]
    (tmp_path / "corpus.jsonl").write_text("\n".join(lines) + "\n")
    return str(tmp_path / "corpus.jsonl")


def make_trainer(student, corpus, objective, steps=6):
    trainer = hn.Trainer(student, batch_size=4, max_seq_length=LENGTH, learning_rate=1e-2, jit_compile=False)
    return trainer.add_curriculum_stage("distil", corpus, steps=steps, objective=objective)


def test_derived_columns_hold_the_likeliest_tokens_of_the_teacher(tmp_path):
    teacher = make_model(1)
    store = tokenize(open_source(write_corpus(tmp_path)), ByteTokenizer(), tmp_path)
    objective = Distillation(teacher, top_k=TOP_K)
    columns = derive_columns(store, objective.derivation(window=400))
    document = store.tokens(3)
    logits = np.asarray(teacher(document[None]))[0]
    log_probs = logits - np.log(np.sum(np.exp(logits), axis=-1, keepdims=True))
    positions = np.arange(store.offsets[3], store.offsets[4])
    expected = -np.sort(-log_probs, axis=-1)[:, :TOP_K]
    np.testing.assert_allclose(columns.read("teacher_log_probs", positions), expected, atol=2e-5)
    ids = columns.read("teacher_ids", positions)
    np.testing.assert_allclose(np.take_along_axis(log_probs, ids, -1), expected, atol=2e-5)
    batch = PackedRows([store], LENGTH, derived=[columns]).view(0).read(0, 2)
    assert batch["teacher_ids"].shape == (2, LENGTH, TOP_K)


@pytest.mark.slow
@pytest.mark.parametrize("top_k", [None, TOP_K])
def test_a_student_learns_from_its_teacher_which_is_in_no_checkpoint(tmp_path, top_k):
    corpus, teacher = write_corpus(tmp_path), make_model(1)
    before = weights_hash(teacher)
    objective = Distillation(teacher, temperature=2.0, top_k=top_k, alpha=1.0)
    trainer = make_trainer(make_model(0), corpus, objective, steps=30)
    figures = []
    trainer.add_callback(
        lambda event: figures.append(event["metrics"]) if event["event"] == "evaluation" else None
    )
    trainer.train(checkpoint_dir=tmp_path / "c", checkpoint_interval=30, eval_interval=10, verbose=False)
    name = "val/distillation/agreement"
    assert figures[-1]["val/loss"] < figures[0]["val/loss"] and figures[-1][name] > figures[0][name]
    assert weights_hash(teacher) == before
    values = {np.asarray(weight).tobytes() for weight in teacher.weights if np.asarray(weight).size > 16}
    for folder in (tmp_path / "c").glob("step_*"):
        arrays = load_arrays(folder / "model.safetensors") | load_arrays(folder / "optimizer.safetensors")
        assert not [name for name, array in arrays.items() if array.tobytes() in values]


@pytest.mark.parametrize("which", ["teacher", "student"])
def test_a_model_of_block_diffusion_is_refused(which):
    models = {"teacher": make_model(1), "student": make_model(0)}
    models[which].outputs_description = BlockDiffusion(mask_id=6).describe_outputs()
    with pytest.raises(ConfigError, match="received one of block diffusion"):
        Distillation(models["teacher"]).terms(models["student"], make_batch(), training=False)


@pytest.mark.slow
@pytest.mark.parametrize("top_k", [None, TOP_K])
def test_a_distillation_is_resumed_bit_for_bit(tmp_path, top_k):
    corpus = write_corpus(tmp_path)
    hn.save_model(make_model(1), tmp_path / "teacher")

    class Stop(Exception):
        pass

    def stop(event):
        if event["event"] == "step_end" and event["step"] == 7:
            raise Stop

    def trainer():
        objective = {"name": "distillation", "teacher": str(tmp_path / "teacher"), "top_k": top_k}
        made = make_trainer(make_model(0), corpus, objective, steps=10)
        return made

    options = {"checkpoint_interval": 5, "verbose": False, "log_dir": None}
    trainer().train(checkpoint_dir=tmp_path / "whole", **options)
    cut = trainer()
    cut.on_callback_error = "raise"
    cut.add_callback(stop)
    with pytest.raises(Stop):
        cut.train(checkpoint_dir=tmp_path / "cut", **options)
    trainer().train(checkpoint_dir=tmp_path / "cut", resume_from=True, **options)
    ends = [load_arrays(tmp_path / name / "step_00000010" / "model.safetensors") for name in ("whole", "cut")]
    for name, array in ends[0].items():
        np.testing.assert_array_equal(ends[1][name], array)


def test_another_teacher_at_the_same_path_is_refused(tmp_path):
    hn.save_model(make_model(1), tmp_path / "teacher")
    config = Distillation(tmp_path / "teacher").get_config()
    assert Distillation.from_config(config).get_config() == config
    hn.save_model(make_model(2), tmp_path / "teacher")
    with pytest.raises(ConfigError, match="must have weights .*; received "):
        Distillation.from_config(config).get_config()


def test_the_configuration_holds_no_weights():
    config = json.dumps(Distillation(make_plain_teacher()).get_config())
    assert len(config) < 300
    with pytest.raises(ConfigError, match="given in memory is not saved with a run: give it again"):
        Distillation.from_config(json.loads(config))


def test_a_teacher_with_another_vocabulary_is_refused():
    keras.utils.set_random_seed(0)
    ids = keras.Input((None,), dtype="int32", name="token_ids")
    hidden = keras.layers.Embedding(VOCAB, 8)(ids)
    teacher = keras.Model({"token_ids": ids}, keras.layers.Dense(VOCAB + 1)(hidden))
    with pytest.raises(ConfigError, match="vocabulary of 263 ids; received one of 264"):
        Distillation(teacher).terms(make_plain_model(), make_batch(), training=False)


def test_a_model_is_not_its_own_teacher():
    model = make_plain_model()
    with pytest.raises(ConfigError, match="another model than the one that is trained"):
        Distillation(model).terms(model, make_batch(), training=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0}, "`temperature`"),
        ({"alpha": 1.5}, "`alpha`"),
        ({"top_k": 0}, "`top_k`"),
        ({"teacher": 3}, "`teacher` must be a model or the path"),
    ],
)
def test_arguments_out_of_range_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        Distillation(**{"teacher": "somewhere", **options})


def test_a_stream_cannot_be_read_by_the_teacher_beforehand(tmp_path):
    corpus = {"name": write_corpus(tmp_path), "stream": True}
    trainer = make_trainer(make_model(0), [corpus], Distillation(make_model(1), top_k=TOP_K))
    with pytest.raises(ConfigError, match="leave out `top_k`"):
        trainer.plan()


def test_distillation_passes_the_battery():
    options = {"replicas": False, "jax": False, "reloads": False}
    check_objective(make_objective, make_plain_model, make_batch(), **options)


@pytest.mark.slow
def test_distillation_is_the_same_under_jax():
    check_jax(ObjectiveCase(make_objective, make_plain_model, make_batch()))
