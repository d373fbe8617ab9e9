"""Attention against a naive loop, whole and in chunks."""

from __future__ import annotations

import numpy as np
import pytest
from keras import ops

from highnoon.layers import CausalSelfAttention
from highnoon.layers.attention.blockwise_attention import cached_attention, causal_attention
from highnoon.testing.check_layer import check_layer
from highnoon.testing.check_mixer import check_mixer
from highnoon.testing.gradients import value_and_gradients

INIT = {
    "num_heads": 4,
    "num_kv_heads": 2,
    "head_dim": 6,
    "qk_norm": True,
    "norm_epsilon": 1e-3,
    "window": 3,
    "rope_theta": 500.0,
    "rope_scaling": {"rope_type": "linear", "factor": 2.0},
    "dropout": 0.5,
    "chunk_length": 4,
    "kernel_initializer": "random_normal",
    "output_initializer": "he_normal",
    "use_rotary": True,
    "qkv_bias": True,
    "output_bias": True,
    "softmax_scale": 0.7,
    "softcap": 2.0,
}
RNG = np.random.default_rng(0)
INPUTS = {"x": RNG.normal(size=(3, 11, 16)).astype("float32")}
SEGMENTS = np.array([[1] * 4 + [2] * 5 + [0] * 2, [1] * 11, [1] * 1 + [2] * 9 + [3] * 1], "int32")


def naive_attention(query, key, value, segment_ids, window=99, scale=None, softcap=None):
    """One target at a time."""
    out = np.zeros_like(query)
    for b, t, g, r in np.ndindex(*query.shape[:4]):
        first = max(0, t - window + 1)
        seen = [s for s in range(first, t + 1) if segment_ids[b, s] == segment_ids[b, t]]
        scores = np.array([query[b, t, g, r] @ key[b, s, g] for s in seen])
        scores = scores / np.sqrt(query.shape[-1]) if scale is None else scores * scale
        scores = scores if softcap is None else softcap * np.tanh(scores / softcap)
        weights = np.exp(scores - scores.max())
        out[b, t, g, r] = (weights / weights.sum()) @ value[b, seen, g]
    return out


def heads(length=11):
    shapes = ((3, length, 2, 2, 8), (3, length, 2, 8), (3, length, 2, 8))
    return [RNG.normal(size=shape).astype("float32") for shape in shapes]


def test_the_layer_passes_the_battery():
    check_layer(CausalSelfAttention, INIT, INPUTS, fixed=("use_rotary",))


@pytest.mark.parametrize("window", [pytest.param(None, marks=pytest.mark.slow), 3])
def test_the_layer_keeps_the_mixer_protocol(window):
    mixer = CausalSelfAttention(num_heads=4, num_kv_heads=2, chunk_length=4, window=window, qk_norm=True)
    check_mixer(mixer, width=16)


@pytest.mark.parametrize("window", [None, 1, 3, 6])
@pytest.mark.parametrize("chunk_length", [1, 4, 5, 100])
def test_every_chunk_length_equals_the_naive_loop(chunk_length, window):
    query, key, value = heads()
    y = ops.convert_to_numpy(causal_attention(query, key, value, SEGMENTS, chunk_length, window))
    np.testing.assert_allclose(y, naive_attention(query, key, value, SEGMENTS, window or 99), atol=1e-5)


@pytest.mark.parametrize("chunk_length", [4, 100])
def test_scale_and_cap_of_scores_equal_the_naive_loop(chunk_length):
    query, key, value = heads()
    expected = naive_attention(query, key, value, SEGMENTS, 6, scale=0.9, softcap=1.5)
    assert np.abs(expected - naive_attention(query, key, value, SEGMENTS, 6, scale=0.9)).max() > 0.1
    y = causal_attention(query, key, value, SEGMENTS, chunk_length, 6, 0.9, 1.5)
    np.testing.assert_allclose(ops.convert_to_numpy(y), expected, atol=1e-5)
    cache = [np.swapaxes(array, 1, 2) for array in (key, value)]
    y = cached_attention(query[:, 7:], *cache, np.int32(7), None, chunk_length, 6, 0.9, 1.5)
    expected = naive_attention(query, key, value, np.ones_like(SEGMENTS), 6, scale=0.9, softcap=1.5)
    np.testing.assert_allclose(ops.convert_to_numpy(y), expected[:, 7:], atol=1e-5)


@pytest.mark.parametrize("length", [11, 1030])
def test_gradients_of_capped_scores_are_those_of_the_formula(length):
    """Beyond 1,024 positions the weights are recomputed."""
    shapes = ((1, length, 1, 2, 4), (1, length, 1, 4), (1, length, 1, 4))
    arrays = [RNG.normal(size=shape).astype("float32") for shape in shapes]
    target = RNG.normal(size=shapes[0]).astype("float32")
    seen = np.tril(np.ones((length, length), bool))

    def formula(query, key, value):
        scores = 1.5 * ops.tanh(ops.einsum("btgrk,bsgk->bgrts", query, key) * 0.9 / 1.5)
        weights = ops.softmax(ops.where(seen, scores, -1e30), axis=-1)
        return ops.sum(target * ops.einsum("bgrts,bsgk->btgrk", weights, value))

    expected, gradients = value_and_gradients(formula, *arrays)
    value, ours = value_and_gradients(
        lambda *qkv: ops.sum(target * causal_attention(*qkv, scale=0.9, softcap=1.5)), *arrays
    )
    assert value == pytest.approx(expected, rel=1e-4, abs=1e-3)
    for one, other in zip(ours, gradients, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-4)


def test_without_rotation_positions_have_no_effect():
    layer = CausalSelfAttention(num_heads=2, use_rotary=False)
    plain = ops.convert_to_numpy(layer(INPUTS["x"]))
    shifted = layer(INPUTS["x"], positions=np.arange(11) * 7)
    np.testing.assert_array_equal(ops.convert_to_numpy(shifted), plain)


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("segments, window", [(None, None), (SEGMENTS, None), (SEGMENTS, 2), (None, 6)])
def test_chunked_gradients_equal_those_of_the_whole_form(segments, window, compiled):
    arrays = heads()
    target = RNG.normal(size=arrays[0].shape).astype("float32")

    def loss(chunk_length):
        return lambda *qkv: ops.sum(target * causal_attention(*qkv, segments, chunk_length, window))

    whole, expected = value_and_gradients(loss(100), *arrays)
    value, gradients = value_and_gradients(loss(4), *arrays, compiled=compiled)
    assert value == pytest.approx(whole, rel=1e-5)
    for ours, theirs in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_chunks_keep_the_dtype_of_their_inputs():
    arrays = [ops.cast(array, "bfloat16") for array in heads()]
    y = causal_attention(*arrays, None, 4)
    whole = causal_attention(*arrays, None, 100)
    assert y.dtype == whole.dtype
    np.testing.assert_allclose(*(ops.convert_to_numpy(ops.cast(a, "float32")) for a in (y, whole)), atol=0.03)


def test_padding_gives_finite_outputs_and_gradients():
    layer = CausalSelfAttention(4, chunk_length=4)
    x = INPUTS["x"].copy()
    x[0, 9:] = 1e4
    layer(x)

    def loss(x):
        return ops.sum(ops.square(layer(x, segment_ids=SEGMENTS)))

    value, (gradient,) = value_and_gradients(loss, x)
    assert np.isfinite(value) and np.isfinite(gradient).all()


def test_what_stands_at_padding_changes_no_real_token():
    layer = CausalSelfAttention(4)
    changed = INPUTS["x"].copy()
    changed[0, 9:] = 100.0
    ours, theirs = (ops.convert_to_numpy(layer(x, segment_ids=SEGMENTS)) for x in (changed, INPUTS["x"]))
    np.testing.assert_array_equal(ours[0, :9], theirs[0, :9])
    np.testing.assert_array_equal(ours[1:], theirs[1:])


def test_a_chunked_prefill_equals_one_of_a_single_chunk():
    query, key, value = heads(8)
    key, value = (np.concatenate([a, np.full_like(a[:, :3], 9.0)], 1) for a in (key, value))
    key, value = (np.swapaxes(a, 1, 2) for a in (key, value))  # as a cache lies
    first = np.array([0, 3, 1], "int32")
    whole, chunked = (
        ops.convert_to_numpy(cached_attention(query, key, value, 0, first, n)) for n in (100, 3)
    )
    np.testing.assert_allclose(chunked[:, 3:], whole[:, 3:], atol=1e-6)


def test_dropout_acts_while_training_and_moves_its_seed():
    layer = CausalSelfAttention(4, dropout=0.5)
    first, second = (ops.convert_to_numpy(layer(INPUTS["x"], training=True)) for _ in range(2))
    assert 0.3 < np.mean(first == 0) < 0.7
    assert (first != second).any()


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"num_heads": 3, "num_kv_heads": 2}, "`num_heads` must be a multiple of num_kv_heads=2; received 3"),
        (
            {"num_heads": 2, "head_dim": 5},
            "`head_dim` must be even, since positions rotate pairs; received 5",
        ),
        ({"num_heads": 2, "window": 0}, "`window` must be at least 1; received 0"),
        ({"num_heads": 2, "dropout": 1.0}, r"`dropout` must be in \[0, 1\); received 1.0"),
        ({"num_heads": 2, "chunk_length": 0}, "`chunk_length` must be at least 1; received 0"),
    ],
)
def test_bad_arguments_are_named(arguments, words):
    with pytest.raises(ValueError, match=words):
        CausalSelfAttention(**arguments)


def test_a_width_that_heads_do_not_divide_is_named():
    with pytest.raises(ValueError, match="num_heads=10, or set `head_dim`; received 16"):
        CausalSelfAttention(5)(INPUTS["x"])
