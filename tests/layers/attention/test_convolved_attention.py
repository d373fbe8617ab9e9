"""Attention after a convolution of queries, keys and values."""

import keras
import numpy as np
import pytest

from highnoon.layers import CausalSelfAttention, ConvolvedAttention
from highnoon.testing.check_mixer import check_mixer


@pytest.mark.slow
def test_it_keeps_the_mixer_protocol():
    check_mixer(ConvolvedAttention(4, num_kv_heads=2, conv_kernel_size=3, qk_norm=True), width=16)


def test_every_argument_survives_the_configuration():
    config = ConvolvedAttention(4, conv_kernel_size=2, num_kv_heads=2, window=5).get_config()
    assert (config["conv_kernel_size"], config["num_kv_heads"], config["window"]) == (2, 2, 5)
    assert ConvolvedAttention.from_config(config).get_config() == config


def test_a_kernel_of_the_token_alone_is_causal_self_attention():
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(2, 7, 16)).astype("float32")
    convolved, plain = ConvolvedAttention(4, num_kv_heads=2), CausalSelfAttention(4, num_kv_heads=2)
    convolved(x), plain(x)
    kernel = np.zeros((4, 32), "float32")
    kernel[-1] = 1.0
    convolved.conv1d.kernel.assign(kernel)
    for name in ("query", "key", "value", "attention_output"):
        getattr(plain, name).set_weights(getattr(convolved, name).get_weights())
    np.testing.assert_allclose(convolved(x), plain(x), rtol=1e-5, atol=1e-6)


def test_one_layer_can_copy_what_followed_the_same_token():
    """Keys of the token before, queries and values of the token: the output is the next token's feature."""
    width = 8
    layer = ConvolvedAttention(1, conv_kernel_size=2, softmax_scale=50.0, use_rotary=False)
    tokens = np.array([3, 5, 1, 6, 2, 5])
    x = np.eye(width, dtype="float32")[tokens][None]
    layer(x)
    for dense in (layer.query, layer.key, layer.value, layer.attention_output):
        dense.kernel.assign(np.eye(width))
    kernel = np.zeros((2, 3 * width), "float32")
    kernel[1, :width] = kernel[0, width : 2 * width] = kernel[1, 2 * width :] = 1.0
    layer.conv1d.kernel.assign(kernel)
    copied = np.asarray(layer(x))[0, -1]
    np.testing.assert_allclose(copied, np.eye(width)[1], atol=1e-5)


def test_a_kernel_size_out_of_range_is_refused():
    with pytest.raises(ValueError, match="`conv_kernel_size`"):
        ConvolvedAttention(4, conv_kernel_size=0)
