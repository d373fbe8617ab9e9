"""The battery finds what it is for: each planted fault fails it."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from highnoon.testing.check_objective import ObjectiveCase, check_jax, check_objective
from highnoon.training.objective import Column, Metric, Objective, Terms, register_objective


@register_objective("test/squares")
class Squares(Objective):
    """Squared distance from a target; right in every respect."""

    columns = {
        "features": Column("float32", (4,), padding=1),
        "target": Column("float32"),
        "is_real": Column("float32"),
    }

    def __init__(self, scale=1.0):
        self.scale = scale

    def weight(self, batch):
        return ops.sum(batch["is_real"])

    def errors(self, model, batch, training):
        outputs = model(batch["features"], training=training)[:, 0]
        return (outputs - self.scale * batch["target"]) ** 2 * batch["is_real"]

    def terms(self, model, batch, training):
        errors = self.errors(model, batch, training)
        weight = self.weight(batch)
        aux_loss = ops.sum(errors) / ops.maximum(weight, 1.0)
        return Terms(ops.sum(errors), aux_loss, {"squares/error": Metric(ops.sum(errors), weight)})

    def get_config(self):
        return {"scale": self.scale}


@register_objective("test/mean")
class MeanNotSum(Squares):
    def errors(self, model, batch, training):
        return super().errors(model, batch, training) / ops.maximum(ops.sum(batch["is_real"]), 1.0)


@register_objective("test/weight")
class WeightNotAdditive(Squares):
    def weight(self, batch):
        return ops.sqrt(ops.sum(batch["is_real"]))


@register_objective("test/padding")
class CountsPadding(Squares):
    def errors(self, model, batch, training):
        outputs = model(batch["features"], training=training)[:, 0]
        return (outputs - batch["target"]) ** 2


@register_objective("test/padding_weight")
class WeighsPadding(Squares):
    def aux_weight(self, batch):
        return ops.sum(ops.ones_like(batch["is_real"]))


@register_objective("test/order")
class DependsOnOrder(Squares):
    def errors(self, model, batch, training):
        errors = super().errors(model, batch, training)
        return errors * ops.arange(1, ops.shape(errors)[0] + 1, dtype="float32")


@register_objective("test/mates")
class SeesOtherRows(Squares):
    def terms(self, model, batch, training):
        total = ops.sum(self.errors(model, batch, training))
        return Terms(total**2, ops.zeros(()), {})


@register_objective("test/stopped")
class StopsAGradient(Squares):
    def errors(self, model, batch, training):
        errors = super().errors(model, batch, training)
        return errors + ops.stop_gradient(errors**2)


@register_objective("test/state")
class HasAState(Squares):
    def __init__(self, scale=1.0):
        super().__init__(scale)
        self._calls = 0

    def errors(self, model, batch, training):
        self._calls += 1
        return super().errors(model, batch, training) * (1.0 + 0.01 * self._calls)


@register_objective("test/draws")
class DrawsFromNumPy(Squares):
    def errors(self, model, batch, training):
        return super().errors(model, batch, training) * np.random.default_rng().uniform(0.5, 1.5)


@register_objective("test/numpy")
class LeavesTheGraph(Squares):
    def weight(self, batch):
        return ops.sum(batch["is_real"])

    def errors(self, model, batch, training):
        errors = super().errors(model, batch, training)
        return errors * ops.cast(np.asarray(batch["is_real"]) > 0, "float32")


@register_objective("test/eager")
class KnowsHowItRuns(Squares):
    def errors(self, model, batch, training):
        return super().errors(model, batch, training) * (1.0 if tf.executing_eagerly() else 1.1)


@register_objective("test/aux")
class WrongAuxiliaryWeight(Squares):
    def aux_weight(self, batch):
        return ops.max(batch["is_real"])


@register_objective("test/metric")
class MetricIsAMean(Squares):
    def terms(self, model, batch, training):
        terms = super().terms(model, batch, training)
        (total, weight) = terms.metrics["squares/error"]
        return terms._replace(metrics={"squares/error": Metric(total / ops.maximum(weight, 1.0), weight)})


@register_objective("test/config")
class ForgetsAnArgument(Squares):
    def get_config(self):
        return {}


@register_objective("test/column")
class DeclaresAnotherType(Squares):
    columns = {**Squares.columns, "target": Column("int32")}


@register_objective("test/backend")
class UsesOneBackend(Squares):
    def errors(self, model, batch, training):
        return tf.abs(super().errors(model, batch, training))


def make_model():
    keras.utils.set_random_seed(0)
    options = {"bias_initializer": "random_normal"}
    inputs = keras.Input((4,))
    hidden = keras.layers.Dense(5, activation="tanh", **options)(inputs)
    return keras.Model(inputs, keras.layers.Dense(1, **options)(hidden))


def make_squares():
    return Squares(scale=2.0)


def make_one_backend():
    return UsesOneBackend()


def make_batch():
    rng = np.random.default_rng(0)
    batch = {"features": rng.normal(size=(8, 4)), "target": rng.normal(size=8), "is_real": np.ones(8)}
    return {name: array.astype("float32") for name, array in batch.items()}


FAULTS = {
    MeanNotSum: "instead of its rows one by one, changes the loss_sum",
    WeightNotAdditive: "instead of its rows one by one, changes the weight",
    CountsPadding: "with rows of padding changes the loss_sum",
    WeighsPadding: "with rows of padding changes the aux_weight",
    DependsOnOrder: "another order of rows changes the loss_sum",
    SeesOtherRows: "instead of its rows one by one, changes the loss_sum",
    StopsAGradient: "a part of the loss is not differentiated",
    HasAState: "changes the loss_sum",
    DrawsFromNumPy: "changes the loss_sum",
    LeavesTheGraph: "check_compiled_forms: ",
    KnowsHowItRuns: "graph differs from eager",
    WrongAuxiliaryWeight: "instead of its rows one by one, changes the aux_weight",
    MetricIsAMean: "changes the total of squares/error",
    ForgetsAnArgument: "a copy by configuration changes the loss_sum",
    DeclaresAnotherType: "`target` must be int32; received float32",
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_planted_fault_is_found(fault):
    scale = 2.0 if fault is ForgetsAnArgument else 1.0
    with pytest.raises(AssertionError, match=FAULTS[fault]):
        check_objective(lambda: fault(scale), make_model, make_batch(), replicas=False, jax=False)


@pytest.mark.slow
def test_an_operation_of_one_backend_is_found():
    with pytest.raises(AssertionError, match="terms under jax failed"):
        check_jax(ObjectiveCase(make_one_backend, make_model, make_batch()))


def test_an_objective_without_faults_passes():
    check_objective(make_squares, make_model, make_batch(), replicas=False, jax=False)


def test_another_process_needs_functions_that_it_can_find():
    with pytest.raises(AssertionError, match="at the top of a module"):
        check_jax(ObjectiveCase(lambda: Squares(), make_model, make_batch()))
