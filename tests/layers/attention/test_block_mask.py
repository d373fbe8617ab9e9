"""Block diffusion in attention: the mask, its gradients in chunks, and decoding with a cache."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from highnoon.layers import CausalSelfAttention, LatentAttention
from highnoon.layers.attention.block_mask import BlockStep, block_ids, may_see
from highnoon.layers.attention.blockwise_attention import causal_attention

WIDTH = 16


def published_mask(length, block_length):
    """`block_diff_mask` of the paper, in words: i and j are indices of [noisy; clean], blocks from 0."""
    index = np.arange(2 * length)
    is_clean, block = index >= length, index % length // block_length
    same = (block[:, None] == block[None, :]) & (is_clean[:, None] == is_clean[None, :])
    offset = (block[:, None] > block[None, :]) & ~is_clean[:, None] & is_clean[None, :]
    clean = (block[:, None] >= block[None, :]) & is_clean[:, None] & is_clean[None, :]
    return same | offset | clean


def ids_of(length, block_length):
    """Ids of [noisy; clean], positions 1 .. length in both halves."""
    positions = np.arange(1, length + 1)
    halves = [block_ids(positions, block_length, is_noisy=noisy) for noisy in (True, False)]
    return np.concatenate(halves).astype("int32"), np.concatenate([positions, positions]).astype("int32")


@pytest.mark.parametrize("block_length", [1, 2, 4, 5])
def test_the_mask_is_the_published_one(block_length):
    ids, _ = ids_of(8, block_length)
    assert np.array_equal(may_see(ids[:, None], ids[None, :]), published_mask(8, block_length))


def test_the_first_token_is_a_block_that_every_noisy_token_sees():
    clean = block_ids(np.array([0]), 4, is_noisy=False)
    noisy = block_ids(np.arange(1, 9), 4, is_noisy=True)
    assert may_see(noisy, clean).all() and not may_see(clean, noisy).any()


def dense(query, key, value, mask, softcap):
    """Attention without chunks: (b, t, g, r, k), (b, s, g, k), mask (b, t, s)."""
    scores = tf.einsum("btgrk,bsgk->bgrts", query, key) * query.shape[-1] ** -0.5
    if softcap is not None:
        scores = softcap * tf.tanh(scores / softcap)
    scores = tf.where(mask[:, None, None], scores, -1e30)
    return tf.einsum("bgrts,bsgv->btgrv", tf.nn.softmax(scores), value)


@pytest.mark.parametrize("chunk_length", [3, 32, None])
@pytest.mark.parametrize(("window", "softcap"), [(None, None), (3, None), (None, 2.0)])
def test_chunks_give_output_and_gradients_of_a_dense_mask(chunk_length, window, softcap):
    rng, length = np.random.default_rng(0), 7
    ids, positions = ids_of(length, 3)
    block, place = np.stack([ids, ids]), np.stack([positions, positions])
    segments = np.tile([1, 1, 1, 1, 2, 2, 2], (2, 2))
    mask = may_see(block[:, :, None], block[:, None]) & (segments[:, :, None] == segments[:, None])
    if window is not None:
        mask &= place[:, :, None] - place[:, None] < window
    shapes = [(2, 2 * length, 2, 2, 4), (2, 2 * length, 2, 4), (2, 2 * length, 2, 6)]
    inputs = [tf.constant(rng.normal(size=shape), tf.float32) for shape in shapes]
    target = tf.constant(rng.normal(size=(2, 2 * length, 2, 2, 6)), tf.float32)
    results = []
    for attend in (
        lambda *x: dense(*x, mask, softcap),
        lambda *x: causal_attention(
            *x, segments, chunk_length, window, None, softcap, tf.constant(block), tf.constant(place)
        ),
    ):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            output = attend(*inputs)
            loss = tf.reduce_sum(output * target)
        results.append([output, *tape.gradient(loss, inputs)])
    for expected, actual in zip(*results, strict=True):
        np.testing.assert_allclose(actual, expected, atol=2e-5)


def test_long_rows_recompute_their_weights_with_the_same_gradients():
    rng, length = np.random.default_rng(0), 520
    ids, positions = ids_of(length, 16)
    inputs = [
        tf.constant(rng.normal(size=shape), tf.float32) for shape in [(1, 1040, 1, 1, 2), (1, 1040, 1, 2)]
    ]
    gradients = []
    for keeps in (False, True):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            if keeps:
                mask = may_see(ids[:, None], ids[None, :])[None]
                output = dense(*inputs, inputs[1], mask, None)
            else:
                output = causal_attention(*inputs, inputs[1], block_ids=tf.constant(ids[None]))
            loss = tf.reduce_sum(output**2)
        gradients.append(tape.gradient(loss, inputs))
    for one, other in zip(*gradients, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def make_layer(kind):
    if kind == "latent":
        layer = LatentAttention(
            2, kv_lora_rank=8, qk_nope_head_dim=4, qk_rope_head_dim=4, v_head_dim=4, rope_interleaved=False
        )
    else:
        layer = CausalSelfAttention(2, 1, window=5 if kind == "window" else None)
    layer.build((None, None, WIDTH))
    return layer


def full_pass(layer, clean, noisy, block_length):
    """[noisy; clean] at once: clean (b, t, d) at positions 0 .. t-1, noisy (b, n, d) from position 1 on."""
    places = [np.arange(1, noisy.shape[1] + 1), np.arange(clean.shape[1])]
    ids = np.concatenate(
        [block_ids(place, block_length, is_noisy=half == 0) for half, place in enumerate(places)]
    )
    x = np.concatenate([noisy, clean], axis=1)
    rows = np.ones((len(x), 1), "int32")
    return ops.convert_to_numpy(
        layer(
            x,
            positions=(rows * np.concatenate(places)).astype("int32"),
            block_ids=(rows * ids).astype("int32"),
        )
    )


@pytest.mark.parametrize("kind", ["grouped", "window", "latent"])
@pytest.mark.parametrize("block_length", [1, 4])
def test_steps_over_a_cache_equal_the_full_pass(kind, block_length):
    rng, layer, padding = np.random.default_rng(0), make_layer(kind), np.array([0, 4], "int32")
    clean, noisy = rng.normal(size=(2, 9, WIDTH)), rng.normal(size=(2, 8, WIDTH))
    clean, noisy = clean.astype("float32"), noisy.astype("float32")
    expected = full_pass(layer, clean, noisy, block_length)
    # The second row has four slots of padding at its front and four tokens fewer.
    rows = np.stack([clean[0], np.concatenate([np.zeros((4, WIDTH), "float32"), clean[1, :5]])])
    noisy_rows = np.stack([noisy[0], np.concatenate([np.zeros((4, WIDTH), "float32"), noisy[1, :4]])])
    cache = layer.initial_cache(2, 12)
    outputs, noisy_outputs, start = [], [], 0
    for size in (5, 4):
        end = start + size
        y, cache = layer.step(rows[:, start:end], cache, start, padding, blocks=BlockStep(block_length))
        outputs.append(ops.convert_to_numpy(y))
        start = end
    noisy_step = BlockStep(block_length, is_noisy=True)
    before = {name: ops.convert_to_numpy(array) for name, array in cache.items()}
    for begin in (1, 5):
        y, cache = layer.step(noisy_rows[:, begin - 1 : begin + 3], cache, begin, padding, blocks=noisy_step)
        noisy_outputs.append(ops.convert_to_numpy(y))
    for name, array in before.items():
        assert np.array_equal(array, ops.convert_to_numpy(cache[name])), "a noisy copy must not be stored"
    y, noisy_y = np.concatenate(outputs, axis=1), np.concatenate(noisy_outputs, axis=1)
    np.testing.assert_allclose(y[0], expected[0, 8:], atol=1e-5)
    np.testing.assert_allclose(y[1, 4:], expected[1, 8:13], atol=1e-5)
    np.testing.assert_allclose(noisy_y[0], expected[0, :8], atol=1e-5)
    np.testing.assert_allclose(noisy_y[1, 4:], expected[1, :4], atol=1e-5)


@pytest.mark.parametrize("kind", ["grouped", "window", "latent"])
def test_a_block_may_begin_after_any_token_and_sees_no_slot_after_the_stored_ones(kind):
    rng, layer, padding = np.random.default_rng(0), make_layer(kind), np.array([0, 2], "int32")
    clean = rng.normal(size=(2, 8, WIDTH)).astype("float32")
    noisy = rng.normal(size=(2, 4, WIDTH)).astype("float32")
    cache = layer.initial_cache(2, 12)
    # Slots 6 and 7 hold tokens that were drafted and refused.
    _, cache = layer.step(clean, cache, 0, padding)
    found, _ = layer.step(noisy, cache, 6, padding, blocks=BlockStep(4, is_noisy=True, begins_here=True))
    for row, first in enumerate(padding.tolist()):
        places = np.concatenate([np.arange(6, 10), np.arange(first, 6)]) - first
        order = np.concatenate([np.full(4, 2 * 6 - 1), 2 * np.arange(first, 6)])
        x = np.concatenate([noisy[row], clean[row, first:6]])
        expected = layer(
            x[None], positions=places[None].astype("int32"), block_ids=order[None].astype("int32")
        )
        np.testing.assert_allclose(found[row], ops.convert_to_numpy(expected)[0, :4], atol=1e-5)
