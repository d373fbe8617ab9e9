"""Blocks compiled by XLA, or run twice, move the weights as blocks that run plainly once."""

from __future__ import annotations

import contextlib
import dataclasses

import keras
import numpy as np
import pytest
from keras import ops

from highnoon.config import ModelConfig
from highnoon.models import LanguageModel
from highnoon.models.reasoning_block import ReasoningBlock
from highnoon.testing import check_model as battery
from highnoon.testing.compiled import gradient_step

CONFIG = ModelConfig(
    vocab_size=31,
    embedding_dim=16,
    num_reasoning_blocks=2,
    max_seq_length=32,
    num_moe_experts=3,
    num_heads=2,
    expert_dim=8,
    dropout=0.4,
    state_dim=4,
    block_pattern="attention+moe, mamba2",
    router_type="sigmoid",
)
IDS = np.random.default_rng(0).integers(1, 31, (2, 9)).astype("int32")


def trained(is_checkpointed=False, is_compiled=False, lora_rank=0, num_steps=3, dropout=0.4) -> LanguageModel:
    """Returns a model after some steps."""
    model = battery.new_model(dataclasses.replace(CONFIG, dropout=dropout))
    if is_checkpointed:
        model.gradient_checkpointing_enable()
    if lora_rank:
        keras.utils.set_random_seed(1)
        model.backbone.enable_lora(lora_rank)
    batch = {"token_ids": IDS, "labels": IDS, "loss_weights": np.ones(IDS.shape, "float32")}

    def loss():
        with model.compiled_parts() if is_compiled else contextlib.nullcontext():
            terms = model.loss_terms(batch, training=True)
        return terms["loss_sum"] + terms["aux_loss"]

    optimizer = keras.optimizers.SGD(1e-3)
    optimizer.build(model.trainable_variables)
    step = gradient_step(loss, model.trainable_variables, optimizer)
    for _ in range(num_steps):
        step()
        for layer in model._flatten_layers():
            if hasattr(layer, "finish_step"):
                layer.finish_step()
    return model


needs_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="gradient checkpointing runs on TensorFlow"
)


@needs_tensorflow
@pytest.mark.slow
@pytest.mark.parametrize("is_compiled, lora_rank", [(False, 0), (True, 2)])
def test_blocks_that_run_again_move_the_weights_alike_and_draw_the_same_dropout(is_compiled, lora_rank):
    options = {"is_compiled": is_compiled, "lora_rank": lora_rank}
    with_it, without = trained(is_checkpointed=True, **options), trained(**options)
    assert_same_weights(with_it, without)
    start = trained(**options, num_steps=0)
    moved = [
        ours.path
        for ours, before in zip(with_it.variables, start.variables, strict=True)
        if (ops.convert_to_numpy(ours) != ops.convert_to_numpy(before)).any()
    ]
    assert any("query" in path for path in moved)
    for frozen_by_lora in ("expert_bias", "/kernel"):
        assert any(path.endswith(frozen_by_lora) for path in moved) == (not lora_rank)


@needs_tensorflow
@pytest.mark.slow
def test_compiled_blocks_move_the_weights_as_plain_ones():
    # Without dropout: XLA draws other random numbers from the same seed.
    assert_same_weights(trained(is_compiled=True, dropout=0.0), trained(dropout=0.0))


def assert_same_weights(model: LanguageModel, other: LanguageModel) -> None:
    for ours, theirs in zip(model.variables, other.variables, strict=True):
        np.testing.assert_allclose(
            ops.convert_to_numpy(ours), ops.convert_to_numpy(theirs), atol=1e-6, err_msg=ours.path
        )


@needs_tensorflow
@pytest.mark.slow
@pytest.mark.parametrize("is_enabled, calls", [(True, 4), (False, 2)])
def test_each_block_runs_again_for_the_gradient(is_enabled, calls, monkeypatch):
    model, seen = battery.new_model(CONFIG), []
    plain = ReasoningBlock.call

    def call(self, *args, **kwargs):
        seen.append(self.name)
        return plain(self, *args, **kwargs)

    monkeypatch.setattr(ReasoningBlock, "call", call)
    model.gradient_checkpointing_enable()
    if not is_enabled:
        model.gradient_checkpointing_disable()
    batch = {"token_ids": IDS, "labels": IDS, "loss_weights": np.ones(IDS.shape, "float32")}
    optimizer = keras.optimizers.SGD(1e-3)
    optimizer.build(model.trainable_variables)
    gradient_step(
        lambda: model.loss_terms(batch, training=True)["loss_sum"], model.trainable_variables, optimizer
    )()
    assert len(seen) == calls


@needs_tensorflow
@pytest.mark.slow
def test_states_of_dropout_are_not_watched_as_if_they_had_a_gradient(monkeypatch):
    import tensorflow as tf

    watched, watch = [], tf.GradientTape.watch
    monkeypatch.setattr(
        tf.GradientTape,
        "watch",
        lambda tape, values: watched.extend(tf.nest.flatten(values)) or watch(tape, values),
    )
    trained(is_checkpointed=True, num_steps=1)
    assert watched and all(value.dtype.is_floating for value in watched)


@pytest.mark.skipif(keras.backend.backend() == "tensorflow", reason="TensorFlow can")
def test_another_backend_is_refused():
    model = battery.new_model(CONFIG)
    model.gradient_checkpointing_enable()
    batch = {"token_ids": IDS, "labels": IDS, "loss_weights": np.ones(IDS.shape, "float32")}
    with pytest.raises(NotImplementedError, match="tensorflow backend"):
        model.loss_terms(batch, training=True)
