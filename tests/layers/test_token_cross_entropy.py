"""The chunked loss against the naive one."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from highnoon.layers import token_cross_entropy
from highnoon.testing.gradients import value_and_gradients

RNG = np.random.default_rng(0)
HIDDEN = RNG.normal(size=(37, 8)).astype("float32")
KERNEL = RNG.normal(size=(50, 8)).astype("float32")
LABELS = RNG.integers(0, 50, 37)
WEIGHTS = (RNG.random(37) * (RNG.random(37) > 0.3)).astype("float32")


def naive(hidden, kernel, softcap=None):
    logits = ops.matmul(hidden, ops.transpose(kernel))
    logits = logits if softcap is None else softcap * ops.tanh(logits / softcap)
    losses = keras.losses.sparse_categorical_crossentropy(LABELS, logits, from_logits=True)
    return ops.sum(WEIGHTS * losses)


@pytest.mark.parametrize("chunk_tokens", [1, 10, 37, None])
def test_loss_and_gradients_equal_the_naive_ones(chunk_tokens):
    expected, gradients = value_and_gradients(naive, HIDDEN, KERNEL)
    value, ours = value_and_gradients(
        lambda hidden, kernel: token_cross_entropy(hidden, kernel, LABELS, WEIGHTS, chunk_tokens),
        HIDDEN,
        KERNEL,
        compiled=chunk_tokens == 10,
    )
    assert value == pytest.approx(expected, rel=1e-5)
    for ours_one, theirs in zip(ours, gradients, strict=True):
        np.testing.assert_allclose(ours_one, theirs, atol=1e-5)


@pytest.mark.parametrize("chunk_tokens", [10, None])
def test_loss_and_gradients_of_capped_logits_equal_the_naive_ones(chunk_tokens):
    expected, gradients = value_and_gradients(lambda h, k: naive(h, k, 2.5), HIDDEN, KERNEL)
    assert abs(expected - float(naive(HIDDEN, KERNEL))) > 0.1
    value, ours = value_and_gradients(
        lambda h, k: token_cross_entropy(h, k, LABELS, WEIGHTS, chunk_tokens, softcap=2.5), HIDDEN, KERNEL
    )
    assert value == pytest.approx(expected, rel=1e-5)
    for ours_one, theirs in zip(ours, gradients, strict=True):
        np.testing.assert_allclose(ours_one, theirs, atol=1e-5)
    loss = token_cross_entropy(HIDDEN, KERNEL, LABELS, WEIGHTS, chunk_tokens, training=False, softcap=2.5)
    assert float(loss) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("softcap", [None, 2.5])
def test_an_excluded_id_has_no_probability_and_no_gradient(softcap):
    kept, labels = np.arange(49), np.minimum(LABELS, 48)  # the last of 50 ids is no label

    def reduced(hidden, kernel):
        logits = ops.matmul(hidden, ops.transpose(kernel))[:, :49]
        logits = logits if softcap is None else softcap * ops.tanh(logits / softcap)
        losses = keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
        return ops.sum(WEIGHTS * losses)

    options = {"softcap": softcap, "excluded_id": 49}
    expected, gradients = value_and_gradients(reduced, HIDDEN, KERNEL)
    value, ours = value_and_gradients(
        lambda h, k: token_cross_entropy(h, k, labels, WEIGHTS, 10, **options), HIDDEN, KERNEL
    )
    assert value == pytest.approx(expected, rel=1e-5)
    for ours_one, theirs in zip(ours, gradients, strict=True):
        np.testing.assert_allclose(ours_one, theirs, atol=1e-5)
    assert not np.any(ours[1][49]) and np.any(ours[1][kept])
    loss = token_cross_entropy(HIDDEN, KERNEL, labels, WEIGHTS, 10, training=False, **options)
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_the_gradient_scales_with_what_comes_from_above():
    _, once = value_and_gradients(lambda h, k: token_cross_entropy(h, k, LABELS, WEIGHTS, 10), HIDDEN, KERNEL)
    _, thrice = value_and_gradients(
        lambda h, k: 3 * token_cross_entropy(h, k, LABELS, WEIGHTS, 10), HIDDEN, KERNEL
    )
    for one, three in zip(once, thrice, strict=True):
        np.testing.assert_allclose(3 * one, three, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("chunk_tokens", "softcap"), [(10, None), (None, None), (10, 2.5)])
@pytest.mark.parametrize("compiled", [False, True])
def test_the_losses_of_tokens_are_the_naive_ones_and_change_no_gradient(chunk_tokens, softcap, compiled):
    logits = ops.matmul(HIDDEN, KERNEL.T)
    logits = logits if softcap is None else softcap * ops.tanh(logits / softcap)
    expected = keras.losses.sparse_categorical_crossentropy(LABELS, logits, from_logits=True)
    options = {"chunk_tokens": chunk_tokens, "softcap": softcap}
    for training in (True, False):
        loss, losses = token_cross_entropy(
            HIDDEN, KERNEL, LABELS, WEIGHTS, training=training, return_losses=True, **options
        )
        np.testing.assert_allclose(losses, expected, atol=1e-5)
        assert float(loss) == float(
            token_cross_entropy(HIDDEN, KERNEL, LABELS, WEIGHTS, training=training, **options)
        )

    def with_losses(hidden, kernel):
        loss, losses = token_cross_entropy(hidden, kernel, LABELS, WEIGHTS, return_losses=True, **options)
        return loss + 100.0 * ops.sum(losses)

    def without(hidden, kernel):
        return token_cross_entropy(hidden, kernel, LABELS, WEIGHTS, **options)

    _, gradients = value_and_gradients(without, HIDDEN, KERNEL, compiled=compiled)
    _, ours = value_and_gradients(with_losses, HIDDEN, KERNEL, compiled=compiled)
    for ours_one, theirs in zip(ours, gradients, strict=True):
        np.testing.assert_allclose(ours_one, theirs, atol=1e-6)


def test_without_training_the_loss_is_the_same():
    loss = token_cross_entropy(HIDDEN, KERNEL, LABELS, WEIGHTS, 10, training=False)
    assert float(loss) == pytest.approx(float(naive(HIDDEN, KERNEL)), rel=1e-5)


def test_logits_are_float32_under_half_precision():
    hidden = ops.cast(HIDDEN, "bfloat16")
    expected = float(naive(ops.cast(hidden, "float32"), KERNEL))
    loss = token_cross_entropy(hidden, KERNEL, LABELS, WEIGHTS, 10)
    assert float(loss) == pytest.approx(expected, rel=1e-5)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only TensorFlow traces unknown sizes")
def test_a_graph_takes_any_number_of_tokens():
    import tensorflow as tf

    specs = [tf.TensorSpec((None, 8)), tf.TensorSpec((None,), tf.int64), tf.TensorSpec((None,))]

    @tf.function(input_signature=specs)
    def loss_and_gradient(hidden, labels, weights):
        with tf.GradientTape() as tape:
            tape.watch(hidden)
            loss = token_cross_entropy(hidden, KERNEL, labels, weights, 10)
        return loss, tape.gradient(loss, hidden)

    _, (expected, _) = value_and_gradients(naive, HIDDEN, KERNEL)
    for count in (37, 20, 3, 1):
        loss, gradient = loss_and_gradient(HIDDEN[:count], LABELS[:count], WEIGHTS[:count])
        np.testing.assert_allclose(gradient, expected[:count], atol=1e-5)
        assert np.isfinite(loss)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="reads the shapes of TensorFlow's graph")
@pytest.mark.parametrize("chunk_tokens, is_whole", [(10, False), (37, True)])
def test_no_tensor_holds_tokens_by_vocabulary_unless_one_chunk_does(chunk_tokens, is_whole):
    import tensorflow as tf

    @tf.function
    def gradient(hidden):
        with tf.GradientTape() as tape:
            tape.watch(hidden)
            loss = token_cross_entropy(hidden, KERNEL, LABELS, WEIGHTS, chunk_tokens)
        return tape.gradient(loss, hidden)

    definition = gradient.get_concrete_function(tf.TensorSpec((37, 8))).graph.as_graph_def(add_shapes=True)
    nodes = [*definition.node, *(node for f in definition.library.function for node in f.node_def)]
    shapes = [shape for node in nodes for shape in node.attr["_output_shapes"].list.shape]
    with_vocabulary = [
        [axis.size for axis in shape.dim] for shape in shapes if 50 in [axis.size for axis in shape.dim]
    ]
    assert ([37, 50] in with_vocabulary) == is_whole
    assert [10, 50] in with_vocabulary or is_whole
