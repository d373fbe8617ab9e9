"""Evaluation: exact sums of any objective, which leave the training's random state alone."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from highnoon.training.objective import Column, Metric, Objective, Terms
from highnoon.training.steps.evaluation import EvaluationStep


class NoisyModel(keras.Model):
    """Draws noise whether it is trained or not, as a diffusion model does."""

    def __init__(self) -> None:
        super().__init__()
        self.noise = keras.random.SeedGenerator(3)
        self.factor = self.add_weight(shape=(), initializer="ones", name="factor")
        self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False, name="calls")

    def loss_terms(self, batch, training):
        self.calls.assign(self.calls + 1.0)
        drawn = keras.random.uniform(ops.shape(batch["loss_weights"]), seed=self.noise)
        loss = ops.sum(self.factor * drawn * batch["loss_weights"])
        return {"loss_sum": loss, "aux_loss": ops.zeros(()), "metrics": {}}


def token_batches(sizes):
    for size in sizes:
        ids = np.ones((size, 4), np.int32)
        yield {
            "token_ids": ids,
            "labels": ids,
            "segment_ids": ids,
            "positions": ids,
            "loss_weights": ids.astype("float32"),
        }


def test_evaluating_changes_nothing_that_training_reads():
    model = NoisyModel()
    step = EvaluationStep(model)
    before = [np.copy(variable) for variable in (model.noise.state, model.factor, model.calls)]
    first, second = step(token_batches([3, 3])), step(token_batches([3, 3]))
    for variable, value in zip((model.noise.state, model.factor, model.calls), before, strict=True):
        np.testing.assert_array_equal(variable, value)
    assert first == second  # its own streams begin again at each evaluation
    whole = step(token_batches([3])).loss_sum
    assert first.loss_sum != 2 * whole  # each batch has draws of its own
    training = keras.random.uniform((3, 4), seed=keras.random.SeedGenerator(3))
    assert whole != pytest.approx(float(ops.sum(training)))


class Confusion(Objective):
    """Counts pairs of digit and guess; its rows have an axis of two and a padding of their own."""

    columns = {"values": Column("float32", (2, "token"), padding=7), "is_real": Column("float32")}

    def weight(self, batch):
        return ops.sum(batch["is_real"])

    def terms(self, model, batch, training):
        guesses = ops.cast(ops.sum(model(batch["values"]), axis=(1, 2)) > 0, "int32")
        table = ops.one_hot(guesses, 2) * batch["is_real"][:, None]
        table = ops.stack([ops.sum(table, axis=0)] * 2)
        count = self.weight(batch)
        loss = ops.sum(ops.mean(batch["values"], axis=(1, 2)) * batch["is_real"])
        return Terms(loss, ops.zeros(()), {"table": Metric(table, count)})

    def metric_values(self, metrics):
        table, count = metrics["table"]
        return {"positive": float(table[0, 1]) / count}


def test_an_objective_with_rows_of_three_axes_sums_arrays():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(5, 2, 3)).astype("float32")
    batches = [
        {"values": part, "is_real": np.ones(len(part), np.float32)} for part in (values[:3], values[3:])
    ]
    objective = Confusion()
    split = EvaluationStep(_identity(), objective=objective)(batches)
    positive = float(np.mean(values.sum(axis=(1, 2)) > 0))
    assert split.weight == 5 and split.loss == pytest.approx(values.mean(axis=(1, 2)).mean(), rel=1e-5)
    figures = objective.report(split.loss, split.metrics)
    assert figures == {"loss": split.loss, "positive": pytest.approx(positive)}


def _identity() -> keras.Model:
    inputs = keras.Input((2, None))
    return keras.Model(inputs, keras.layers.Activation("linear")(inputs))
