"""Mixture of experts against a naive loop, in both dispatches."""

from __future__ import annotations

import inspect

import keras
import numpy as np
import pytest
from keras import ops

from highnoon.layers import MoELayer
from highnoon.layers.experts.router_losses import LossWeights
from highnoon.layers.experts.routers import Router, SigmoidRouter, TopKRouter
from highnoon.layers.experts.routing import route
from highnoon.testing import check_layer as battery
from highnoon.testing.compiled import compiled_forms
from highnoon.testing.gradients import value_and_gradients

IS_TENSORFLOW = keras.backend.backend() == "tensorflow"
DISPATCHES = [
    pytest.param("sorted", marks=pytest.mark.skipif(not IS_TENSORFLOW, reason="its shapes are dynamic")),
    "capacity",
]
INIT = {
    "num_experts": 6,
    "expert_dim": 12,
    "num_experts_per_tok": 3,
    "router_type": "sigmoid",
    "normalize_gates": False,
    "routed_scale": 1.5,
    "num_expert_groups": 3,
    "num_groups_per_tok": 2,
    "bias_update_rate": 0.05,
    "num_shared_experts": 1,
    "capacity_factor": 0.8,
    "aux_loss_weight": 0.1,
    "router_z_loss_weight": 0.2,
    "load_entropy_weight": 0.3,
    "dispatch": "capacity",
    "kernel_initializer": "he_normal",
    "output_initializer": "random_normal",
}
GROUPED = {name: INIT[name] for name in inspect.signature(Router.__init__).parameters if name in INIT}
UNGROUPED = {"num_expert_groups": 1, "num_groups_per_tok": 1}
ROUTERS = {
    "top_k": {"router_type": "top_k", **UNGROUPED},
    "top_k in groups": {"router_type": "top_k"},
    "sigmoid": {},
    "hash": {"router_type": "hash", **UNGROUPED},
    "soft": {"router_type": "soft", "num_experts_per_tok": 6, "capacity_factor": None, **UNGROUPED},
    "causal_expert_choice": {"router_type": "causal_expert_choice", **UNGROUPED},
}
RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 11, 8)).astype("float32")
SEGMENTS = np.array([[1] * 4 + [2] * 5 + [0] * 2, [1] * 11, [0] * 11], "int32")
INPUTS = {"x": X}


def layer_of(dispatch, router="top_k", **changes):
    keras.utils.set_random_seed(7)
    options = {**INIT, **ROUTERS[router], "capacity_factor": None, "dispatch": dispatch, **changes}
    layer = MoELayer(**options)
    layer.build(X.shape)
    layer.router.assign(np.random.default_rng(3).normal(size=layer.router.shape) * 0.5)
    if layer.expert_bias is not None:
        layer.expert_bias.assign(layer.expert_bias + np.random.default_rng(4).normal(size=6) * 0.1)
    return layer


def silu(x):
    return x / (1 + np.exp(-x))


def naive_choice(layer, logits):
    """One token: the chosen experts, best first, the score of each expert and its probability."""
    size, kind = layer.num_experts, layer.router_type
    softmax = np.exp(logits) / np.exp(logits).sum()
    scores = 1 / (1 + np.exp(-logits)) if kind == "sigmoid" else softmax
    bias = np.zeros(size) if layer.expert_bias is None else ops.convert_to_numpy(layer.expert_bias)
    ranked = scores + bias
    groups = np.split(np.arange(size), layer.num_expert_groups)
    strength = [np.sort(ranked[group])[-2 if kind == "sigmoid" else -1 :].sum() for group in groups]
    best = np.argsort(strength)[-layer.num_groups_per_tok :]
    in_reach = [e for g in best for e in groups[g]]
    order = sorted(in_reach, key=lambda e: -ranked[e])
    if kind == "causal_expert_choice":
        chosen = [e for e in order if ranked[e] > 0][: 2 * layer.num_experts_per_tok]
    else:
        chosen = order[: layer.num_experts_per_tok]
    if kind == "hash":
        scores = np.ones(size)
        softmax = np.isin(np.arange(size), chosen) / layer.num_experts_per_tok
    return chosen, scores, scores / scores.sum() if kind == "sigmoid" else softmax


def naive_moe(layer, x, segment_ids, capacity=None):
    """One token at a time: output, aux loss, and how often a choice found its expert full."""
    router, shared = (ops.convert_to_numpy(layer.router), layer.shared_expert)
    gate, up, down = (
        ops.convert_to_numpy(k)
        for k in (layer.experts.gate_kernel, layer.experts.up_kernel, layer.experts.down_kernel)
    )
    y = np.zeros_like(x) if shared is None else ops.convert_to_numpy(shared(x)).copy()
    balance = z = uneven = drops = choices = 0.0
    for row in range(len(x)):
        taken, mass = np.zeros(layer.num_experts), np.zeros(layer.num_experts)
        tokens = [t for t in range(x.shape[1]) if segment_ids[row, t] > 0]
        counts = np.zeros(layer.num_experts)
        for t in tokens:
            logits = x[row, t] @ router
            chosen, scores, p = naive_choice(layer, logits)
            mass += p
            z += np.log(np.exp(logits).sum()) ** 2
            total = scores[chosen].sum() if layer.normalize_gates else 1.0
            for e in chosen:
                counts[e] += 1
                if capacity is not None and taken[e] >= capacity:
                    drops += 1
                    continue
                taken[e] += 1
                h = silu(x[row, t] @ gate[e]) * (x[row, t] @ up[e])
                y[row, t] += layer.routed_scale * scores[e] / total * (h @ down[e])
        choices += counts.sum()
        if tokens:
            mean = mass / len(tokens)
            if layer.router_type == "soft":
                counts = mass * layer.num_experts
            share = counts / (len(tokens) * layer.num_experts_per_tok)
            balance += len(tokens) * layer.num_experts * np.sum(share * mean)
            uneven += len(tokens) * (np.log(layer.num_experts) + np.sum(mean * np.log(mean + 1e-30)))
    num_tokens = (segment_ids > 0).sum()
    aux = layer.aux_loss_weight * balance + layer.router_z_loss_weight * z
    aux = (aux + layer.load_entropy_weight * uneven) / num_tokens
    return y, 0.0 if layer.router_type == "hash" else aux, drops / choices


@pytest.mark.slow
@pytest.mark.parametrize("dispatch", ["auto", "capacity"] if IS_TENSORFLOW else ["auto"])
@pytest.mark.parametrize("router", ROUTERS)
def test_the_layer_passes_the_battery(router, dispatch):
    init = {**INIT, **ROUTERS[router], "dispatch": dispatch}
    battery.check_build_leaves_config(MoELayer, init, INPUTS)
    battery.check_output_form(MoELayer, init, INPUTS)
    battery.check_inference_is_deterministic(MoELayer, init, INPUTS)
    battery.check_gradients(MoELayer, init, INPUTS)
    battery.check_causality(MoELayer, init, INPUTS)
    battery.check_batch_mates(MoELayer, init, INPUTS)
    battery.check_sizes(MoELayer, init, INPUTS)
    battery.check_compiled_forms(MoELayer, init, INPUTS)  # of "auto": sorted in the graph, static under XLA


def test_every_argument_survives_the_config():
    battery.check_config(MoELayer, {**INIT, "router": SigmoidRouter(**GROUPED)})


class LastExperts(TopKRouter):
    """A router of one's own: prefers the last experts, whatever the token."""

    name = "last"

    def preferences(self, logits, scores):
        return ops.zeros_like(logits) + ops.arange(logits.shape[-1], dtype="float32")


def test_a_router_of_ones_own_chooses_the_experts():
    layer = MoELayer(4, 8, router=LastExperts(num_experts_per_tok=1, normalize_gates=False))
    layer.build(X.shape)
    assert layer.router_type == "last" and layer.num_experts_per_tok == 1
    before = ops.convert_to_numpy(layer(X)[0])
    kernel = ops.convert_to_numpy(layer.experts.down_kernel).copy()
    kernel[:3] = 0  # experts that no token passes
    layer.experts.down_kernel.assign(kernel)
    np.testing.assert_array_equal(ops.convert_to_numpy(layer(X)[0]), before)
    kernel[3] = 0
    layer.experts.down_kernel.assign(kernel)
    assert not ops.convert_to_numpy(layer(X)[0]).any()


def test_a_router_object_equals_its_name():
    layers = [
        MoELayer(6, 12, router=SigmoidRouter(**GROUPED)),
        MoELayer(6, 12, router_type="sigmoid", **GROUPED),
    ]
    for layer in layers:
        layer.build(X.shape)
    layers[1].set_weights(layers[0].get_weights())
    np.testing.assert_array_equal(*(ops.convert_to_numpy(layer(X)[0]) for layer in layers))


@pytest.mark.parametrize("router", ["causal_expert_choice", "sigmoid"])
def test_the_names_of_the_state_are_those_of_the_weights(router):
    layer = layer_of("auto", router)
    assert [v.path.split("/")[-1] for v in layer.non_trainable_variables] == ["expert_bias"]


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


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("router", ROUTERS)
def test_output_and_losses_equal_the_naive_loop(router, normalize):
    layer = layer_of("auto", router, normalize_gates=normalize, num_shared_experts=2 * normalize)
    output, aux_loss, metrics = layer(X, segment_ids=SEGMENTS, return_metrics=True)
    expected, aux, _ = naive_moe(layer, X, SEGMENTS)
    np.testing.assert_allclose(ops.convert_to_numpy(output), expected, atol=1e-5)
    assert float(aux_loss) == pytest.approx(aux, rel=1e-5)
    assert float(metrics["drop_fraction"]) == 0


@pytest.mark.parametrize("router", ["top_k", "sigmoid", "hash", "causal_expert_choice"])
@pytest.mark.parametrize("factor", [0.4, 9.0])
def test_a_full_expert_drops_the_later_tokens_of_a_row(router, factor):
    layer = layer_of("auto", router, capacity_factor=factor)
    output, _, metrics = layer(X, segment_ids=SEGMENTS, training=True, return_metrics=True)
    capacity = min(11, int(np.ceil(factor * 11 * 3 / 6)))
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
@pytest.mark.parametrize("router", ROUTERS)
def test_both_dispatches_have_equal_outputs_and_gradients(router, factor):
    if router == "soft" and factor:
        return  # has no capacity
    one, other = (layer_of(dispatch, router, capacity_factor=factor) for dispatch in ("sorted", "capacity"))
    other.set_weights(one.get_weights())
    target = RNG.normal(size=X.shape).astype("float32")

    def loss(layer):
        def function(x, *values):
            state = list(zip(layer.trainable_variables, values, strict=True))
            with keras.StatelessScope(state_mapping=state):
                output, aux_loss = layer(x, segment_ids=SEGMENTS, training=True)
            return ops.sum(output * target) + aux_loss

        return function

    arrays = [X, *map(ops.convert_to_numpy, one.trainable_variables)]
    for ours, theirs in zip(
        value_and_gradients(loss(one), *arrays)[1], value_and_gradients(loss(other), *arrays)[1], strict=True
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_auto_is_sorted_in_a_graph_and_static_under_xla(monkeypatch):
    layer = layer_of("auto")
    taken = []
    experts = layer.experts.call
    monkeypatch.setattr(
        layer.experts,
        "call",
        lambda x, ids, positions=None, capacity=None: (
            taken.append("sorted" if positions is None else "capacity"),
            experts(x, ids, positions, capacity),
        )[1],
    )
    forms = compiled_forms(lambda x: layer(x)[0])
    for form, compiled in forms.items():
        taken.clear()
        compiled(X)
        assert set(taken) == {"sorted" if form == "graph" else "capacity"}


@pytest.mark.parametrize("router", ["top_k", "sigmoid", "soft", "causal_expert_choice"])
def test_losses_add_up_over_rows(router):
    layer = layer_of("auto", router)
    whole = float(layer(X, segment_ids=SEGMENTS)[1])
    tokens = (SEGMENTS > 0).sum(1)
    parts = [float(layer(X[r : r + 1], segment_ids=SEGMENTS[r : r + 1])[1]) for r in range(3)]
    assert whole == pytest.approx(np.dot(tokens, parts) / tokens.sum(), rel=1e-6)


@pytest.mark.parametrize("dispatch", DISPATCHES)
@pytest.mark.parametrize("router", ["sigmoid", "causal_expert_choice"])
def test_padding_takes_no_capacity_and_no_part_in_losses_or_metrics(router, dispatch):
    layer = layer_of(dispatch, router, capacity_factor=0.6)
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


@pytest.mark.parametrize("router", ROUTERS)
def test_a_batch_of_padding_alone_is_finite(router):
    output, aux_loss, metrics = layer_of("auto", router)(X, segment_ids=0 * SEGMENTS, return_metrics=True)
    assert np.isfinite(ops.convert_to_numpy(output)).all() and float(aux_loss) == 0
    assert all(np.isfinite(float(value)) for value in metrics.values())


@pytest.mark.parametrize(
    "winners, entropy, max_load",
    [
        ([[0, 1], [2, 3], [0, 1], [2, 3]], 1.0, 1.0),
        ([[0, 1], [0, 1], [0, 1], [0, 1]], 0.5, 2.0),
    ],
)
def test_load_metrics_have_their_closed_forms(winners, entropy, max_load):
    logits = np.full((1, 4, 4), -9.0, "float32")
    for token, experts in enumerate(winners):
        logits[0, token, experts] = 9.0
    metrics = route(logits, np.ones((1, 4), "float32"), TopKRouter(), LossWeights()).metrics
    assert float(metrics["load_entropy"]) == pytest.approx(entropy, abs=1e-5)
    assert float(metrics["max_load"]) == pytest.approx(max_load, abs=1e-5)
    assert float(metrics["token_entropy"]) == pytest.approx(0.5, abs=1e-5)  # log 2 over log 4


def test_experts_quantize_to_int8_and_stay_close():
    layer = layer_of("auto")
    exact = ops.convert_to_numpy(layer(X)[0])
    layer.experts.quantize("int8")
    rounded = ops.convert_to_numpy(layer(X)[0])
    assert {str(v.dtype) for v in layer.experts.weights} == {"int8", "float32"}
    assert 0 < np.abs(rounded - exact).mean() < 0.02 * np.abs(exact).mean()


@pytest.mark.parametrize(
    "arguments, words",
    [
        (
            {"router_type": "expert_choice"},
            'a causal model refuses it; take "causal_expert_choice" or "top_k',
        ),
        (
            {"router_type": "random"},
            "one of top_k, sigmoid, hash, soft, causal_expert_choice; received 'random'",
        ),
        ({"router_type": "soft"}, "every token to every expert: give num_experts_per_tok=8"),
        ({"router_type": "soft", "num_experts_per_tok": 8, "capacity_factor": 1.0}, "received 8 and 1.0"),
        (
            {"router_type": "hash", "num_expert_groups": 2, "num_groups_per_tok": 2},
            "needs a router of top_k, ",
        ),
        ({"num_expert_groups": 3}, "`num_expert_groups` must divide num_experts=8; received 3"),
        ({"num_expert_groups": 2, "num_groups_per_tok": 3}, "between 1 and num_expert_groups=2; received 3"),
        (
            {"num_expert_groups": 4, "num_experts_per_tok": 3},
            "at most the 2 experts of num_groups_per_tok=1 gro",
        ),
        ({"routed_scale": 0.0}, "`routed_scale` must be above 0; received 0"),
        ({"bias_update_rate": -1.0}, "`bias_update_rate` must not be negative; received -1.0"),
        ({"num_experts": 4, "num_experts_per_tok": 5}, "`num_experts_per_tok` must be between 1 and num_exp"),
        ({"capacity_factor": 0.0}, "`capacity_factor` must be above 0; received 0.0"),
        ({"expert_dim": 0}, "`expert_dim` must be at least 1"),
        ({"num_shared_experts": -1}, "`num_shared_experts` must not be negative; received -1"),
        ({"router": "top_k"}, "`router` must be a Router; received 'top_k'"),
        (
            {"router": TopKRouter(3), "num_experts_per_tok": 4},
            "`num_experts_per_tok` must be given to `router`, whose value is 3",
        ),
        ({"dispatch": "fast"}, "`dispatch` must be one of auto, sorted, capacity; received 'fast'"),
    ],
)
def test_bad_arguments_are_named(arguments, words):
    with pytest.raises(ValueError, match=words):
        MoELayer(**arguments)


@pytest.mark.skipif(IS_TENSORFLOW, reason="the refusal is of every other backend")
def test_sorted_dispatch_is_refused_outside_tensorflow():
    with pytest.raises(ValueError, match="runs under TensorFlow alone"):
        MoELayer(dispatch="sorted")
