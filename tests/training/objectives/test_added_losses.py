"""Losses that layers add while they are called count in training, whatever the objective."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from highnoon.training import Distillation
from highnoon.training.objective import NextToken
from highnoon.training.optimizers import AdamW
from highnoon.training.steps.step import TrainStep

VOCAB, LENGTH = 20, 6


def make_model(strength):
    keras.utils.set_random_seed(0)
    tensors = {name: keras.Input((None,), dtype="int32", name=name) for name in ("token_ids", "padding_mask")}
    hidden = keras.layers.Embedding(VOCAB, 4)(tensors["token_ids"])
    hidden = keras.layers.ActivityRegularization(l2=strength)(hidden)
    return keras.Model(tensors, keras.layers.Dense(VOCAB)(hidden))


def make_batch():
    ids = np.random.default_rng(0).integers(1, VOCAB, (2, LENGTH)).astype("int32")
    return {
        "token_ids": ids,
        "labels": np.roll(ids, 1, axis=1),
        "segment_ids": np.ones_like(ids),
        "positions": np.tile(np.arange(LENGTH, dtype="int32"), (2, 1)),
        "loss_weights": np.ones(ids.shape, "float32"),
    }


@pytest.mark.parametrize(
    "objective", [NextToken(), Distillation(make_model(0.0), alpha=0.5)], ids=["next", "distil"]
)
def test_an_activity_regularizer_adds_its_loss_and_gradient(objective):
    results, gradients = [], []
    for strength in (0.0, 10.0):
        model = make_model(strength)
        optimizer = AdamW(1e-2)
        optimizer.build(model.trainable_variables)
        step = TrainStep(model, optimizer, 2, gradient_clip=None, jit_compile=False, objective=objective)
        results.append(
            {name: float(value) for name, value in step(make_batch()).items() if value.shape.rank == 0}
        )
        gradients.append(np.asarray(optimizer.slots_of(model.trainable_variables[0])["mean"]) / 0.1)
    embeddings = make_model(0.0).trainable_variables[0]
    used = np.asarray(embeddings)[make_batch()["token_ids"]]
    assert results[0]["aux_loss"] == 0.0
    assert results[1]["aux_loss"] == pytest.approx(10.0 * float(np.sum(used**2)) / 2, rel=1e-5)
    counts = np.bincount(make_batch()["token_ids"].reshape(-1), minlength=VOCAB)[:, None]
    expected = 10.0 * counts * np.asarray(embeddings)
    np.testing.assert_allclose(gradients[1] - gradients[0], expected, rtol=1e-3, atol=1e-5)
