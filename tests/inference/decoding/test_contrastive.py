"""Contrastive search against the same choice by full forward passes."""

from __future__ import annotations

import numpy as np
import pytest
from keras import ops

import highnoon as hn
from highnoon.inference import generate_contrastive

PROMPTS = [[3, 8, 1], [5], [2, 9, 4, 4, 7, 7, 1, 0, 10, 11]]


@pytest.fixture(scope="module")
def language_model():
    model = hn.HSMN(
        vocab_size=20,
        embedding_dim=32,
        max_seq_length=64,
        num_reasoning_blocks=1,
        num_heads=2,
        block_pattern="mamba2, attention",
    )
    rng = np.random.default_rng(0)
    for weight in model.trainable_weights:
        weight.assign(rng.normal(scale=0.3, size=weight.shape))
    return model


def naive_contrastive(model, ids: list[int], top_k: int, alpha: float, num_tokens: int) -> list[int]:
    ids = list(ids)
    for _ in range(num_tokens):
        logits = ops.convert_to_numpy(model(np.asarray([ids]), training=False))[0, -1].astype("float64")
        shares = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        candidates = np.argsort(-shares)[:top_k]
        rows = np.asarray([[*ids, candidate] for candidate in candidates])
        hidden = ops.convert_to_numpy(model.backbone(rows, training=False)).astype("float64")
        hidden /= np.linalg.norm(hidden, axis=-1, keepdims=True)
        likeness = np.einsum("kd,ksd->ks", hidden[:, -1], hidden[:, :-1]).max(-1)
        ids.append(int(candidates[np.argmax((1 - alpha) * shares[candidates] - alpha * likeness)]))
    return ids


@pytest.mark.slow
def test_tokens_are_those_of_a_naive_search(language_model) -> None:
    top_k, alpha = 4, 0.5
    rows = generate_contrastive(language_model, PROMPTS, top_k, alpha, max_length=5)
    assert rows == [naive_contrastive(language_model, prompt, top_k, alpha, 5) for prompt in PROMPTS]
    assert rows != language_model.generate(PROMPTS, max_length=5, temperature=0)


@pytest.mark.slow
def test_no_penalty_is_greedy_decoding(language_model) -> None:
    row = generate_contrastive(language_model, PROMPTS[0], 3, 0.0, max_length=12)
    assert row == language_model.generate(PROMPTS[0], max_length=12, temperature=0)
    cut = generate_contrastive(language_model, PROMPTS[0], 3, 0.0, max_length=12, stop_sequences=[row[5]])
    assert cut == row[: row.index(row[5], 3) + 1]


@pytest.mark.parametrize(
    "kwargs, message",
    [
        ({"top_k": 0}, "`top_k` must be between 1 and the 20"),
        ({"top_k": 21}, "received 21"),
        ({"penalty_alpha": 1.5}, "`penalty_alpha` must be in"),
    ],
)
def test_bad_arguments_are_named(language_model, kwargs: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        generate_contrastive(language_model, [5], **kwargs)


def test_a_model_without_hidden_states_is_refused(model) -> None:
    with pytest.raises(TypeError, match="a `backbone` that has `step`; received a SmallModel"):
        generate_contrastive(model, [5])
