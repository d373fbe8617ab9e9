"""The three forms of BDH's layer against its equations, written as a loop."""

from __future__ import annotations

import math

import numpy as np
import pytest
from keras import ops

from highnoon.layers.hatching import BDHLayer
from highnoon.layers.hatching.earlier_token_attention import earlier_token_attention
from highnoon.testing.check_mixer import check_mixer

WIDTH, HEADS, MULTIPLIER = 16, 2, 4
NEURONS = WIDTH * MULTIPLIER // HEADS


def make_layer(**arguments) -> BDHLayer:
    layer = BDHLayer(HEADS, MULTIPLIER, **arguments)
    layer.build((None, None, WIDTH))
    random = np.random.default_rng(3)
    for weight in layer.weights:
        weight.assign(random.normal(size=weight.shape, scale=0.3))
    return layer


def norm(x: np.ndarray) -> np.ndarray:
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5)


def rotate(x: np.ndarray, position: int) -> np.ndarray:
    y = np.empty_like(x)
    for pair in range(len(x) // 2):
        angle = position / 65536.0 ** (2 * pair / len(x))
        cosine, sine = math.cos(angle), math.sin(angle)
        y[2 * pair] = x[2 * pair] * cosine - x[2 * pair + 1] * sine
        y[2 * pair + 1] = x[2 * pair + 1] * cosine + x[2 * pair] * sine
    return y


def expected(layer: BDHLayer, x: np.ndarray) -> np.ndarray:
    """One document (t, d), token by token, in float64."""
    encoder, encoder_v, decoder = (
        ops.convert_to_numpy(weight).astype("float64")
        for weight in (layer.encoder, layer.encoder_v, layer.decoder)
    )
    x = x.astype("float64")
    sparse = np.maximum(np.einsum("td,hdn->htn", x, encoder), 0)
    outputs = []
    for t in range(len(x)):
        gated = []
        for head in range(HEADS):
            query = rotate(sparse[head, t], t)
            attended = np.zeros(WIDTH)
            for u in range(t):
                attended += (query @ rotate(sparse[head, u], u)) * x[u]
            gated.append(sparse[head, t] * np.maximum(norm(attended) @ encoder_v[head], 0))
        outputs.append(norm(x[t] + norm(np.concatenate(gated) @ decoder)))
    return np.array(outputs)


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(2, 23, WIDTH)).astype("float32")


@pytest.mark.parametrize("form", ["quadratic", "chunked"])
def test_it_is_the_published_layer(form: str, rows: np.ndarray) -> None:
    layer = make_layer(form=form, chunk_length=5)
    y, report = layer(rows)
    for row, output in zip(rows, ops.convert_to_numpy(y), strict=True):
        np.testing.assert_allclose(output, expected(layer, row), atol=2e-5)
    sparse = np.einsum("btd,hdn->bhtn", rows, ops.convert_to_numpy(layer.encoder))
    assert float(report.metrics["activation/active_neurons"]) == pytest.approx((sparse > 0).mean(), abs=1e-6)
    assert (
        0
        < float(report.metrics["activation/gated_neurons"])
        < float(report.metrics["activation/active_neurons"])
    )


@pytest.mark.parametrize(("length", "kind"), [(WIDTH - 1, "keys"), (23, "state")])
def test_both_caches_continue_as_the_entire_row(length: int, kind: str, rows: np.ndarray) -> None:
    layer = make_layer(chunk_length=4)
    rows = rows[:, :length]
    cache = layer.initial_cache(2, length)
    assert kind in cache
    outputs, index = [], 0
    for time in [9] + [1] * (length - 9):
        y, cache = layer.step(rows[:, index : index + time], cache, index)
        outputs.append(ops.convert_to_numpy(y))
        index += time
    np.testing.assert_allclose(np.concatenate(outputs, 1), ops.convert_to_numpy(layer(rows)[0]), atol=2e-5)


@pytest.mark.parametrize("form", ["quadratic", "chunked"])
def test_a_document_in_a_row_is_as_if_alone(form: str, rows: np.ndarray) -> None:
    """A boundary inside a chunk, at its end, and two in one chunk; positions start again with each."""
    layer = make_layer(form=form, chunk_length=5)
    lengths = [3, 2, 5, 1, 1, 11]
    segment_ids = np.repeat(np.arange(1, 7), lengths)[None].repeat(2, 0)
    positions = np.concatenate([np.arange(length) for length in lengths])[None].repeat(2, 0)
    y = ops.convert_to_numpy(layer(rows, segment_ids=segment_ids, positions=positions)[0])
    start = 0
    for length in lengths:
        alone = rows[:, start : start + length]
        np.testing.assert_allclose(
            y[:, start : start + length], ops.convert_to_numpy(layer(alone)[0]), atol=2e-5
        )
        start += length


@pytest.mark.parametrize("form", [pytest.param("quadratic", marks=pytest.mark.slow), "chunked"])
def test_it_keeps_the_protocol_of_a_mixer(form: str) -> None:
    check_mixer(BDHLayer(HEADS, MULTIPLIER, form=form, chunk_length=4), width=WIDTH)


def test_the_first_token_recalls_nothing() -> None:
    layer = make_layer()
    first = np.random.default_rng(1).normal(size=(1, 1, WIDTH)).astype("float32")
    y, report = layer(first)
    np.testing.assert_allclose(ops.convert_to_numpy(y), norm(first), atol=1e-5)
    assert float(report.metrics["activation/gated_neurons"]) == 0.0


def test_values_may_be_shared_by_heads_and_keys_too() -> None:
    random = np.random.default_rng(2)
    query = random.normal(size=(1, 3, 9, 4)).astype("float32")
    key = random.normal(size=(1, 1, 9, 4)).astype("float32")
    value = random.normal(size=(1, 3, 9, 2)).astype("float32")
    products = np.tril(query @ key.swapaxes(2, 3), -1)
    for chunk_length in (None, 2, 9, 16):
        y = earlier_token_attention(*map(ops.convert_to_tensor, (query, key, value)), None, chunk_length)
        np.testing.assert_allclose(ops.convert_to_numpy(y), products @ value, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_heads": 0}, "num_heads"),
        ({"num_heads": 2, "form": "fast"}, "form"),
        ({"num_heads": 2, "dropout": 1.0}, "dropout"),
    ],
)
def test_arguments_that_cannot_be(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BDHLayer(**arguments)


def test_neurons_that_do_not_divide() -> None:
    with pytest.raises(ValueError, match="pairs for each of 5 heads"):
        BDHLayer(5, 1).build((None, None, 16))
