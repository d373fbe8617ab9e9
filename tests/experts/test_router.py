"""The router: uniform at first, causal, apart for each document, cached, and saved without experts."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest

import highnoon as hn
from highnoon.config import ConfigError
from highnoon.experts import ExpertRouter
from highnoon.tokenization import ByteTokenizer

LENGTH = 14


def make_router(**fields):
    keras.utils.set_random_seed(0)
    options = {"embedding_dim": 16, "num_heads": 2, "ffn_dim": 16, "max_seq_length": 32, **fields}
    return ExpertRouter(3, **{"vocab_size": 50, **options})


def wake(router):
    rng = np.random.default_rng(1)
    for weight in router.trainable_variables:
        weight.assign(weight + 0.3 * rng.normal(size=weight.shape).astype("float32"))
    return router


def token_ids(rows=3):
    return np.random.default_rng(2).integers(1, 50, (rows, LENGTH)).astype("int32")


def test_a_new_router_weighs_all_experts_alike():
    np.testing.assert_allclose(np.exp(make_router()(token_ids())), 1 / 3, atol=1e-6)


def test_weights_depend_on_earlier_tokens_of_the_same_document_alone():
    router, ids = wake(make_router()), token_ids()
    before = np.asarray(router(ids))
    np.testing.assert_allclose(np.exp(before).sum(-1), 1, atol=1e-5)
    changed = ids.copy()
    changed[:, 8:] = 1 + changed[:, 8:] % 49
    after = np.asarray(router(changed))
    np.testing.assert_allclose(after[:, :8], before[:, :8], atol=1e-5)
    assert np.abs(after[:, 8:] - before[:, 8:]).max() > 1e-2
    segments = np.repeat([[1, 2, 0]], [5, 6, 3], axis=1)
    positions = np.array([[*range(5), *range(6), *range(3)]])
    packed = router({"token_ids": ids[:1], "segment_ids": segments, "positions": positions})
    np.testing.assert_allclose(packed[0, 5:11], router(ids[:1, 5:11])[0], atol=1e-5)


def test_cached_steps_give_the_weights_of_one_pass():
    router, ids, padding = wake(make_router()), token_ids(), np.array([0, 5, 1], "int32")
    cache, parts = router.initial_cache(3, LENGTH), []
    for start, end in ((0, LENGTH - 3), *((i, i + 1) for i in range(LENGTH - 3, LENGTH))):
        weights, cache = router.step(ids[:, start:end], cache, start, padding)
        parts.append(np.asarray(weights))
    stepped = np.concatenate(parts, axis=1)
    for row, size in enumerate(padding):
        np.testing.assert_allclose(stepped[row, size:], router(ids[row : row + 1, size:])[0], atol=1e-5)


def test_a_saved_router_comes_back_with_its_tokenizer(tmp_path):
    router = wake(make_router(kv_lora_rank=6, dropout=0.1))
    router = hn.create_model("expert_router", **{**router.get_config(), "vocab_size": 263})
    router.tokenizer = ByteTokenizer()
    folder = hn.save_model(wake(router), tmp_path / "router")
    assert json.loads((folder / "config.json").read_text())["family"] == "expert_router"
    again = hn.load_model(folder)
    assert type(again) is ExpertRouter and again.get_config() == router.get_config()
    assert again.tokenizer.fingerprint() == router.tokenizer.fingerprint()
    np.testing.assert_array_equal(again(token_ids()), router(token_ids()))


def test_a_router_for_experts_has_their_vocabulary_and_their_shortest_context():
    shape = {
        "vocab_size": 263,
        "embedding_dim": 16,
        "num_reasoning_blocks": 1,
        "block_pattern": "attention+mlp",
    }
    experts = [hn.LanguageModel(max_seq_length=length, **shape) for length in (64, 32)]
    for expert in experts:
        expert.tokenizer = ByteTokenizer()
    router = ExpertRouter.for_experts(experts, embedding_dim=16)
    assert (router.num_experts, router.vocab_size, router.max_seq_length) == (2, 263, 32)
    assert router.tokenizer is experts[0].tokenizer
    experts[1].tokenizer = None
    with pytest.raises(
        ConfigError, match=r"`experts\[1\]` must have the tokenizer of experts\[0\].*; received"
    ):
        ExpertRouter.for_experts(experts)
    wider = hn.LanguageModel(max_seq_length=32, **{**shape, "vocab_size": 300})
    wider.tokenizer = ByteTokenizer()
    with pytest.raises(ConfigError, match="vocab_size=263 of `experts.0.`; received 300"):
        ExpertRouter.for_experts([experts[0], wider])


def test_its_cost_is_that_of_the_trunk_without_a_head_over_the_vocabulary():
    small, large = (make_router(vocab_size=size) for size in (50, 5000))
    assert small.flops_per_token(16) == large.flops_per_token(16) > 0
    assert small.activation_bytes(2, 16) == large.activation_bytes(2, 16) > 0


@pytest.mark.parametrize("fields", [{"num_experts": 1}, {"dropout": 1.0}, {"embedding_dim": 0}])
def test_a_field_out_of_its_range_is_named(fields):
    arguments = {"num_experts": 3, "vocab_size": 50, **fields}
    with pytest.raises(ConfigError, match=f"`{next(iter(fields))}`"):
        ExpertRouter(**arguments)
