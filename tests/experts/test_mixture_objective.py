"""The objective of a mixture: a naive loop, Jensen's bound, columns computed once, and frozen experts."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest

import highnoon as hn
from highnoon.config import ConfigError
from highnoon.data import open_source, tokenize
from highnoon.experts import ExpertRouter, MixtureObjective
from highnoon.experts.expert_columns import LOG_PROBS, expert_derivation
from highnoon.models.arrays import load_arrays
from highnoon.testing.check_objective import check_objective
from highnoon.tokenization import BytePairTokenizer, ByteTokenizer
from highnoon.training.frozen_model import FrozenModel
from highnoon.training.frozen_models import weights_hash
from highnoon.training.objective import objective_from_config
from highnoon.training.steps.evaluation import EvaluationStep

VOCAB, LENGTH, EXPERTS = 263, 24, 3
WORDS = "sun moon star stone river wind".split()


def make_expert(seed, **fields):
    keras.utils.set_random_seed(seed)
    shape = {"vocab_size": VOCAB, "embedding_dim": 16, "num_reasoning_blocks": 1, "num_heads": 2}
    options = {"block_pattern": "attention+mlp", "ffn_dim": 16, "max_seq_length": LENGTH, **fields}
    model = hn.LanguageModel(**{**shape, **options})
    model.tokenizer = ByteTokenizer()
    return model


def make_experts():
    return [make_expert(1), make_expert(2, block_pattern="mamba2", state_dim=4), make_expert(3, ffn_dim=32)]


def make_router(**fields):
    keras.utils.set_random_seed(0)
    options = {"embedding_dim": 16, "num_heads": 2, "ffn_dim": 16, "max_seq_length": LENGTH, **fields}
    router = ExpertRouter(EXPERTS, VOCAB, **options)
    router.tokenizer = ByteTokenizer()
    return router


def make_awake_router():
    """A router whose head is not zero, so that its trunk has a gradient."""
    router, rng = make_router(), np.random.default_rng(5)
    for weight in router.trainable_variables:
        weight.assign(weight + 0.1 * rng.normal(size=weight.shape).astype("float32"))
    return router


def make_objective():
    return MixtureObjective([make_expert(1)] * EXPERTS, entropy_reg=0.5)


def make_batch(rows=8):
    rng = np.random.default_rng(0)
    used = np.arange(LENGTH) < rng.integers(3, LENGTH, size=(rows, 1))
    ids = rng.integers(1, VOCAB, (rows, LENGTH + 1)).astype("int32")
    return {
        "token_ids": ids[:, :-1] * used,
        "labels": ids[:, 1:] * used,
        "segment_ids": used.astype("int32"),
        "positions": np.tile(np.arange(LENGTH, dtype="int32"), (rows, 1)),
        "loss_weights": (used & (rng.random((rows, LENGTH)) < 0.8)).astype("float32"),
        "expert_log_probs": (rng.uniform(-8, -0.1, (rows, LENGTH, EXPERTS)) * used[..., None]).astype(
            "float32"
        ),
    }


def naive_terms(router, batch, entropy_reg):
    """Loss sum and regularizer as loops over rows and tokens, in float64."""
    inputs = {name: batch[name] for name in ("token_ids", "segment_ids", "positions")}
    weights = np.exp(np.asarray(router(inputs), np.float64))
    loss, missing, tokens = 0.0, 0.0, 0
    for row in range(len(weights)):
        chosen = [token for token in range(LENGTH) if batch["loss_weights"][row, token]]
        for token in chosen:
            probs = np.exp(np.float64(batch["expert_log_probs"][row, token]))
            loss -= np.log(np.sum(weights[row, token] * probs))
        load = weights[row, chosen].mean(axis=0)
        missing += len(chosen) * (np.log(EXPERTS) + np.sum(load * np.log(load)))
        tokens += len(chosen)
    return loss, entropy_reg * missing / tokens


def test_loss_and_regularizer_are_those_of_a_naive_loop():
    router, batch = make_awake_router(), make_batch(3)
    terms = make_objective().terms(router, batch, training=False)
    loss, regularizer = naive_terms(router, batch, 0.5)
    assert float(terms.loss_sum) == pytest.approx(loss, rel=1e-5)
    assert float(terms.aux_loss) == pytest.approx(regularizer, rel=1e-4) and regularizer > 1e-3


@pytest.mark.slow
def test_the_objective_keeps_its_promises_on_micro_batches_replicas_and_jax():
    check_objective(make_objective, make_awake_router, make_batch(), reloads=False)


def test_a_new_router_gives_at_most_the_mean_of_the_experts_losses_at_every_token():
    router, batch = make_router(), make_batch()
    log_probs, weights = batch["expert_log_probs"], batch["loss_weights"]
    inputs = {name: batch[name] for name in ("token_ids", "segment_ids", "positions")}
    mixed = -np.log(np.sum(np.exp(np.asarray(router(inputs)) + log_probs), axis=-1))
    assert (mixed <= -log_probs.mean(-1) + 1e-6).all()
    loss = float(make_objective().terms(router, batch, training=False).loss_sum)
    assert loss == pytest.approx(np.sum(mixed * weights), rel=1e-5)
    assert loss < np.sum(-log_probs.mean(-1) * weights) - 1


def test_the_figures_are_load_losses_and_entropies():
    router, batch, objective = make_awake_router(), make_batch(), make_objective()
    split = EvaluationStep(router, objective=objective)([batch])
    figures = objective.report(split.loss, split.metrics)
    assert set(figures) == {"loss", *objective.figures}
    inputs = {name: batch[name] for name in ("token_ids", "segment_ids", "positions")}
    probabilities = np.exp(np.asarray(router(inputs)))[batch["loss_weights"] > 0]
    losses = -batch["expert_log_probs"][batch["loss_weights"] > 0].mean(0)
    for number in range(EXPERTS):
        assert figures[f"mixture/load_{number}"] == pytest.approx(probabilities[:, number].mean(), rel=1e-4)
        assert figures[f"mixture/expert_loss_{number}"] == pytest.approx(losses[number], rel=1e-4)
    assert figures["mixture/best_expert_loss"] == pytest.approx(losses.min(), rel=1e-4)
    of_tokens = -np.sum(probabilities * np.log(probabilities), -1).mean() / np.log(EXPERTS)
    assert figures["router/token_entropy"] == pytest.approx(of_tokens, rel=1e-4)
    assert figures["router/load_entropy"] > figures["router/token_entropy"]


def write_corpus(tmp_path):
    rng = np.random.default_rng(0)
    lines = [json.dumps({"text": " ".join(rng.choice(WORDS, size=6))}) for _ in range(50)]
    (tmp_path / "corpus.jsonl").write_text("\n".join(lines) + "\n")
    return str(tmp_path / "corpus.jsonl")


def save_experts(tmp_path):
    return [str(hn.save_model(model, tmp_path / f"e{n}")) for n, model in enumerate(make_experts())]


def make_trainer(router, corpus, objective, steps=6, trainable=None, **options):
    options = {"batch_size": 4, "max_seq_length": LENGTH, "learning_rate": 1e-2, **options}
    trainer = hn.Trainer(router, jit_compile=False, **options)
    return trainer.add_curriculum_stage(
        "route", corpus, steps=steps, objective=objective, trainable=trainable
    )


def test_the_column_of_an_expert_is_its_log_probability_of_the_next_token(tmp_path):
    from highnoon.data import derive_columns

    store = tokenize(open_source(write_corpus(tmp_path)), ByteTokenizer(), tmp_path)
    expert = make_expert(1)
    columns = derive_columns(store, expert_derivation(FrozenModel(expert), window=400))
    document = store.tokens(3)
    logits = np.asarray(expert(document[None]), np.float64)[0]
    log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = [*np.take_along_axis(log_probs[:-1], document[1:, None], axis=1)[:, 0], 0.0]
    found = columns.read(LOG_PROBS, np.arange(store.offsets[3], store.offsets[4]))
    np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.mark.slow
def test_training_leaves_the_experts_alone_and_a_checkpoint_holds_none(tmp_path):
    corpus, paths = write_corpus(tmp_path), save_experts(tmp_path)
    experts = [hn.load_model(path) for path in paths]
    before = [weights_hash(expert) for expert in experts]
    router = make_router()
    trainer = make_trainer(router, corpus, MixtureObjective(experts), steps=30)
    figures = []
    trainer.add_callback(lambda event: figures.append(event) if event["event"] == "evaluation" else None)
    trainer.train(checkpoint_dir=tmp_path / "c", checkpoint_interval=30, eval_interval=10, verbose=False)
    values = [event["metrics"] for event in figures]
    assert values[-1]["val/loss"] < values[0]["val/loss"]
    assert all(value["val/mixture/load_1"] > 0 for value in values)
    assert [weights_hash(expert) for expert in experts] == before
    assert router.outputs_description == {"expert_hashes": before}
    own = {weight.shape for weight in router.weights}
    values = {np.asarray(w).tobytes() for expert in experts for w in expert.weights if np.size(w) > 16}
    for folder in (tmp_path / "c").glob("step_*"):
        arrays = load_arrays(folder / "model.safetensors")
        assert {array.shape for array in arrays.values()} <= own and len(arrays) == len(router.weights)
        arrays |= load_arrays(folder / "optimizer.safetensors")
        assert not [name for name, array in arrays.items() if array.tobytes() in values]


@pytest.mark.slow
def test_a_resumed_router_has_the_same_bits_and_no_column_is_computed_again(tmp_path, monkeypatch):
    from highnoon.experts import autoregressive_kind

    monkeypatch.setenv("HIGHNOON_CACHE", str(tmp_path / "cache"))
    corpus, paths, calls = write_corpus(tmp_path), save_experts(tmp_path), []
    kind = autoregressive_kind.Autoregressive
    compute = kind.token_log_probs
    monkeypatch.setattr(kind, "token_log_probs", lambda *args: calls.append(1) or compute(*args))

    class Stop(Exception):
        pass

    def stop(event):
        if event["event"] == "step_end" and event["step"] == 7:
            raise Stop

    def trainer():
        return make_trainer(make_router(), corpus, {"name": "mixture", "experts": paths}, steps=10)

    options = {"checkpoint_interval": 5, "verbose": False, "log_dir": None}
    trainer().train(checkpoint_dir=tmp_path / "whole", **options)
    assert calls
    calls.clear()
    cut = trainer()
    cut.on_callback_error = "raise"
    cut.add_callback(stop)
    with pytest.raises(Stop):
        cut.train(checkpoint_dir=tmp_path / "cut", **options)
    trainer().train(checkpoint_dir=tmp_path / "cut", resume_from=True, **options)
    assert not calls
    ends = [load_arrays(tmp_path / name / "step_00000010" / "model.safetensors") for name in ("whole", "cut")]
    for name, array in ends[0].items():
        np.testing.assert_array_equal(ends[1][name], array)


@pytest.mark.slow
def test_a_constant_router_ends_at_most_a_thousandth_above_the_best_expert(tmp_path):
    corpus, experts = write_corpus(tmp_path), make_experts()
    make_good(experts[1], corpus, tmp_path)
    trainer = make_trainer(
        make_router(),
        corpus,
        MixtureObjective(experts, entropy_reg=0.0),
        steps=200,
        trainable=["*head/bias"],
        learning_rate=1.0,
        weight_decay=0.0,
    )
    trainer.train(save_checkpoints=False, verbose=False, log_dir=None)
    figures = trainer.evaluate()
    assert figures["loss"] <= figures["mixture/best_expert_loss"] + 1e-3
    assert figures["mixture/best_expert_loss"] == figures["mixture/expert_loss_1"]
    assert figures["router/token_entropy"] < 0.2


def make_good(expert, corpus, tmp_path):
    trainer = hn.Trainer(expert, batch_size=4, max_seq_length=LENGTH, learning_rate=1e-2, jit_compile=False)
    trainer.add_curriculum_stage("train", corpus, steps=60)
    trainer.train(save_checkpoints=False, verbose=False, log_dir=None)


def test_an_expert_that_changed_is_refused_by_its_hash(tmp_path):
    paths = save_experts(tmp_path)
    config = MixtureObjective(paths).get_config()
    assert objective_from_config({"name": "mixture", **config}).get_config() == config
    hn.save_model(make_expert(9), tmp_path / "e1")
    with pytest.raises(ConfigError, match=r"`experts\[1\]`, the model at .*e1, must have weights .*; rec"):
        objective_from_config({"name": "mixture", **config}).get_config()


def test_a_missing_expert_is_one_line_that_names_it(tmp_path):
    objective = MixtureObjective([make_expert(1), str(tmp_path / "none")])
    with pytest.raises(
        ConfigError, match=r"`experts\[1\]` cannot be loaded: no model at .*none: it"
    ) as error:
        objective.get_config()
    assert "\n" not in str(error.value)


def test_experts_of_another_tokenizer_or_a_shorter_context_are_refused(tmp_path):
    corpus = write_corpus(tmp_path)
    other = make_expert(2, vocab_size=280)
    other.tokenizer = BytePairTokenizer(280).train_from_texts(["sun moon star stone river wind"] * 5)
    trainer = make_trainer(make_router(), corpus, MixtureObjective([make_expert(1), other]))
    with pytest.raises(
        ConfigError, match=r"`experts\[1\]` must have the tokenizer of the run, whose hash is"
    ):
        trainer.plan()
    short = make_expert(2, max_seq_length=LENGTH // 2)
    trainer = make_trainer(make_router(), corpus, MixtureObjective([make_expert(1), short]))
    with pytest.raises(ConfigError, match=r"`experts\[1\]` must read rows of max_seq_length=24 tokens"):
        trainer.plan()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"experts": []}, "`experts` must be a list of at least two"),
        ({"experts": "runs/a"}, "`experts` must be a list of at least two"),
        ({"experts": ["a", 3]}, r"`experts\[1\]` must be a model or the path of a saved one; received 3"),
        ({"experts": ["a", "b"], "entropy_reg": -1}, "`entropy_reg`"),
        ({"experts": ["a", "b"], "expert_hashes": ["x"]}, "for each of 2 experts; received 1 hashes"),
    ],
)
def test_a_bad_argument_is_named(options, message):
    with pytest.raises(ConfigError, match=message):
        MixtureObjective(**options)


def test_a_router_over_another_number_of_experts_is_refused():
    with pytest.raises(ConfigError, match="create it with num_experts=2"):
        MixtureObjective(["a", "b"]).terms(make_router(), make_batch(2), training=False)
