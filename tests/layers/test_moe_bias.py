"""The balancing bias: when it moves, by what, and what comes of it."""

from __future__ import annotations

import numpy as np
import pytest
from keras import ops

from highnoon.layers import MoELayer

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 16, 8)).astype("float32")


def layer_of(router="sigmoid", **options):
    layer = MoELayer(4, 8, router_type=router, bias_update_rate=0.01, **options)
    layer.build(X.shape)
    layer.router.assign(np.random.default_rng(3).normal(size=layer.router.shape) * 0.5)
    return layer


def load_of(layer, x):
    """How many tokens each expert takes, from the definition."""
    logits = x.reshape(-1, 8) @ ops.convert_to_numpy(layer.router)
    bias = ops.convert_to_numpy(layer.expert_bias)
    if layer.router_type == "sigmoid":
        ranked = 1 / (1 + np.exp(-logits)) + bias
        best = np.argsort(-ranked, axis=-1)[:, : layer.num_experts_per_tok]
        return np.bincount(best.ravel(), minlength=4)
    return (np.exp(logits) / np.exp(logits).sum(-1, keepdims=True) + bias > 0).sum(0)


@pytest.mark.parametrize("router", ["sigmoid", "causal_expert_choice"])
def test_the_bias_moves_once_a_step_towards_the_even_share(router):
    layer = layer_of(router)
    before = ops.convert_to_numpy(layer.expert_bias)
    load = load_of(layer, X)
    assert len(set(load)) > 1
    for part in np.split(X, 2, axis=1):
        layer(part, training=True)
        np.testing.assert_array_equal(ops.convert_to_numpy(layer.expert_bias), before)
    layer.finish_step()
    moved = ops.convert_to_numpy(layer.expert_bias) - before
    np.testing.assert_allclose(moved, 0.01 * np.sign(32 * 2 / 4 - load), atol=1e-7)
    layer.finish_step()  # nothing has been counted since
    np.testing.assert_allclose(ops.convert_to_numpy(layer.expert_bias) - before, moved, atol=1e-7)


def test_inference_padding_and_a_frozen_layer_are_not_counted():
    layer = layer_of()
    layer(X)
    layer(X, segment_ids=np.zeros((2, 16), "int32"), training=True)
    layer.trainable = False
    layer(X, training=True)
    layer.trainable = True
    layer.finish_step()
    np.testing.assert_array_equal(ops.convert_to_numpy(layer.expert_bias), np.zeros(4))


def test_the_bias_changes_who_is_chosen_and_not_the_gates():
    layer = layer_of(num_experts_per_tok=4)
    y = ops.convert_to_numpy(layer(X)[0])
    layer.expert_bias.assign([5.0, -5.0, 3.0, 0.0])
    np.testing.assert_allclose(ops.convert_to_numpy(layer(X)[0]), y, atol=1e-6)
    layer = layer_of()
    layer.expert_bias.assign([5.0, -5.0, 5.0, -5.0])
    metrics = layer(X, return_metrics=True)[2]
    assert float(metrics["load_entropy"]) == pytest.approx(0.5, abs=1e-6)


@pytest.mark.parametrize("router", ["sigmoid", "causal_expert_choice"])
def test_steps_without_any_loss_even_the_load(router):
    layer = layer_of(router, aux_loss_weight=0.0, router_z_loss_weight=0.0)
    x = (np.random.default_rng(1).normal(size=(4, 64, 8)) + 1.0).astype("float32")
    first = layer(x, return_metrics=True)[2]
    for _ in range(40):
        layer(x, training=True)
        layer.finish_step()
    last = layer(x, return_metrics=True)[2]
    assert float(first["max_load"]) > 1.4 > 1.1 > float(last["max_load"])
    assert load_of(layer, x).sum() == pytest.approx(2 * 256, rel=0.1)


def test_routers_without_a_bias_have_nothing_to_finish():
    layer = MoELayer(4, 8)
    layer(X, training=True)
    before = [ops.convert_to_numpy(weight) for weight in layer.weights]
    layer.finish_step()
    for one, other in zip(before, layer.weights, strict=True):
        np.testing.assert_array_equal(one, ops.convert_to_numpy(other))


def test_the_hash_router_is_never_trained():
    layer = layer_of("hash")
    assert "router" not in {weight.name for weight in layer.trainable_variables}
    output, aux_loss, metrics = layer(X, return_metrics=True)
    assert float(aux_loss) == 0.0
    assert float(metrics["token_entropy"]) == pytest.approx(0.5, abs=1e-6)
