"""Mixture of experts against a naive loop, in both dispatches."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from highnoon.layers import MoELayer
from highnoon.layers.routing import route
from highnoon.testing import check_layer as battery
from highnoon.testing.compiled import compiled_forms
from highnoon.testing.gradients import value_and_gradients

IS_TENSORFLOW = keras.backend.backend() == "tensorflow"
DISPATCHES = [
    pytest.param("sorted", marks=pytest.mark.skipif(not IS_TENSORFLOW, reason="its shapes are dynamic")),
    "capacity",
]
INIT = {
    "num_experts": 5, "expert_dim": 12, "num_experts_per_tok": 3, "router_type": "top_k",
    "num_shared_experts": 1, "capacity_factor": 0.8, "aux_loss_weight": 0.1, "router_z_loss_weight": 0.2,
    "dispatch": "capacity", "kernel_initializer": "he_normal", "output_initializer": "random_normal",
}
RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 11, 8)).astype("float32")
SEGMENTS = np.array([[1] * 4 + [2] * 5 + [0] * 2, [1] * 11, [0] * 11], "int32")
INPUTS = {"x": X}


def layer_of(dispatch, **changes):
    keras.utils.set_random_seed(7)
    options = {**INIT, "capacity_factor": None, "dispatch": dispatch, **changes}
    layer = MoELayer(**options)
    layer.build(X.shape)
    layer.router.assign(np.random.default_rng(3).normal(size=layer.router.shape) * 0.5)
    return layer


def silu(x):
    return x / (1 + np.exp(-x))


def naive_moe(layer, x, segment_ids, capacity=None):
    """One token at a time: output, aux loss, and how often a choice found its expert full."""
    router, shared = (ops.convert_to_numpy(layer.router), layer.shared_expert)
    gate, up, down = (ops.convert_to_numpy(k) for k in (
        layer.experts.gate_kernel, layer.experts.up_kernel, layer.experts.down_kernel))
    y = np.zeros_like(x) if shared is None else ops.convert_to_numpy(shared(x)).copy()
    balance = z = drops = 0.0
    for row in range(len(x)):
        taken, mass = np.zeros(layer.num_experts), np.zeros(layer.num_experts)
        tokens = [t for t in range(x.shape[1]) if segment_ids[row, t] > 0]
        counts = np.zeros(layer.num_experts)
        for t in tokens:
            logits = x[row, t] @ router
            p = np.exp(logits) / np.exp(logits).sum()
            chosen = np.argsort(-p)[: layer.num_experts_per_tok]
            mass += p
            z += np.log(np.exp(logits).sum()) ** 2
            for e in chosen:
                counts[e] += 1
                if capacity is not None and taken[e] >= capacity:
                    drops += 1
                    continue
                taken[e] += 1
                h = silu(x[row, t] @ gate[e]) * (x[row, t] @ up[e])
                y[row, t] += p[e] / p[chosen].sum() * (h @ down[e])
        if tokens:
            share = counts / (len(tokens) * layer.num_experts_per_tok)
            balance += len(tokens) * layer.num_experts * np.sum(share * mass / len(tokens))
    num_tokens = (segment_ids > 0).sum()
    aux = (layer.aux_loss_weight * balance + layer.router_z_loss_weight * z) / num_tokens
    return y, aux, drops / (num_tokens * layer.num_experts_per_tok)


@pytest.mark.parametrize("dispatch", [*DISPATCHES, "auto"])
def test_the_layer_passes_the_battery(dispatch):
    init = {**INIT, "dispatch": dispatch}
    battery.check_build_leaves_config(MoELayer, init, INPUTS)
    battery.check_output_form(MoELayer, init, INPUTS)
    battery.check_inference_is_deterministic(MoELayer, init, INPUTS)
    battery.check_gradients(MoELayer, init, INPUTS)
    battery.check_causality(MoELayer, init, INPUTS)
    battery.check_batch_mates(MoELayer, init, INPUTS)
    battery.check_sizes(MoELayer, init, INPUTS)
    if dispatch != "sorted":
        battery.check_compiled_forms(MoELayer, init, INPUTS)


def test_every_argument_survives_the_config():
    battery.check_config(MoELayer, INIT, fixed=["router_type"])


def test_bfloat16_routes_in_float32():
    layer = MoELayer(4, 16, dtype="mixed_bfloat16")
    output, aux_loss = layer(X)
    assert keras.backend.standardize_dtype(output.dtype) == "bfloat16"
    assert keras.backend.standardize_dtype(aux_loss.dtype) == "float32"
    assert {str(v.dtype) for v in layer.weights} == {"float32"}
    rounded = ops.convert_to_numpy(ops.cast(ops.cast(X, "bfloat16"), "float32"))
    logits = rounded @ ops.convert_to_numpy(layer.router)
    z = np.mean(np.log(np.exp(logits).sum(-1)) ** 2)
    layer.aux_loss_weight, layer.router_z_loss_weight = 0.0, 1.0
    assert float(layer(X)[1]) == pytest.approx(z, rel=1e-5)


@pytest.mark.parametrize("dispatch", DISPATCHES)
@pytest.mark.parametrize("shared", [0, 2])
def test_output_and_losses_equal_the_naive_loop(dispatch, shared):
    layer = layer_of(dispatch, num_shared_experts=shared)
    output, aux_loss, metrics = layer(X, segment_ids=SEGMENTS, return_metrics=True)
    expected, aux, _ = naive_moe(layer, X, SEGMENTS)
    np.testing.assert_allclose(ops.convert_to_numpy(output), expected, atol=1e-5)
    assert float(aux_loss) == pytest.approx(aux, rel=1e-5)
    assert float(metrics["drop_fraction"]) == 0


@pytest.mark.parametrize("dispatch", DISPATCHES)
@pytest.mark.parametrize("factor", [0.4, 1.0, 9.0])
def test_a_full_expert_drops_the_later_tokens_of_a_row(dispatch, factor):
    layer = layer_of(dispatch, capacity_factor=factor)
    output, _, metrics = layer(X, segment_ids=SEGMENTS, training=True, return_metrics=True)
    capacity = min(11, int(np.ceil(factor * 11 * 3 / 5)))
    expected, _, drops = naive_moe(layer, X, SEGMENTS, capacity)
    np.testing.assert_allclose(ops.convert_to_numpy(output), expected, atol=1e-5)
    assert float(metrics["drop_fraction"]) == pytest.approx(drops)
    assert (drops > 0) == (factor < 9.0)


def test_inference_drops_nothing():
    layer = layer_of("auto", capacity_factor=0.1)
    metrics = layer(X, return_metrics=True)[2]
    assert float(metrics["drop_fraction"]) == 0
    expected = naive_moe(layer, X, np.ones((3, 11)))[0]
    np.testing.assert_allclose(ops.convert_to_numpy(layer(X)[0]), expected, atol=1e-5)


@pytest.mark.skipif(not IS_TENSORFLOW, reason="one of the two dispatches needs TensorFlow's dynamic shapes")
@pytest.mark.parametrize("factor", [None, 0.6])
def test_both_dispatches_have_equal_outputs_and_gradients(factor):
    one, other = (layer_of(dispatch, capacity_factor=factor) for dispatch in ("sorted", "capacity"))
    other.set_weights(one.get_weights())
    target = RNG.normal(size=X.shape).astype("float32")

    def loss(layer):
        def function(x, *values):
            state = list(zip(layer.trainable_variables, values, strict=True))
            with keras.StatelessScope(state_mapping=state):
                output, aux_loss = layer(x, segment_ids=SEGMENTS, training=True)
            return ops.sum(output * target) + aux_loss

        return function

    arrays = [X, *one.get_weights()]
    for ours, theirs in zip(value_and_gradients(loss(one), *arrays)[1],
                            value_and_gradients(loss(other), *arrays)[1], strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_auto_is_sorted_in_a_graph_and_static_under_xla(monkeypatch):
    layer = layer_of("auto")
    taken = []
    experts = layer.experts.call
    monkeypatch.setattr(layer.experts, "call", lambda x, ids, places=None, capacity=None: (
        taken.append("sorted" if places is None else "capacity"), experts(x, ids, places, capacity))[1])
    forms = compiled_forms(lambda x: layer(x)[0])
    for form, compiled in forms.items():
        taken.clear()
        compiled(X)
        assert set(taken) == {"sorted" if form == "graph" else "capacity"}


@pytest.mark.parametrize("dispatch", DISPATCHES)
def test_losses_and_counts_add_up_over_rows(dispatch):
    layer = layer_of(dispatch)
    whole = float(layer(X, segment_ids=SEGMENTS)[1])
    tokens = (SEGMENTS > 0).sum(1)
    parts = [float(layer(X[r : r + 1], segment_ids=SEGMENTS[r : r + 1])[1]) for r in range(3)]
    assert whole == pytest.approx(np.dot(tokens, parts) / tokens.sum(), rel=1e-6)


@pytest.mark.parametrize("dispatch", DISPATCHES)
def test_padding_takes_no_capacity_and_no_part_in_losses_or_metrics(dispatch):
    layer = layer_of(dispatch, capacity_factor=0.6)
    changed = np.where(SEGMENTS[..., None] > 0, X, 50.0).astype("float32")
    # Padding in front would be first in line for capacity if it counted.
    segments, x = SEGMENTS[:, ::-1], changed[:, ::-1]
    one = layer(x, segment_ids=segments, training=True, return_metrics=True)
    other = layer(X[:, ::-1], segment_ids=segments, training=True, return_metrics=True)
    real = segments > 0
    ours, theirs = (ops.convert_to_numpy(outputs[0])[real] for outputs in (one, other))
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    assert float(one[1]) == pytest.approx(float(other[1]), rel=1e-6)
    for name, value in one[2].items():
        assert float(value) == pytest.approx(float(other[2][name]), abs=1e-6)


def test_a_batch_of_padding_alone_is_finite():
    output, aux_loss, metrics = layer_of("auto")(X, segment_ids=0 * SEGMENTS, return_metrics=True)
    assert np.isfinite(ops.convert_to_numpy(output)).all() and float(aux_loss) == 0
    assert all(np.isfinite(float(value)) for value in metrics.values())


@pytest.mark.parametrize("winners, entropy, max_load", [
    ([[0, 1], [2, 3], [0, 1], [2, 3]], 1.0, 1.0),
    ([[0, 1], [0, 1], [0, 1], [0, 1]], 0.5, 2.0),
])
def test_load_metrics_have_their_closed_forms(winners, entropy, max_load):
    logits = np.full((1, 4, 4), -9.0, "float32")
    for token, experts in enumerate(winners):
        logits[0, token, experts] = 9.0
    metrics = route(logits, np.ones((1, 4), "float32"), 2, None, False, 1.0, 0.0).metrics
    assert float(metrics["load_entropy"]) == pytest.approx(entropy, abs=1e-5)
    assert float(metrics["max_load"]) == pytest.approx(max_load, abs=1e-5)


def test_the_balance_loss_is_one_for_an_even_load_and_grows_with_a_skewed_one():
    even, skewed = np.zeros((1, 8, 4), "float32"), np.zeros((1, 8, 4), "float32")
    even[0, np.arange(8), np.arange(8) % 4] = 5.0
    skewed[0, :, 0] = 5.0
    is_token = np.ones((1, 8), "float32")
    losses = [float(route(x, is_token, 1, None, False, 1.0, 0.0).aux_loss) for x in (even, skewed)]
    assert losses[0] == pytest.approx(1.0, abs=1e-5)
    assert losses[1] == pytest.approx(4 * np.exp(5) / (np.exp(5) + 3), rel=1e-4)


def test_experts_quantize_to_int8_and_stay_close():
    layer = layer_of("auto")
    exact = ops.convert_to_numpy(layer(X)[0])
    layer.experts.quantize("int8")
    rounded = ops.convert_to_numpy(layer(X)[0])
    assert {str(v.dtype) for v in layer.experts.weights} == {"int8", "float32"}
    assert 0 < np.abs(rounded - exact).mean() < 0.02 * np.abs(exact).mean()


@pytest.mark.parametrize("arguments, words", [
    ({"router_type": "expert_choice"}, "compare a token with later ones, so a causal model refuses it"),
    ({"router_type": "random"}, "`router_type` must be \"top_k\"; received 'random'"),
    ({"num_experts": 4, "num_experts_per_tok": 5}, "`num_experts_per_tok` must be between 1 and num_exp"),
    ({"capacity_factor": 0.0}, "`capacity_factor` must be above 0, or None for no drops; received 0.0"),
    ({"expert_dim": 0}, "`expert_dim` must be at least 1"),
    ({"num_shared_experts": -1}, "`num_shared_experts` not negative; received 1024 and -1"),
    ({"dispatch": "fast"}, "`dispatch` must be one of auto, sorted, capacity; received 'fast'"),
])
def test_bad_arguments_are_named(arguments, words):
    with pytest.raises(ValueError, match=words):
        MoELayer(**arguments)


@pytest.mark.skipif(IS_TENSORFLOW, reason="the refusal is of every other backend")
def test_sorted_dispatch_is_refused_outside_tensorflow():
    with pytest.raises(ValueError, match="runs under TensorFlow alone"):
        MoELayer(dispatch="sorted")
