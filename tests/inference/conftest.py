"""A small causal model that keeps the cache protocol, and a reference that knows no cache."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from highnoon.tokenization import ByteTokenizer

WIDTH = 16
FIRST_BYTE_ID = 7


class SmallModel:
    """One attention layer over embeddings and learnt-free positions, with random weights.

    `num_traces` counts the calls of `decode`, which under compilation are its traces. With
    `is_printable` it draws bytes of printable ASCII alone.
    """

    def __init__(
        self,
        vocab_size: int = 263,
        max_seq_length: int = 512,
        sharpness: float = 4.0,
        is_printable: bool = False,
        seed: int = 0,
    ):
        rng = np.random.default_rng(seed)
        self.vocab_size, self.max_seq_length = vocab_size, max_seq_length
        self.tokenizer = None
        shapes = {
            "embedding": (vocab_size, WIDTH),
            "query": (WIDTH, WIDTH),
            "key": (WIDTH, WIDTH),
            "value": (WIDTH, WIDTH),
            "head": (WIDTH, vocab_size),
        }
        self.weights = {
            name: keras.Variable(rng.normal(size=shape).astype("float32"), name=name)
            for name, shape in shapes.items()
        }
        byte = np.arange(vocab_size) - FIRST_BYTE_ID
        is_drawn = (byte >= 32) & (byte < 127) if is_printable else byte > -99
        self.weights["bias"] = keras.Variable(np.where(is_drawn, 0.0, -1e4).astype("float32"), name="bias")
        self.sharpness = sharpness
        self.num_traces = 0

    @property
    def variables(self) -> list[keras.Variable]:
        return list(self.weights.values())

    def initial_cache(self, batch_size: int, max_length: int):
        shape = (batch_size, max_length, WIDTH)
        return {"layer": {"key": ops.zeros(shape), "value": ops.zeros(shape)}}

    def decode(self, token_ids, cache, index, padding=None):
        self.num_traces += 1
        places = index + ops.arange(token_ids.shape[1], dtype="int32")
        first = ops.zeros((token_ids.shape[0],), "int32") if padding is None else padding
        x = ops.take(self.weights["embedding"], token_ids, axis=0)
        x = x + self._position(places[None] - first[:, None])
        start = [0, index, 0]
        key = ops.slice_update(cache["layer"]["key"], start, x @ self.weights["key"])
        value = ops.slice_update(cache["layer"]["value"], start, x @ self.weights["value"])
        scores = ops.einsum("btd,bsd->bts", x @ self.weights["query"], key) / WIDTH
        sources = ops.arange(key.shape[1], dtype="int32")
        mask = (sources[None, None] <= places[None, :, None]) & (sources[None, None] >= first[:, None, None])
        shares = ops.softmax(ops.where(mask, scores, -1e9), axis=-1)
        hidden = x + ops.einsum("bts,bsd->btd", shares, value)
        logits = self.sharpness * (hidden @ self.weights["head"]) / WIDTH + self.weights["bias"]
        return logits, {"layer": {"key": key, "value": value}}

    def _position(self, positions):
        angles = ops.cast(positions, "float32")[..., None] / (2.0 ** ops.arange(WIDTH, dtype="float32"))
        return ops.sin(angles)

    def full_logits(self, ids: list[int]) -> np.ndarray:
        """The logits of one sequence from a forward pass without a cache, in NumPy."""
        weights = {name: v.numpy().astype("float64") for name, v in self.weights.items()}
        angles = np.arange(len(ids))[:, None] / 2.0 ** np.arange(WIDTH)
        x = weights["embedding"][ids] + np.sin(angles)
        scores = (x @ weights["query"]) @ (x @ weights["key"]).T / WIDTH
        scores[np.triu_indices(len(ids), 1)] = -np.inf
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        hidden = x + shares / shares.sum(-1, keepdims=True) @ (x @ weights["value"])
        return self.sharpness * (hidden @ weights["head"]) / WIDTH + weights["bias"]


def greedy_reference(model: SmallModel, ids: list[int], num_tokens: int) -> list[int]:
    """The most likely continuation, step by step from the full forward pass."""
    ids = list(ids)
    for _ in range(num_tokens):
        ids.append(int(np.argmax(model.full_logits(ids)[-1])))
    return ids


@pytest.fixture(scope="session")
def model() -> SmallModel:
    return SmallModel()


@pytest.fixture(scope="session")
def printable_model() -> SmallModel:
    return SmallModel(is_printable=True)


@pytest.fixture(scope="session")
def tokenizer() -> ByteTokenizer:
    return ByteTokenizer()


@pytest.fixture(scope="session")
def new_model():
    """Makes a model that no other test has compiled."""
    return SmallModel


@pytest.fixture(scope="session")
def greedy():
    return greedy_reference
