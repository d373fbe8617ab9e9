"""Blocks that run twice move the weights as blocks that run once."""

from __future__ import annotations

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
    vocab_size=31, embedding_dim=16, num_reasoning_blocks=2, max_seq_length=32, num_moe_experts=3,
    num_heads=2, expert_dim=8, dropout=0.4, state_dim=4, block_pattern="attention+moe, mamba2",
    router_type="sigmoid",
)
IDS = np.random.default_rng(0).integers(1, 31, (2, 9)).astype("int32")


def trained(is_checkpointed: bool) -> LanguageModel:
    """Returns a model after three steps."""
    model = battery.new_model(CONFIG)
    if is_checkpointed:
        model.gradient_checkpointing_enable()
    batch = {"token_ids": IDS, "labels": IDS, "loss_weights": np.ones(IDS.shape, "float32")}

    def loss():
        terms = model.loss_terms(batch, training=True)
        return terms["loss_sum"] + terms["aux_loss"]

    optimizer = keras.optimizers.SGD(1e-3)
    optimizer.build(model.trainable_variables)
    step = gradient_step(loss, model.trainable_variables, optimizer)
    for _ in range(3):
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
def test_weights_and_dropout_are_those_of_a_run_without_it():
    with_it, without, start = trained(True), trained(False), battery.new_model(CONFIG)
    for ours, theirs in zip(with_it.variables, without.variables, strict=True):
        np.testing.assert_allclose(
            ops.convert_to_numpy(ours), ops.convert_to_numpy(theirs), atol=1e-6, err_msg=ours.path
        )
    moved = [
        ours.path for ours, before in zip(with_it.variables, start.variables, strict=True)
        if (ops.convert_to_numpy(ours) != ops.convert_to_numpy(before)).any()
    ]
    assert any("query" in path for path in moved) and any("expert_bias" in path for path in moved)


@needs_tensorflow
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


@pytest.mark.skipif(keras.backend.backend() == "tensorflow", reason="TensorFlow can")
def test_another_backend_is_refused():
    model = battery.new_model(CONFIG)
    model.gradient_checkpointing_enable()
    batch = {"token_ids": IDS, "labels": IDS, "loss_weights": np.ones(IDS.shape, "float32")}
    with pytest.raises(NotImplementedError, match="runs on the tensorflow backend"):
        model.loss_terms(batch, training=True)
