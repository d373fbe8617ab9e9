"""Log-probabilities against the full forward pass."""

from __future__ import annotations

import numpy as np
import pytest

import highnoon as hn
from highnoon.inference import log_probabilities

RNG = np.random.default_rng(0)
ROWS = [RNG.integers(7, 263, size).tolist() for size in (3, 1, 8, 9, 90)]


def expected(model, row: list[int]) -> np.ndarray:
    logits = model.full_logits(row)[:-1]
    norms = np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1)) + logits.max(-1)
    return logits[np.arange(len(row) - 1), row[1:]] - norms


def test_values_are_those_of_the_full_forward_pass_in_a_batch_and_alone(model) -> None:
    values = log_probabilities(model, ROWS)
    assert [len(row) for row in values] == [2, 0, 7, 8, 89]
    for row, found in zip(ROWS, values, strict=True):
        np.testing.assert_allclose(found, expected(model, row), atol=1e-4)
    np.testing.assert_allclose(log_probabilities(model, ROWS[4]), values[4], atol=1e-5)
    assert log_probabilities(model, [5]).shape == (0,)


def test_each_token_of_a_text_has_a_value(model, tokenizer) -> None:
    ids = [tokenizer.bos_token_id, *tokenizer.encode("the sun", add_special_tokens=False)]
    values = log_probabilities(model, "the sun", tokenizer)
    assert len(values) == 7
    np.testing.assert_allclose(values, expected(model, ids), atol=1e-4)


def test_a_row_longer_than_the_context_is_refused() -> None:
    model = hn.HSMN(
        vocab_size=20,
        embedding_dim=16,
        max_seq_length=8,
        num_reasoning_blocks=1,
        num_heads=2,
        block_pattern="attention",
    )
    assert len(log_probabilities(model, [5] * 8)) == 7
    with pytest.raises(ValueError, match="a row has 9 tokens .* max_seq_length=8; split it"):
        log_probabilities(model, [5] * 9)
