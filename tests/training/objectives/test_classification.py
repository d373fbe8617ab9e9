"""Classification trains any Keras classifier on labeled records, with exact figures."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
from keras import ops

import highnoon as hn
from highnoon.config import ConfigError
from highnoon.data import DataError
from highnoon.models.arrays import load_arrays
from highnoon.testing.check_objective import ObjectiveCase, check_jax, check_objective
from highnoon.tokenization import ByteTokenizer
from highnoon.training import Classification
from highnoon.training.model_inputs import model_inputs
from highnoon.training.objectives.classifier_outputs import gives_probabilities
from highnoon.training.objectives.label_map import label_map
from highnoon.training.steps.evaluation import EvaluationStep

VOCAB, LENGTH = 263, 16


def write_records(path, num_records=60, labels=("bad", "good", "ugly")):
    words = ("hates it", "likes it", "so-so, maybe")
    lines = [
        json.dumps({"text": f"{words[number % 3]} {number}", "label": labels[number % 3]})
        for number in range(num_records)
    ]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def make_classifier(num_labels=3, activation=None, seed=0, inputs=("token_ids", "padding_mask")):
    keras.utils.set_random_seed(seed)
    tensors = {name: keras.Input((None,), dtype="int32", name=name) for name in inputs}
    vectors = keras.layers.Embedding(VOCAB, 8, name="embed")(tensors["token_ids"])
    mask = ops.expand_dims(ops.cast(tensors["padding_mask"], "float32"), -1)
    mean = ops.sum(vectors * mask, axis=1) / ops.maximum(ops.sum(mask, axis=1), 1.0)
    return keras.Model(tensors, keras.layers.Dense(num_labels, activation=activation, name="head")(mean))


def make_plain_classifier():
    return make_classifier()


def make_probabilities():
    return make_classifier(activation="softmax")


def make_objective():
    return Classification(3, labels=["bad", "good", "ugly"])


def make_batch(rows=8):
    rng = np.random.default_rng(0)
    used = np.arange(LENGTH) < rng.integers(3, LENGTH, size=(rows, 1))
    return {
        "token_ids": (rng.integers(1, VOCAB, (rows, LENGTH)) * used).astype("int32"),
        "padding_mask": used.astype("int32"),
        "label": (np.arange(rows) % 3).astype("int32"),
        "weight": np.ones(rows, "float32"),
    }


def make_trainer(model, **options):
    options = {"learning_rate": 5e-2, "batch_size": 4, "max_seq_length": LENGTH, **options}
    return hn.Trainer(model, tokenizer=ByteTokenizer(), jit_compile=False, **options)


def train(model, corpus, folder, steps=40, **options):
    trainer = make_trainer(model)
    trainer.add_curriculum_stage("classify", corpus, steps=steps, objective=Classification(3))
    figures = figures_of(trainer)
    trainer.train(
        checkpoint_dir=folder / "checkpoints",
        checkpoint_interval=10,
        eval_interval=20,
        log_interval=10,
        log_dir=None,
        verbose=False,
        **options,
    )
    return figures


def figures_of(trainer):
    """Returns the list that the figures of each evaluation will be added to."""
    figures = []
    trainer.add_callback(
        lambda event: figures.append(event["metrics"]) if event["event"] == "evaluation" else None
    )
    return figures


@pytest.mark.parametrize("is_compiled", [False, True])
def test_a_functional_model_learns_its_labels(tmp_path, is_compiled):
    model = make_classifier()
    if is_compiled:
        model.compile("adam", "sparse_categorical_crossentropy")
    last = train(model, write_records(tmp_path / "a.jsonl"), tmp_path)[-1]
    assert last["val/accuracy"] == 1.0 and last["val/macro_f1"] == 1.0 and last["val/loss"] < 0.3


@pytest.mark.slow
def test_a_bert_classifier_of_keras_hub_learns_its_labels(tmp_path):
    import keras_hub

    keras.utils.set_random_seed(0)
    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=VOCAB,
        num_layers=1,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=32,
        dropout=0.0,
        max_sequence_length=LENGTH,
    )
    model = keras_hub.models.BertTextClassifier(backbone, num_classes=3, dropout=0.0)
    trainer = make_trainer(model, learning_rate=3e-3)
    trainer.add_curriculum_stage(
        "classify", write_records(tmp_path / "a.jsonl"), steps=120, objective=Classification(3)
    )
    figures = figures_of(trainer)
    trainer.train(eval_interval=60, log_dir=None, verbose=False)
    assert figures[-1]["val/loss"] < 0.6 * figures[0]["val/loss"]


def test_the_plan_and_every_checkpoint_and_the_model_hold_the_label_map(tmp_path):
    model = make_classifier()
    train(model, write_records(tmp_path / "a.jsonl"), tmp_path, steps=10)
    assert model.outputs_description == {"labels": ["bad", "good", "ugly"]}
    config = json.loads((tmp_path / "checkpoints" / "step_00000010" / "config.json").read_text())
    assert config["outputs"] == {"labels": ["bad", "good", "ugly"]}
    state = json.loads((tmp_path / "checkpoints" / "step_00000010" / "state.json").read_text())
    objective = state["plan"]["stages"][0]["objective"]
    assert objective == {
        "name": "classification",
        "num_labels": 3,
        "labels": ["bad", "good", "ugly"],
        "from_logits": None,
    }


def test_a_run_that_is_resumed_ends_with_the_same_bits(tmp_path):
    corpus = write_records(tmp_path / "a.jsonl")
    train(make_classifier(), corpus, tmp_path / "whole", steps=20)

    class Stop(Exception):
        pass

    def stop(event):
        if event["event"] == "step_end" and event["step"] == 13:
            raise Stop

    trainer = make_trainer(make_classifier(), on_callback_error="raise")
    trainer.add_curriculum_stage("classify", corpus, steps=20, objective=Classification(3))
    trainer.add_callback(stop)
    with pytest.raises(Stop):
        trainer.train(checkpoint_dir=tmp_path / "cut" / "checkpoints", checkpoint_interval=10, verbose=False)
    train(make_classifier(), corpus, tmp_path / "cut", steps=20, resume_from=True)
    ends = [
        load_arrays(tmp_path / folder / "checkpoints" / "step_00000020" / "model.safetensors")
        for folder in ("whole", "cut")
    ]
    for name, array in ends[0].items():
        np.testing.assert_array_equal(ends[1][name], array)


def test_another_label_map_is_refused_on_resuming(tmp_path):
    corpus = write_records(tmp_path / "a.jsonl")
    train(make_classifier(), corpus, tmp_path, steps=10)
    trainer = make_trainer(make_classifier())
    other = Classification(3, labels=["ugly", "good", "bad"])
    trainer.add_curriculum_stage("classify", corpus, steps=20, objective=other)
    with pytest.raises(ValueError, match="objective"):
        trainer.train(resume_from=True, checkpoint_dir=tmp_path / "checkpoints", verbose=False)


def test_a_label_that_only_validation_has_is_a_bad_record(tmp_path):
    lines = [json.dumps({"text": f"text {n}", "label": ("a", "b")[n % 2]}) for n in range(50)]
    corpus = tmp_path / "a.jsonl"
    corpus.write_text("\n".join(lines) + "\n")
    trainer = make_trainer(make_classifier(2))
    trainer.add_curriculum_stage("c", str(corpus), steps=1, objective=Classification(2, labels=["a", "c"]))
    with pytest.raises(DataError, match="expected a label among a, c; received 'b'"):
        trainer.plan()


def test_texts_that_are_cut_are_counted(tmp_path):
    corpus = tmp_path / "a.jsonl"
    lines = [json.dumps({"text": "word " * (1 + 5 * (n % 2)), "label": n % 2}) for n in range(40)]
    corpus.write_text("\n".join(lines) + "\n")
    trainer = make_trainer(make_classifier(2))
    trainer.add_curriculum_stage("c", str(corpus), steps=1, objective=Classification(2))
    with pytest.warns(UserWarning, match="20 texts are longer than max_seq_length=16"):
        trainer.plan()


def test_macro_f1_is_that_of_a_naive_count():
    rng = np.random.default_rng(0)
    model, objective = make_classifier(), make_objective()
    batches = []
    for rows in (5, 8, 1, 7):
        batch = make_batch(rows)
        batch["label"] = rng.integers(0, 3, rows).astype("int32")
        batches.append(batch)
    split = EvaluationStep(model, objective=objective)(batches)
    report = objective.report(split.loss, split.metrics)
    labels = np.concatenate([batch["label"] for batch in batches])
    guesses = np.concatenate(
        [np.argmax(model(model_inputs(model, batch), training=False), axis=-1) for batch in batches]
    )
    scores = []
    for label in range(3):
        hits = sum(1 for a, b in zip(labels, guesses, strict=True) if a == b == label)
        precision = hits / max(1, sum(guesses == label))
        recall = hits / max(1, sum(labels == label))
        if sum(guesses == label) + sum(labels == label):
            scores.append(2 * precision * recall / max(precision + recall, 1e-30))
    assert report["accuracy"] == pytest.approx(np.mean(labels == guesses))
    assert report["macro_f1"] == pytest.approx(np.mean(scores))


def test_labels_that_never_occur_are_left_out_of_macro_f1():
    confusion = np.zeros((4, 4))
    confusion[0, 0], confusion[0, 1], confusion[1, 1] = 3, 1, 2
    values = Classification(4).metric_values({"classification/confusion": (confusion, 6.0)})
    assert values["macro_f1"] == pytest.approx((6 / 7 + 4 / 5) / 2)


def test_probabilities_have_the_loss_of_their_logits():
    logits, probabilities = make_classifier(), make_classifier(activation="softmax")
    probabilities.set_weights(logits.get_weights())
    assert gives_probabilities(probabilities) and not gives_probabilities(logits)
    batch, objective = make_batch(), make_objective()
    sums = [
        float(objective.terms(model, batch, training=False).loss_sum) for model in (logits, probabilities)
    ]
    assert sums[0] == pytest.approx(sums[1], rel=1e-5)
    assert float(Classification(3, from_logits=True).terms(probabilities, batch, False).loss_sum) != sums[0]


@pytest.mark.parametrize("wrap", [keras.layers.Softmax, lambda: keras.layers.Activation("softmax")])
def test_a_softmax_layer_at_the_end_gives_probabilities(wrap):
    model = make_classifier()
    assert gives_probabilities(keras.Model(model.inputs, wrap()(model.outputs[0])))


def test_a_model_gets_the_inputs_that_it_names():
    batch = make_batch()
    names = ("token_ids", "padding_mask", "segment_ids")
    found = model_inputs(make_classifier(inputs=names), batch)
    assert set(found) == set(names) and not np.any(found["segment_ids"])
    ids = keras.Input((None,), dtype="int32")
    pooled = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(VOCAB, 4)(ids))
    single = keras.Model(ids, keras.layers.Dense(3)(pooled))
    np.testing.assert_array_equal(model_inputs(single, batch), batch["token_ids"])


def test_an_input_of_another_name_is_refused():
    image = keras.Input((4,), name="image")
    with pytest.raises(ConfigError, match="among token_ids, padding_mask, segment_ids; .*`image`"):
        model_inputs(keras.Model({"image": image}, keras.layers.Dense(3)(image)), make_batch())


def test_another_number_of_outputs_is_refused():
    with pytest.raises(ConfigError, match=r"\(rows, num_labels=3\); received \(8, 5\)"):
        make_objective().terms(make_classifier(5), make_batch(), training=False)


@pytest.mark.parametrize(
    ("found", "num_labels", "labels"),
    [
        (["b", "a", "b"], 2, ["a", "b"]),
        (["2", "0"], 4, ["0", "1", "2", "3"]),
        (["10", "9"], 2, ["9", "10"]),
        (["1", "-1"], 2, ["-1", "1"]),
    ],
)
def test_the_order_of_labels_depends_on_the_set_alone(found, num_labels, labels):
    assert label_map(found, num_labels) == label_map(found[::-1], num_labels) == labels


def test_another_number_of_labels_is_refused():
    with pytest.raises(ConfigError, match="must have num_labels=2 labels; received 3"):
        label_map(["a", "b", "c"], 2)
    with pytest.raises(ConfigError, match="2 distinct labels; received 1"):
        Classification(2, labels=["a", "a"])
    with pytest.raises(ConfigError, match="`num_labels`"):
        Classification(1)


def test_classification_passes_the_battery():
    check_objective(make_objective, make_plain_classifier, make_batch(), replicas=False, jax=False)


@pytest.mark.slow
def test_classification_is_the_same_under_jax():
    check_jax(ObjectiveCase(make_objective, make_probabilities, make_batch()))
