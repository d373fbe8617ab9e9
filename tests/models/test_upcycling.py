"""A dense model turned into experts starts from the dense model's logits."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from highnoon.config import ConfigError
from highnoon.layers import MoELayer
from highnoon.models import LanguageModel
from highnoon.models.upcycling import upcycle

IDS = np.random.default_rng(0).integers(0, 40, (2, 9))
SHAPE = {
    "vocab_size": 40,
    "embedding_dim": 16,
    "num_reasoning_blocks": 2,
    "max_seq_length": 32,
    "num_heads": 2,
    "num_kv_heads": 1,
    "ffn_dim": 24,
    "normalize_gates": False,
    "routed_scale": 2.0,
    "num_shared_experts": 1,
    "dropout": 0.1,
}


@pytest.fixture(scope="module")
def dense():
    keras.utils.set_random_seed(0)
    model = LanguageModel(**SHAPE, block_pattern="attention+mlp, mamba2, attention+mlp")
    for weight in model.weights:  # norms and biases start at constants
        weight.assign(weight + 0.1 * np.random.default_rng(1).normal(size=weight.shape))
    return model


def logits_of(model):
    return ops.convert_to_numpy(model(IDS, training=False))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_experts": 4, "num_experts_per_tok": 1, "router_type": "sigmoid"},
        {"num_experts": 4, "router_type": "top_k", "num_expert_groups": 2, "num_groups_per_tok": 1},
        {"num_experts": 3, "router_type": "hash"},
        {"num_experts": 3, "num_experts_per_tok": 3, "router_type": "soft"},
        {"block_pattern": "attention+mlp, mamba2, attention+moe"},
    ],
)
def test_the_new_model_starts_from_the_logits_of_the_dense_one(dense, options):
    sparse = upcycle(dense, **options)
    np.testing.assert_allclose(logits_of(sparse), logits_of(dense), atol=2e-5)
    mixtures = [layer for layer in sparse._flatten_layers() if isinstance(layer, MoELayer)]
    assert len(mixtures) == (2 if "block_pattern" in options else 4)
    assert {layer.num_experts for layer in mixtures} == {options.get("num_experts", 8)}
    assert sparse.config.block_pattern == options.get("block_pattern", "attention+moe, mamba2, attention+moe")


def test_the_dense_model_keeps_its_weights_when_an_expert_moves(dense):
    before = logits_of(dense)
    sparse = upcycle(dense, num_experts=2)
    for weight in sparse.trainable_weights:
        weight.assign(weight + 1.0)
    np.testing.assert_array_equal(logits_of(dense), before)
    assert np.abs(logits_of(sparse) - before).max() > 0.1


def test_tokenizer_and_training_configuration_go_along(dense):
    from highnoon.config import TrainingConfig
    from highnoon.tokenization import ByteTokenizer

    model = LanguageModel(
        **{**SHAPE, "vocab_size": 300},
        block_pattern="transformer",
        training_config=TrainingConfig(epochs=3),
        tokenizer=ByteTokenizer(),
    )
    sparse = upcycle(model, num_experts=2)
    assert sparse.tokenizer is model.tokenizer and sparse.training_config == model.training_config


@pytest.mark.parametrize(
    "options, words",
    [
        ({"num_experts": 1}, "`num_experts` must be at least 2; received 1"),
        ({"num_experts": 2, "num_experts_per_tok": 3}, "between 1 and num_moe_experts=2; received 3"),
        ({"router_type": "causal_expert_choice"}, "would not start from the dense one's logits"),
        (
            {"expert_dim": 8},
            "`expert_dim` follows from the dense model; `upcycle` takes router_type, num_exp",
        ),
        ({"block_pattern": "attention+moe, mamba, attention+moe"}, "must be .attention.mlp, mamba2, "),
        ({"block_pattern": "attention+mlp, mamba2, attention+mlp"}, "such as .attention.moe, mamba2, "),
    ],
)
def test_what_would_not_be_the_dense_model_is_refused(dense, options, words):
    with pytest.raises(ConfigError, match=words):
        upcycle(dense, **options)


def test_models_without_plain_dense_feed_forwards_are_refused(dense):
    for pattern in ("attention+moe", "mamba2"):
        model = LanguageModel(**SHAPE, block_pattern=pattern)
        with pytest.raises(ConfigError, match="feed-forwards are dense"):
            upcycle(model)
    model = LanguageModel(**SHAPE, block_pattern="transformer")
    model.backbone.enable_lora(2)
    with pytest.raises(ConfigError, match="takes plain weights"):
        upcycle(model)


def test_experts_are_as_wide_as_the_feed_forward_that_they_copy():
    dense = LanguageModel(
        **SHAPE, block_pattern="attention(num_heads=1)+mlp(ffn_dim=40), mamba2(state_dim=8)"
    )
    sparse = upcycle(dense, num_experts=3)
    assert sparse.config.block_pattern == "attention(num_heads=1)+moe(expert_dim=40), mamba2(state_dim=8)"
    np.testing.assert_allclose(logits_of(sparse), logits_of(dense), atol=1e-4)
    with pytest.raises(ConfigError, match="such as .attention.num_heads=1..moe.expert_dim=40"):
        upcycle(
            dense,
            num_experts=3,
            block_pattern="attention(num_heads=1)+moe(expert_dim=8), mamba2(state_dim=8)",
        )


def test_norms_biases_and_positions_of_every_kind_are_copied():
    fields = {
        "norm_type": "layer",
        "post_norms": True,
        "position_embedding": "learned",
        "scale_embeddings": True,
        "attention_bias": "all",
        "logit_softcap": 3.0,
    }
    model = LanguageModel(**SHAPE, **fields, block_pattern="attention+mlp")
    for weight in model.weights:
        weight.assign(weight + 0.1 * np.random.default_rng(1).normal(size=weight.shape))
    np.testing.assert_allclose(logits_of(upcycle(model)), logits_of(model), atol=2e-5)


@pytest.mark.parametrize("fields", [{"ffn_activation": "gelu_tanh"}, {"ffn_bias": True}])
def test_a_feed_forward_that_no_expert_can_be_is_refused(fields):
    model = LanguageModel(**SHAPE, **fields, block_pattern="attention+mlp")
    with pytest.raises(ConfigError, match="which are SwiGLU without biases; received ffn_activation="):
        upcycle(model)
