"""One reasoning block."""

from __future__ import annotations

import numpy as np
import pytest
from keras import ops

from highnoon.config import ModelConfig
from highnoon.models.reasoning_block import ReasoningBlock
from highnoon.testing import check_layer as battery

CONFIG = ModelConfig(
    embedding_dim=16,
    num_heads=2,
    num_moe_experts=4,
    expert_dim=12,
    ffn_dim=20,
    block_pattern="attention+moe, attention+mlp",
)
X = np.random.default_rng(0).normal(size=(2, 7, 16)).astype("float32")


@pytest.mark.slow
def test_the_block_passes_the_battery():
    init = {"config": CONFIG.to_dict()}
    battery.check_config(ReasoningBlock, init)
    battery.check_build_leaves_config(ReasoningBlock, init, {"x": X})
    battery.check_output_form(ReasoningBlock, init, {"x": X})
    battery.check_gradients(ReasoningBlock, init, {"x": X})
    battery.check_causality(ReasoningBlock, init, {"x": X})
    battery.check_batch_mates(ReasoningBlock, init, {"x": X})


def test_a_block_is_its_residual_branches_in_order():
    block = ReasoningBlock(CONFIG)
    y, aux_loss, metrics = block(X)
    x = ops.convert_to_tensor(X)
    x = x + block.mixers[0](block.mixer_norms[0](x))
    routed, report = block.feed_forwards[0](block.feed_forward_norms[0](x))
    x = x + routed
    x = x + block.mixers[1](block.mixer_norms[1](x))
    x = x + block.feed_forwards[1](block.feed_forward_norms[1](x))
    np.testing.assert_allclose(ops.convert_to_numpy(y), ops.convert_to_numpy(x), atol=1e-6)
    assert float(aux_loss) == pytest.approx(float(report.aux_loss))
    assert len(metrics) == 1 and metrics[0].keys() == report.metrics.keys()


def test_steps_with_a_cache_equal_the_call():
    block = ReasoningBlock(CONFIG)
    y = ops.convert_to_numpy(block(X)[0])
    cache, parts = block.initial_cache(2, 9, "float32"), []
    assert set(cache) == {"pair_0_attention", "pair_1_attention"}
    for start, end in ((0, 4), (4, 5), (5, 7)):
        part, cache = block.step(ops.convert_to_tensor(X[:, start:end]), cache, start)
        parts.append(ops.convert_to_numpy(part))
    np.testing.assert_allclose(np.concatenate(parts, 1), y, atol=1e-5)


def test_padding_in_a_step_is_not_routed(monkeypatch):
    block = ReasoningBlock(CONFIG)
    block(X)
    seen = {}
    route = block.feed_forwards[0].call
    monkeypatch.setattr(
        block.feed_forwards[0],
        "call",
        lambda x, segment_ids=None, **kwargs: (
            seen.update(ids=segment_ids),
            route(x, segment_ids=segment_ids, **kwargs),
        )[1],
    )
    block.step(ops.convert_to_tensor(X[:, :4]), block.initial_cache(2, 9, "float32"), 0, np.array([3, 0]))
    np.testing.assert_array_equal(ops.convert_to_numpy(seen["ids"]), [[0, 0, 0, 1], [1, 1, 1, 1]])


def test_dropout_falls_on_both_branches():
    changes = {"dropout": 0.5, "block_pattern": "transformer"}
    block = ReasoningBlock(ModelConfig(**{**CONFIG.to_dict(), **changes}))
    first, second = (ops.convert_to_numpy(block(X, training=True)[0]) for _ in range(2))
    assert (first != second).any()
    still = [ops.convert_to_numpy(block(X, training=False)[0]) for _ in range(2)]
    np.testing.assert_array_equal(*still)
    assert len([v for v in block.variables if "seed" in v.path]) == 2
