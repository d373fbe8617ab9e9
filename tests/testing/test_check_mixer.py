"""The battery finds what it is for: each planted fault fails it, at the check that is meant to find it."""

from __future__ import annotations

import keras
import pytest
from keras import ops

from highnoon.layers import Mixer
from highnoon.testing.check_mixer import check_mixer


class Sound(Mixer):
    """y[t] = sum over s <= t of decay^(t-s) x[s] W, and a scale times the cosine of the position.

    Only tokens of the same segment are summed; a step carries the sum.
    """

    def __init__(self, decay=0.5, **kwargs):
        super().__init__(**kwargs)
        self.decay = decay

    def build(self, shape):
        self.kernel = self.add_weight((shape[-1], shape[-1]), name="kernel")
        self.scale = self.add_weight((shape[-1],), "ones", name="scale")

    def call(self, x, segment_ids=None, positions=None, training=None):
        time = ops.arange(ops.shape(x)[1])
        if positions is None:
            positions = time
        values = ops.matmul(x, self.kernel)
        return ops.matmul(self.weights_of(time, segment_ids, x.dtype), values) + self.encoding(positions)

    def weights_of(self, time, segment_ids, dtype):
        lag = ops.cast(time[:, None] - time[None, :], dtype)
        weights = ops.where(lag >= 0, ops.power(ops.cast(self.decay, dtype), ops.maximum(lag, 0)), 0.0)[None]
        if segment_ids is None:
            return weights
        segment_ids = ops.convert_to_tensor(segment_ids)
        return ops.where(segment_ids[:, :, None] == segment_ids[:, None, :], weights, 0.0)

    def encoding(self, positions):
        cosine = ops.cos(ops.cast(positions, "float32"))[..., None]
        return ops.cast(cosine * ops.cast(self.scale, "float32"), self.compute_dtype)

    def initial_cache(self, batch_size, max_length, dtype=None):
        return {"sum": ops.zeros((batch_size, self.scale.shape[0]), dtype or self.compute_dtype)}

    def step(self, x, cache, index, padding=None):
        slots = index + ops.arange(x.shape[1])
        is_token = ops.ones((1, x.shape[1]), "bool") if padding is None else slots >= padding[:, None]
        positions = slots if padding is None else slots - padding[:, None]
        kernel = ops.cast(self.kernel, x.dtype)
        values, outputs, state = ops.matmul(x, kernel), [], cache["sum"]
        for i in range(x.shape[1]):
            state = self.decay * state + ops.where(is_token[:, i, None], values[:, i], 0.0)
            outputs.append(state)
        return ops.stack(outputs, axis=1) + self.encoding(positions), {"sum": state}


class Widens(Sound):
    def call(self, x, segment_ids=None, positions=None, training=None):
        y = super().call(x, segment_ids, positions)
        return ops.concatenate([y, y], axis=-1)


class IsRandomAtInference(Sound):
    def call(self, x, segment_ids=None, positions=None, training=None):
        return super().call(x, segment_ids, positions) + 1e-3 * keras.random.normal(ops.shape(x))


class SeesTheNextToken(Sound):
    def call(self, x, segment_ids=None, positions=None, training=None):
        after = ops.pad(x, [[0, 0], [0, 1], [0, 0]])[:, 1:]
        return super().call(x + 1e-3 * after, segment_ids, positions)


class SeesTheNextTokenInTraining(Sound):
    def call(self, x, segment_ids=None, positions=None, training=None):
        after = ops.roll(x, -1, axis=1) if training and segment_ids is None and x.shape[1] == 13 else 0.0
        return super().call(x + 1e-3 * after, segment_ids, positions)


class ConnectsNoTokens(Sound):
    def weights_of(self, time, segment_ids, dtype):
        return ops.cast(time[:, None] == time[None, :], dtype)[None]


class LeaksBetweenSegments(Sound):
    def weights_of(self, time, segment_ids, dtype):
        return super().weights_of(time, None, dtype)


class LeaksBetweenSegmentsInTraining(Sound):
    def call(self, x, segment_ids=None, positions=None, training=None):
        return super().call(x, None if training else segment_ids, positions)


class IgnoresPositions(Sound):
    def call(self, x, segment_ids=None, positions=None, training=None):
        return super().call(x, segment_ids, None)


class MixesBatchMates(Sound):
    def weights_of(self, time, segment_ids, dtype):
        return super().weights_of(time, None if segment_ids is None else segment_ids[:1], dtype)


class MixesBatchMatesInTraining(Sound):
    def call(self, x, segment_ids=None, positions=None, training=None):
        mean = ops.mean(x[:, :1], axis=0, keepdims=True) if training else 0.0
        return super().call(x - mean, segment_ids, positions)


class CountsPositionsOfAStepFromZero(Sound):
    def step(self, x, cache, index, padding=None):
        y, cache = super().step(x, cache, index, padding)
        slots = ops.arange(x.shape[1])
        return y - self.encoding(index + slots) + self.encoding(slots), cache


class IgnoresPaddingInPositions(Sound):
    def step(self, x, cache, index, padding=None):
        y, cache = super().step(x, cache, index, padding)
        slots = index + ops.arange(x.shape[1])
        wrong = 0.0 if padding is None else self.encoding(slots) - self.encoding(slots - padding[:, None])
        return y + wrong, cache


class SumsPadding(Sound):
    def step(self, x, cache, index, padding=None):
        y, new = super().step(x, cache, index, padding)
        return y, new if padding is None else super().step(x, cache, index)[1]


class DecaysOtherwiseInAStep(Sound):
    def step(self, x, cache, index, padding=None):
        return super().step(x, {"sum": 0.99 * cache["sum"]}, index, padding)


class LosesItsCacheAfterAPrompt(Sound):
    def step(self, x, cache, index, padding=None):
        y, new = super().step(x, cache, index, padding)
        return y, new if x.shape[1] == 1 else cache


class GrowsItsCache(Sound):
    def step(self, x, cache, index, padding=None):
        y, new = super().step(x, {"sum": cache["sum"][:, : x.shape[2]]}, index, padding)
        return y, {"sum": ops.concatenate([new["sum"], cache["sum"]], axis=1)}


class PutsTheBatchLastInItsCache(Sound):
    def initial_cache(self, batch_size, max_length, dtype=None):
        return {"sum": ops.transpose(super().initial_cache(batch_size, max_length, dtype)["sum"])}

    def step(self, x, cache, index, padding=None):
        y, new = super().step(x, {"sum": ops.transpose(cache["sum"])}, index, padding)
        return y, {"sum": ops.transpose(new["sum"])}


class DecodesFromAStateOfItsOwn(Sound):
    def step(self, x, cache, index, padding=None):
        y, new = super().step(x, {"sum": getattr(self, "state", cache["sum"])}, index, padding)
        self.state = new["sum"]
        return y, new


class IgnoresATracedIndex(Sound):
    def step(self, x, cache, index, padding=None):
        return super().step(x, cache, index if isinstance(index, int) else 0, padding)


class HasADeadWeight(Sound):
    def build(self, shape):
        super().build(shape)
        self.unused = self.add_weight((3,), name="unused")

    def call(self, x, segment_ids=None, positions=None, training=None):
        return super().call(x, segment_ids, positions) + 0 * ops.sum(self.unused)


class DoublesItsGradient(Sound):
    def call(self, x, segment_ids=None, positions=None, training=None):
        y = super().call(x, segment_ids, positions)
        return 2 * y - ops.stop_gradient(y)


class LosesTheGradientOfEarlierTokens(Sound):
    def call(self, x, segment_ids=None, positions=None, training=None):
        y, here = super().call(x, segment_ids, positions), ops.matmul(x, self.kernel)
        return here + ops.stop_gradient(y - here) + self.encoding(0) - ops.stop_gradient(self.encoding(0))


class DiffersInAGraph(Sound):
    def call(self, x, segment_ids=None, positions=None, training=None):
        y = super().call(x, segment_ids, positions)
        return y if hasattr(y, "numpy") or not hasattr(y, "graph") or segment_ids is not None else 1.01 * y


class ForgetsAnArgument(Sound):
    def get_config(self):
        return {**super().get_config(), "decay": 0.9}


class ChangesItsConfigWhenBuilt(Sound):
    def build(self, shape):
        super().build(shape)
        self._given_arguments["decay"] += 1


class StaysInFloat32(Sound):
    def call(self, x, segment_ids=None, positions=None, training=None):
        return ops.cast(super().call(x, segment_ids, positions), "float32")


class StoresWeightsInBfloat16(Sound):
    def build(self, shape):
        self.kernel = self.add_weight((shape[-1], shape[-1]), dtype=self.compute_dtype, name="kernel")
        self.scale = self.add_weight((shape[-1],), "ones", name="scale")


class LosesDigitsInBfloat16(Sound):
    def call(self, x, segment_ids=None, positions=None, training=None):
        large = ops.cast(100.0, x.dtype)
        return super().call((x + large) - large, segment_ids, positions)


class IsNotCausalAsItSays(Sound):
    is_causal = False


FAULTS = [
    (Widens, "expected shape"),
    (IsRandomAtInference, "inference is not deterministic"),
    (SeesTheNextToken, "later tokens change earlier outputs"),
    (ConnectsNoTokens, "nothing passes between tokens"),
    (LeaksBetweenSegments, "an earlier segment passes into the next"),
    (IgnoresPositions, "an earlier segment passes into the next"),
    (MixesBatchMates, "a batch mate's segments change a row"),
    (PutsTheBatchLastInItsCache, "the first axis of a cache is the batch"),
    (CountsPositionsOfAStepFromZero, "decoding differs from the full pass"),
    (DecaysOtherwiseInAStep, "decoding differs from the full pass"),
    (LosesItsCacheAfterAPrompt, "decoding differs from the full pass"),
    (GrowsItsCache, "changes the shape of the cache"),
    (DecodesFromAStateOfItsOwn, "the mixer has a state of its own"),
    (IgnoresPaddingInPositions, "left padding changes a row"),
    (SumsPadding, "left padding changes a row"),
    (IgnoresATracedIndex, "a step with a traced index differs"),
    (HasADeadWeight, "unused is zero"),
    (DoublesItsGradient, "the gradient of x has the slope"),
    (LosesTheGradientOfEarlierTokens, "the gradient of x has the slope"),
    (DiffersInAGraph, "graph mode with unknown sizes differs from eager"),
    (ForgetsAnArgument, "a copy by configuration differs"),
    (ChangesItsConfigWhenBuilt, "the configuration changes on its way|`build` changes the configuration"),
    (SeesTheNextTokenInTraining, "in training, later tokens change earlier outputs"),
    (LeaksBetweenSegmentsInTraining, "in training, an earlier segment passes into the next"),
    (MixesBatchMatesInTraining, "in training, a row depends on its batch mates"),
    (StaysInFloat32, "the output is float32 under mixed_bfloat16"),
    (StoresWeightsInBfloat16, "is bfloat16 under mixed_bfloat16"),
    (LosesDigitsInBfloat16, "under mixed_bfloat16 the output is off by"),
    (IsNotCausalAsItSays, "the mixer is causal and should say so"),
]


def test_a_sound_mixer_passes() -> None:
    check_mixer(Sound(0.7), width=4)


@pytest.mark.parametrize("fault, message", FAULTS, ids=[fault.__name__ for fault, _ in FAULTS])
def test_a_planted_fault_fails_the_battery(fault: type[Sound], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_mixer(fault(0.7), width=4)
