"""LoRA together with quantized bases, recomputed blocks, experts and shared embeddings."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import highnoon as hn
from highnoon.models.adapters import AdapterError, load_adapter, save_adapter

SHAPE = {
    "vocab_size": 263,
    "embedding_dim": 16,
    "num_reasoning_blocks": 1,
    "num_heads": 2,
    "num_moe_experts": 2,
    "max_seq_length": 32,
}
IDS = np.array([[5, 7, 9, 11, 40]])


def make(pattern="attention+mlp", **fields):
    keras.utils.set_random_seed(0)
    return hn.create_model("highnoon-nano", **{**SHAPE, "block_pattern": pattern, **fields})


def batch():
    rng = np.random.default_rng(0)
    ids = rng.integers(3, 263, (2, 17)).astype("int32")
    return {
        "token_ids": ids[:, :-1],
        "labels": ids[:, 1:],
        "loss_weights": np.ones((2, 16), "float32"),
        "segment_ids": np.ones((2, 16), "int32"),
        "positions": np.tile(np.arange(16, dtype="int32"), (2, 1)),
    }


def gradients(model):
    """Of the loss by the weights that are trained, by path."""
    tf = pytest.importorskip("tensorflow")
    with tf.GradientTape() as tape:
        terms = model.loss_terms(batch())
        loss = terms["loss_sum"] + terms["aux_loss"]
    weights = model.trainable_weights
    found = tape.gradient(loss, [weight.value for weight in weights])
    return {
        weight.path: None if g is None else np.asarray(g) for weight, g in zip(weights, found, strict=True)
    }


def fill(model):
    rng = np.random.default_rng(1)
    for weight in model.trainable_weights:
        weight.assign(rng.normal(size=weight.shape, scale=0.1))


@pytest.mark.parametrize("mode", ["int8", pytest.param("int4", marks=pytest.mark.slow)])
@pytest.mark.parametrize("is_quantized_first", [True, False])
def test_factors_are_trained_on_a_quantized_base(mode, is_quantized_first, tmp_path):
    model = make()
    if is_quantized_first:
        model.quantize(mode)
        model.backbone.enable_lora(2)
    else:
        model.backbone.enable_lora(2)
        model.quantize(mode)
    fill(model)
    found = gradients(model)
    assert len(found) == 4 and all("lora" in path for path in found)
    assert all(np.isfinite(g).all() and np.abs(g).max() > 0 for g in found.values())
    # The adapter comes back onto the quantized base, and says so of another.
    save_adapter(model, tmp_path / "adapter")
    again = make()
    with pytest.raises(AdapterError, match="of other weights"):
        load_adapter(again, tmp_path / "adapter")
    again.quantize(mode)
    load_adapter(again, tmp_path / "adapter")
    np.testing.assert_array_equal(again(IDS), model(IDS))
    with pytest.raises(AdapterError, match=f"is quantized to {mode}.*onto the model before `quantize`"):
        again.merge_lora()
    whole = make()
    load_adapter(whole, tmp_path / "adapter", allow_other_base=True)
    assert whole.merge_lora() == 2
    assert np.abs(np.asarray(whole(IDS)) - np.asarray(model(IDS))).max() < 0.5


def test_factors_have_the_same_gradients_where_blocks_are_recomputed():
    plain, recomputed = make(), make()
    for model in (plain, recomputed):
        model.backbone.enable_lora(2, ["query", "down"])
        fill(model)
    recomputed.gradient_checkpointing_enable()
    wanted, found = gradients(plain), gradients(recomputed)
    assert wanted.keys() == found.keys()
    for path in wanted:
        np.testing.assert_allclose(found[path], wanted[path], rtol=1e-5, atol=1e-6)


def test_experts_are_frozen_and_refused_as_targets():
    model = make("attention+moe")
    with pytest.raises(ValueError, match="one of .*query"):
        model.backbone.enable_lora(2, ["experts"])
    assert model.backbone.lora is None
    model.backbone.enable_lora(2)
    fill(model)
    found = gradients(model)
    assert len(found) == 4 and all(np.abs(g).max() > 0 for g in found.values())


def test_factors_of_a_tied_embedding_change_the_head_too():
    model = make()
    model.backbone.enable_lora(2, ["token_embedding"])
    fill(model)
    assert [path.split("/")[-1] for path in gradients(model)] == ["lora_embeddings_a", "lora_embeddings_b"]
    layer = model.backbone.token_embedding
    product = np.asarray(layer.lora_embeddings_a) @ np.asarray(layer.lora_embeddings_b)
    np.testing.assert_allclose(model._head_kernel(), np.asarray(layer._embeddings) + product, atol=1e-6)


def test_factors_of_an_embedding_leave_an_untied_head_frozen():
    model = make(tie_embeddings=False)
    model.backbone.enable_lora(2, ["token_embedding"])
    assert {weight.path.split("/")[-1] for weight in model.trainable_weights} == {
        "lora_embeddings_a",
        "lora_embeddings_b",
    }
