"""A plain Keras model, a corpus, and Keras's own training of the same batches."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import highnoon as hn
from highnoon.tokenization import ByteTokenizer
from highnoon.training.objective import loss_terms

NUM_STEPS = 20


@pytest.fixture(scope="session")
def lines(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file of short documents."""
    generator = np.random.default_rng(0)
    words = "noon sun moon star light shade river".split()
    texts = [" ".join(generator.choice(words, size=20)) for _ in range(40)]
    path = tmp_path_factory.mktemp("corpus") / "lines.jsonl"
    path.write_text("".join(f'{{"text": "{text}"}}\n' for text in texts))
    return str(path)


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIGHNOON_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def plain_model(seed: int = 0) -> keras.Model:
    """Returns a model of Keras's own layers, not compiled."""
    keras.utils.set_random_seed(seed)
    token_ids = keras.Input((None,), dtype="int32", name="token_ids")
    padding_mask = keras.Input((None,), dtype="bool", name="padding_mask")
    hidden = keras.layers.Embedding(263, 12, name="embedding")(token_ids)
    hidden = keras.layers.Dense(12, activation="gelu", name="hidden")(hidden)
    logits = keras.layers.Dense(263, name="head")(hidden)
    return keras.Model({"token_ids": token_ids, "padding_mask": padding_mask}, logits)


@pytest.fixture
def make_trainer(lines: str) -> Callable[..., hn.Trainer]:
    """Returns a trainer of a plain model over the corpus."""

    def make(optimizer: Any = None, steps: int | None = NUM_STEPS, **options: Any) -> hn.Trainer:
        model = options.pop("model", None) or plain_model()
        options = {"batch_size": 4, "jit_compile": False, **options}
        if optimizer is not None:
            options["optimizer"] = optimizer
        stage = options.pop("stage", {"steps": steps})
        trainer = hn.Trainer(model, max_seq_length=32, tokenizer=ByteTokenizer(), **options)
        trainer.add_curriculum_stage("one", lines, **stage)
        return trainer

    return make


def train_as_keras(
    optimizer: keras.optimizers.Optimizer,
    trainer: hn.Trainer,
    num_steps: int = NUM_STEPS,
    before_epoch: Callable[[int], None] = lambda epoch: None,
    after_epoch: Callable[[int, keras.Model], None] = lambda epoch, model: None,
) -> keras.Model:
    """Returns a model that Keras's own `apply` trained on the trainer's batches.

    TensorFlow gives the gradient of an embedding as slices, of which Keras's adaptive optimizers square
    repeated tokens one by one; here they are summed first, as in a run and with Keras's other backends.
    """
    model = plain_model()
    optimizer.build(model.trainable_variables)
    (data,) = trainer.stage_data()
    done = epoch = 0
    while done < num_steps:
        before_epoch(epoch)
        view = data.view(epoch, data.num_allowed(epoch, done))
        for index in range(min(data.steps_in(view), num_steps - done)):
            batch = {name: tf.constant(array) for name, array in data.batch(view, index).items()}
            with tf.GradientTape() as tape:
                loss = loss_terms(model, batch, True)["loss_sum"] / tf.reduce_sum(batch["loss_weights"])
            gradients = tape.gradient(loss, model.trainable_variables)
            optimizer.apply([tf.convert_to_tensor(gradient) for gradient in gradients])
            done += 1
        epoch += 1
        after_epoch(epoch - 1, model)
    optimizer.finalize_variable_values(model.trainable_variables)
    return model


def largest_difference(one: keras.Model, other: keras.Model) -> float:
    """Returns the largest difference of the weights of two models."""
    pairs = zip(one.weights, other.weights, strict=True)
    return max(
        float(np.abs(keras.ops.convert_to_numpy(a) - keras.ops.convert_to_numpy(b)).max()) for a, b in pairs
    )


def arrays_of(trainer: hn.Trainer) -> list[bytes]:
    """Returns the bits of a trainer's weights and of its optimizer's variables."""
    variables = [*trainer.model.weights, *trainer.optimizer.variables]
    return [keras.ops.convert_to_numpy(variable).tobytes() for variable in variables]
