from __future__ import annotations

import math

import keras
import numpy as np
import pytest
from keras import ops

from highnoon.data import Files, PackedRows, tokenize
from highnoon.evaluation import evaluate_model
from highnoon.tokenization import ByteTokenizer

VOCAB_SIZE = ByteTokenizer().vocab_size
TEXTS = ["Night falls.", "A longer line of text, in one document.", "Ümläute zählen doppelt.", "x"]


class FixedOdds(keras.Model):
    """Says the same log odds for every next token, whatever came before."""

    def __init__(self, log_odds: np.ndarray) -> None:
        super().__init__()
        self.log_odds = log_odds.astype("float32")
        self.num_traces = 0

    def loss_terms(self, batch, training):
        self.num_traces += 1
        assert training is False
        nats = -ops.take(ops.log_softmax(self.log_odds), batch["labels"])
        return {"loss_sum": ops.sum(nats * batch["loss_weights"]), "aux_loss": 0.0, "metrics": {}}


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    for number, text in enumerate(TEXTS):
        (folder / f"{number}.txt").write_text(text, encoding="utf-8")
    files = Files(f"{folder}/*.txt", split="file")
    store = tokenize(files, ByteTokenizer(), folder / "cache", validation_split=0.0)
    return PackedRows([store], row_length=16)


@pytest.fixture(scope="module")
def log_odds():
    return np.random.default_rng(0).normal(size=VOCAB_SIZE)


def exact_nats(log_odds: np.ndarray, texts: list[str]) -> float:
    """Sums -log p over every token after the first of each document, in plain Python."""
    total = math.log(sum(math.exp(odds) for odds in log_odds))
    targets = [token for text in texts for token in ByteTokenizer().encode(text)[1:]]
    return sum(total - log_odds[token] for token in targets)


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_figures_are_sums_over_the_whole_split_whatever_the_batch_size(rows, log_odds, batch_size):
    result = evaluate_model(FixedOdds(log_odds), rows, batch_size=batch_size)
    num_tokens = sum(len(text.encode()) + 1 for text in TEXTS)
    num_bytes = sum(len(text.encode()) for text in TEXTS)
    nats = exact_nats(log_odds, TEXTS)
    assert (result.num_tokens, result.num_bytes) == (num_tokens, num_bytes)
    assert result.loss == pytest.approx(nats / num_tokens, rel=1e-6)
    assert result.perplexity == pytest.approx(math.exp(nats / num_tokens), rel=1e-5)
    assert result.bits_per_byte == pytest.approx(nats / math.log(2) / num_bytes, rel=1e-6)


def test_one_trace_serves_all_batches_with_the_short_last_one(rows, log_odds):
    model = FixedOdds(log_odds)
    assert rows.view(0).num_rows % 4 != 0
    evaluate_model(model, rows, batch_size=4)
    assert model.num_traces == 1


def test_a_batch_size_below_one_is_refused(rows, log_odds):
    with pytest.raises(ValueError, match="`batch_size` must be at least 1; received 0"):
        evaluate_model(FixedOdds(log_odds), rows, batch_size=0)
    with pytest.raises(ValueError, match="`batch_size` must be a whole number; received nan"):
        evaluate_model(FixedOdds(log_odds), rows, batch_size=float("nan"))
