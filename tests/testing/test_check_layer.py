"""The battery finds what it is for: each planted fault fails it, at the check that is meant to find it."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from highnoon.layers import ConfiguredLayer
from highnoon.testing.check_layer import check_layer


class Sound(ConfiguredLayer):
    """y[t] = (x[t] + decay x[t-1]) W + b, where x[t-1] is of the same segment."""

    def __init__(self, decay=0.5, scale=1.0, initializer="glorot_uniform", **kwargs):
        super().__init__(**kwargs)
        self.decay, self.scale, self.initializer = decay, scale, initializer

    def build(self, shape):
        width = shape[-1]
        self.kernel = self.add_weight((width, width), initializer=self.initializer, name="kernel")
        self.bias = self.add_weight((width,), initializer="ones", name="bias")

    def call(self, x, segment_ids=None, training=None):
        return self.scale * ops.matmul(self.mixed(x, segment_ids), self.kernel) + self.bias

    def mixed(self, x, segment_ids):
        before = ops.pad(x, [[0, 0], [1, 0], [0, 0]])[:, :-1]
        if segment_ids is not None:
            last = ops.pad(segment_ids, [[0, 0], [1, 0]])[:, :-1]
            before = ops.where((segment_ids == last)[..., None], before, 0.0)
        return x + self.decay * before


class ForgetsAnArgument(Sound):
    def get_config(self):
        return {**super().get_config(), "scale": 1.0}


class ReturnsAnotherArgument(Sound):
    def __init__(self, decay=0.5, scale=1.0, initializer="glorot_uniform", **kwargs):
        super().__init__(decay, scale, initializer, **kwargs)
        self._given_arguments["decay"] = decay + 1


class ChangesItsConfigWhenBuilt(Sound):
    def build(self, shape):
        super().build(shape)
        self._given_arguments["scale"] = 7.0


class PromisesAnotherShape(Sound):
    def compute_output_spec(self, x, segment_ids=None, training=None):
        return keras.KerasTensor((*x.shape[:-1], x.shape[-1] + 1), "float32")


class PromisesAnotherDtype(Sound):
    def compute_output_spec(self, x, segment_ids=None, training=None):
        return keras.KerasTensor(x.shape, "bfloat16")


class StaysInFloat32(Sound):
    def call(self, x, segment_ids=None, training=None):
        return ops.cast(super().call(x, segment_ids), "float32")


class StoresWeightsInBfloat16(Sound):
    def build(self, shape):
        super().build(shape)
        self.tail = self.add_weight((shape[-1],), "zeros", dtype=self.compute_dtype, name="tail")

    def call(self, x, segment_ids=None, training=None):
        return super().call(x, segment_ids) + ops.cast(self.tail, x.dtype)


class LosesDigitsInBfloat16(Sound):
    def call(self, x, segment_ids=None, training=None):
        large = ops.cast(100.0, x.dtype)
        return super().call((x + large) - large, segment_ids)


class IsRandomAtInference(Sound):
    def call(self, x, segment_ids=None, training=None):
        return super().call(x, segment_ids) + 1e-3 * keras.random.normal(ops.shape(x))


class CountsItsCalls(Sound):
    def build(self, shape):
        super().build(shape)
        self.calls = self.add_weight((), "zeros", trainable=False, name="calls")

    def call(self, x, segment_ids=None, training=None):
        self.calls.assign_add(1.0)
        return super().call(x, segment_ids) + 1e-3 * self.calls


class HasADeadWeight(Sound):
    def build(self, shape):
        super().build(shape)
        self.unused = self.add_weight((3,), name="unused")


class CutsItsInputOff(Sound):
    def mixed(self, x, segment_ids):
        return ops.stop_gradient(super().mixed(x, segment_ids))


class DoublesItsGradient(Sound):
    def call(self, x, segment_ids=None, training=None):
        y = super().call(x, segment_ids)
        return 2 * y - ops.stop_gradient(y)


class LosesTheGradientOfTheTokenBefore(Sound):
    def mixed(self, x, segment_ids):
        return x + ops.stop_gradient(super().mixed(x, segment_ids) - x)


class SeesTheNextToken(Sound):
    def call(self, x, segment_ids=None, training=None):
        after = ops.pad(x, [[0, 0], [0, 1], [0, 0]])[:, 1:]
        return super().call(x + 1e-3 * after, segment_ids)


class SeesTheNextTokenInTraining(Sound):
    def call(self, x, segment_ids=None, training=None):
        mean = ops.mean(x, axis=1, keepdims=True) if training else 0.0
        return super().call(x - mean, segment_ids)


class MixesBatchMates(Sound):
    def call(self, x, segment_ids=None, training=None):
        return super().call(x - ops.mean(x[:, :1], axis=0, keepdims=True), segment_ids)


class MixesBatchMatesInTraining(Sound):
    def call(self, x, segment_ids=None, training=None):
        mean = ops.mean(x[:, :1], axis=0, keepdims=True) if training else 0.0
        return super().call(x - mean, segment_ids)


class LeaksBetweenSegments(Sound):
    def mixed(self, x, segment_ids):
        return super().mixed(x, None)


class IsNotFiniteAtPadding(Sound):
    def call(self, x, segment_ids=None, training=None):
        y = super().call(x, segment_ids)
        return y if segment_ids is None else y / ops.cast(segment_ids > 0, x.dtype)[..., None]


class DependsOnTheLength(Sound):
    def call(self, x, segment_ids=None, training=None):
        return super().call(x, segment_ids) / x.shape[1]


class DiffersInAGraph(Sound):
    def call(self, x, segment_ids=None, training=None):
        y = super().call(x, segment_ids)
        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            return y if tf.executing_eagerly() else 1.01 * y
        import jax

        return 1.01 * y if isinstance(x, jax.core.Tracer) else y


INIT = {"decay": 0.25, "scale": 2.0, "initializer": "he_normal"}
INPUTS = {"x": np.random.default_rng(0).normal(size=(2, 6, 4)).astype("float32")}
FAULTS = [
    (ForgetsAnArgument, "get_config ignores `scale`"),
    (ReturnsAnotherArgument, "from_config changed `decay`"),
    (ChangesItsConfigWhenBuilt, "calling changed the configuration"),
    (PromisesAnotherShape, "compute_output_spec promised"),
    (PromisesAnotherDtype, "compute_output_spec promised bfloat16"),
    (StaysInFloat32, "the output is float32"),
    (StoresWeightsInBfloat16, "tail is bfloat16"),
    (LosesDigitsInBfloat16, "bfloat16 is off by"),
    (IsRandomAtInference, "Arrays are not equal"),
    (CountsItsCalls, "Arrays are not equal"),
    (HasADeadWeight, "unused is zero"),
    (CutsItsInputOff, "the gradient of the features is zero"),
    (DoublesItsGradient, "the gradient of the features has the slope"),
    (LosesTheGradientOfTheTokenBefore, "the gradient of the features has the slope"),
    (SeesTheNextToken, "change earlier outputs"),
    (SeesTheNextTokenInTraining, "change earlier outputs"),
    (LeaksBetweenSegments, "segment 1 changes other tokens"),
    (IsNotFiniteAtPadding, "outputs at padding are not finite"),
    (MixesBatchMates, r"batch mates \(training=False\)"),
    (MixesBatchMatesInTraining, r"batch mates \(training=True\)"),
    (DiffersInAGraph, "differs from eager"),
    (DependsOnTheLength, "tokens differ"),
]


def test_a_sound_layer_passes() -> None:
    check_layer(Sound, INIT, INPUTS)


@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
@pytest.mark.parametrize("fault, message", FAULTS, ids=[fault.__name__ for fault, _ in FAULTS])
def test_a_planted_fault_fails_the_battery(fault: type[Sound], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_layer(fault, INIT, INPUTS)
