"""What layers change of trained weights at the end of a step: spike timing in a small layer."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from highnoon.config import TrainingConfig
from highnoon.layers.hatching.spike_timing import spike_timing_sums
from highnoon.layers.hatching.spike_timing_tally import SpikeTimingTally
from highnoon.training.optimizers import make_optimizer
from highnoon.training.steps.run_schedule import RunSchedule
from highnoon.training.steps.step import TrainStep

VOCAB, ROW_LENGTH, WIDTH = 12, 10, 6


class Plastic(keras.layers.Layer):
    """A product whose positive outputs count as spikes."""

    def build(self, x_shape):
        self.kernel = self.add_weight((x_shape[-1], WIDTH), name="kernel")
        self._tally = SpikeTimingTally((x_shape[-1], WIDTH), rate=1.0, most=0.5)

    def call(self, x, segment_ids=None, training=None):
        y = ops.matmul(x, self.kernel)
        if training and self.kernel.trainable:
            spikes = ops.cast(y > 0, "float32")
            sums = spike_timing_sums(x, spikes, segment_ids, a_plus=20.0, a_minus=5.0)
            self._tally.add(sums, ops.sum(ops.cast(segment_ids > 0, "float32")))
        return y

    @property
    def step_variables(self):
        return self._tally.variables

    def finish_step(self):
        if self.kernel.trainable:
            self.kernel.assign_add(self._tally.take())


class PlasticModel(keras.Model):
    def __init__(self):
        super().__init__()
        self.embedding = keras.layers.Embedding(VOCAB, WIDTH)
        self.plastic, self.head = Plastic(), keras.layers.Dense(VOCAB)

    def call(self, inputs, training=None):
        hidden = self.embedding(inputs["token_ids"])
        mask = ops.cast(inputs["padding_mask"], "int32")
        return self.head(self.plastic(hidden, segment_ids=mask, training=training))


def rows_of(count: int, seed: int = 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    used = (np.arange(ROW_LENGTH) < rng.integers(2, ROW_LENGTH, size=(count, 1))).astype(np.int32)
    ids = rng.integers(0, VOCAB, (2, count, ROW_LENGTH), dtype=np.int32)
    return {
        "token_ids": ids[0],
        "labels": ids[1],
        "segment_ids": used,
        "positions": np.zeros_like(used),
        "loss_weights": used.astype(np.float32),
    }


def step_of(micro_batch_size: int = 8, optimizer: str | dict = "adamw", freezes: bool = False) -> TrainStep:
    keras.utils.set_random_seed(0)
    model = PlasticModel()
    model({"token_ids": np.zeros((1, 3), "int32"), "padding_mask": np.ones((1, 3), bool)})
    model.plastic.kernel.trainable = not freezes
    config = TrainingConfig(optimizer=optimizer, ema_momentum=0.9 if optimizer == "adamw" else None)
    schedule = RunSchedule(peaks=[1e-3], stage_ends=[9], warmup_steps=0)
    return TrainStep(model, make_optimizer(model, config, schedule), micro_batch_size, jit_compile=False)


def kernel_of(step: TrainStep) -> np.ndarray:
    return ops.convert_to_numpy(step.model.plastic.kernel)


KERAS_SGD = {"class_name": "SGD", "config": {"learning_rate": 1e-2}}


@pytest.mark.parametrize("optimizer", ["adamw", KERAS_SGD])
def test_a_layers_own_change_follows_the_optimizers(optimizer, monkeypatch):
    rows = rows_of(8)
    plastic, plain = step_of(optimizer=optimizer), step_of(optimizer=optimizer)
    before = kernel_of(plain)
    hidden = plain.model.embedding(rows["token_ids"])
    spikes = ops.cast(ops.matmul(hidden, before) > 0, "float32")
    sums = spike_timing_sums(hidden, spikes, rows["segment_ids"], a_plus=20.0, a_minus=5.0)
    change = np.clip(sums / rows["segment_ids"].sum(), -0.5, 0.5)
    assert 0.01 < np.abs(change).max()
    monkeypatch.setattr(Plastic, "finish_step", lambda self: self._tally.take())
    figures_of_plain = plain(rows, measures=True)
    monkeypatch.undo()
    figures = plastic(rows, measures=True)
    np.testing.assert_allclose(kernel_of(plastic) - kernel_of(plain), change, atol=1e-6)
    # The ratio measures both changes, of all weights.
    after = [ops.convert_to_numpy(weight) for weight in plastic.model.trainable_weights]
    first = [ops.convert_to_numpy(weight) for weight in step_of().model.trainable_weights]
    moved = np.sqrt(sum(np.square(new - old).sum() for new, old in zip(after, first, strict=True)))
    size = np.sqrt(sum(np.square(old).sum() for old in first))
    assert float(figures["update_ratio"]) == pytest.approx(moved / size, rel=1e-4)
    assert float(figures["update_ratio"]) > 2 * float(figures_of_plain["update_ratio"])


def test_micro_batches_change_nothing_of_it():
    whole, split = step_of(8), step_of(3)
    for seed in range(3):
        whole(rows_of(8, seed))
        split(rows_of(8, seed))
    np.testing.assert_allclose(kernel_of(whole), kernel_of(split), atol=1e-6)


def test_a_skipped_step_applies_nothing_and_leaves_no_sums():
    rows = rows_of(8)
    spoilt = {**rows, "loss_weights": np.full_like(rows["loss_weights"], np.nan)}
    step, other = step_of(), step_of()
    before = kernel_of(step)
    assert bool(step(spoilt)["is_skipped"])
    np.testing.assert_array_equal(kernel_of(step), before)
    assert not any(ops.convert_to_numpy(counter).any() for counter in step.model.plastic.step_variables)
    other.optimizer.iterations.assign(1)
    step(rows)
    other(rows)
    np.testing.assert_array_equal(kernel_of(step), kernel_of(other))
    assert np.abs(kernel_of(step) - before).max() > 0.01


def test_frozen_weights_are_not_changed():
    step = step_of(freezes=True)
    before = kernel_of(step)
    step(rows_of(8))
    np.testing.assert_array_equal(kernel_of(step), before)
