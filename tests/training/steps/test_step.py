"""The compiled step: exact over micro-batches, weighted by tokens, clipped by one norm."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from highnoon.config import TrainingConfig
from highnoon.layers import MoELayer
from highnoon.training.optimizers import is_decayed, make_optimizer
from highnoon.training.steps.replicas import FIRST_ROW, STOP
from highnoon.training.steps.run_schedule import RunSchedule
from highnoon.training.steps.step import TrainStep
from highnoon.training.steps.step_state import FaultLimits, StepState, judge

VOCAB, ROW_LENGTH = 30, 12


def tiny_model(middle: keras.Layer | None = None) -> keras.Model:
    keras.utils.set_random_seed(0)
    token_ids = keras.Input((None,), dtype="int32", name="token_ids")
    padding_mask = keras.Input((None,), dtype="bool", name="padding_mask")
    hidden = keras.layers.Embedding(VOCAB, 16, name="token_embedding")(token_ids)
    if middle is None:
        hidden = keras.layers.GRU(16, return_sequences=True)(hidden)
    else:
        hidden = hidden + middle(hidden, segment_ids=padding_mask)[0]
    logits = keras.layers.Dense(VOCAB)(hidden)
    return keras.Model({"token_ids": token_ids, "padding_mask": padding_mask}, logits)


def batches_of_unequal_rows(count: int, rows: int) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(1)
    result = []
    for _ in range(count):
        shape = (rows, ROW_LENGTH)
        used = np.arange(ROW_LENGTH) < rng.integers(1, ROW_LENGTH, size=(rows, 1))
        result.append(
            {
                "token_ids": rng.integers(0, VOCAB, shape, dtype=np.int32),
                "labels": rng.integers(0, VOCAB, shape, dtype=np.int32),
                "loss_weights": used.astype(np.float32),
                "segment_ids": used.astype(np.int32),
                "positions": np.broadcast_to(np.arange(ROW_LENGTH, dtype=np.int32), shape).copy(),
            }
        )
    return result


def make_step(micro_batch_size: int, model: keras.Model | None = None, **options) -> TrainStep:
    model = model or tiny_model()
    schedule = RunSchedule(peaks=[1e-2], stage_ends=[20], warmup_steps=2)
    return TrainStep(model, make_optimizer(model, TrainingConfig(), schedule), micro_batch_size, **options)


def weights_after(step: TrainStep, batches, loss_weight: float = 1.0) -> list[np.ndarray]:
    for batch in batches:
        step(batch, loss_weight)
    return [weight.numpy() for weight in step.model.weights]


@pytest.mark.parametrize("micro_batch_size", [pytest.param(8, marks=pytest.mark.slow), 5])
def test_micro_batches_of_unequal_rows_give_the_weights_of_one_batch(micro_batch_size):
    batches = batches_of_unequal_rows(20, rows=32)
    whole = weights_after(make_step(32), batches)
    split = weights_after(make_step(micro_batch_size), batches)
    for one, other in zip(whole, split, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)


def test_several_steps_of_a_call_are_those_of_as_many_calls():
    batches = batches_of_unequal_rows(6, rows=10)
    batches[3]["loss_weights"][0, 0] = np.nan
    one, other = make_step(4), make_step(4)
    alone = [one(batch, 0.5, measures=index == 5) for index, batch in enumerate(batches)]
    stacked = {name: np.stack([batch[name] for batch in batches]) for name in batches[0]}
    stacked |= {FIRST_ROW: np.asarray(0, np.int32), STOP: np.asarray(0, np.float32)}
    together = other.several(stacked, 0.5, measures_last=True)
    assert together["is_skipped"].numpy().tolist() == [False, False, False, True, False, False]
    for name, values in together.items():
        np.testing.assert_array_equal(values, [metrics[name] for metrics in alone], err_msg=name)
    assert values_of(one) == values_of(other)


def test_steps_without_supervision_do_not_make_the_first_loss_a_spike():
    now, limits = StepState().values(), FaultLimits(spike_threshold=6.0)
    is_good = []
    for num_tokens in (*[0.0] * 25, 8.0, 8.0):
        good, now = judge(now, 5.0 * num_tokens, num_tokens, tf.constant(1.0), limits)
        is_good.append(bool(good))
    assert all(is_good) and float(now["num_losses"]) == 2 and float(now["loss_mean"]) == pytest.approx(5.0)


def values_of(step: TrainStep) -> list[bytes]:
    variables = [*step.model.variables, *step.optimizer.variables, *step.state.variables]
    return [keras.ops.convert_to_numpy(variable).tobytes() for variable in variables]


def balancing_step(micro_batch_size: int, **options) -> TrainStep:
    experts = MoELayer(4, 8, router_type="sigmoid")
    return make_step(micro_batch_size, tiny_model(experts), **options)


def bias_of(step: TrainStep) -> np.ndarray:
    (bias,) = (weight for weight in step.model.weights if weight.path.endswith("expert_bias"))
    return bias.numpy()


def test_the_experts_bias_moves_once_a_step_whatever_the_micro_batches():
    batches = batches_of_unequal_rows(7, rows=32)
    whole, split = balancing_step(32), balancing_step(8)
    for one, other in zip(weights_after(whole, batches), weights_after(split, batches), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)
    assert 0 < np.abs(bias_of(whole)).max() <= 7e-3 + 1e-7
    moves = bias_of(split) / 1e-3
    np.testing.assert_allclose(moves, np.round(moves), atol=1e-3)


@pytest.mark.slow
def test_the_experts_bias_moves_under_xla_too():
    batches = batches_of_unequal_rows(3, rows=8)
    plain, compiled = balancing_step(4), balancing_step(4, jit_compile=True)
    weights_after(plain, batches), weights_after(compiled, batches)
    assert np.abs(bias_of(plain)).max() > 0
    np.testing.assert_allclose(bias_of(plain), bias_of(compiled), atol=1e-6)


def test_totals_add_up_to_the_mean_over_all_supervised_tokens():
    step, batches = make_step(4), batches_of_unequal_rows(3, rows=8)
    sums = [float(step(batch)["loss"]) * batch["loss_weights"].sum() for batch in batches]
    tokens = sum(batch["loss_weights"].sum() for batch in batches)
    assert step.state["token_total"] == tokens
    assert step.state["loss_total"] == pytest.approx(sum(sums), rel=1e-6)


@pytest.mark.slow
def test_gradient_is_clipped_by_its_global_norm():
    batch = batches_of_unequal_rows(1, rows=8)[0]
    free, clipped = make_step(8, gradient_clip=None), make_step(8, gradient_clip=1e-3)
    norms = {
        name: float(step(batch)["grad_norm"]) for name, step in {"free": free, "clipped": clipped}.items()
    }
    assert norms["free"] == pytest.approx(norms["clipped"]) and norms["free"] > 1e-3
    # The first moment is (1 - beta_1) times the gradient that was applied.
    optimizer = clipped.optimizer
    moments = [optimizer.slots_of(weight)["mean"].numpy() for weight in clipped.model.trainable_variables]
    applied = np.sqrt(sum(np.sum(np.square(moment / 0.1)) for moment in moments))
    assert applied == pytest.approx(1e-3, rel=1e-4)


def test_padding_rows_change_nothing():
    batch = batches_of_unequal_rows(1, rows=6)[0]
    padded = {key: np.concatenate([value, np.zeros_like(value[:2])]) for key, value in batch.items()}
    for one, other in zip(
        weights_after(make_step(8), [batch]), weights_after(make_step(8), [padded]), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-7)


@pytest.mark.slow
def test_xla_gives_the_same_weights():
    batches = batches_of_unequal_rows(3, rows=8)
    plain = weights_after(make_step(4), batches)
    compiled = weights_after(make_step(4, jit_compile=True), batches)
    for one, other in zip(plain, compiled, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)


def test_only_matrices_are_decayed():
    decayed = {variable.path for variable in tiny_model().trainable_variables if is_decayed(variable)}
    assert any("kernel" in path for path in decayed)
    assert not any("embedding" in path or "bias" in path for path in decayed)
