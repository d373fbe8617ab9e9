"""What of a cache goes back by the index, and whether it bounds the text."""

from __future__ import annotations

import sys

import keras
import pytest

import highnoon as hn
from highnoon.inference.decoding.cache_layout import context_limit, grows_with_length, holds_state

EVERY_MIXER = (
    "attention, convolved_attention, sliding_attention, latent_attention, mamba, mamba2, gated_delta_rule"
)


def small(pattern: str):
    return hn.HSMN(
        vocab_size=20,
        embedding_dim=32,
        max_seq_length=24,
        num_reasoning_blocks=1,
        num_heads=2,
        block_pattern=pattern,
    )


def test_attention_holds_a_place_a_token_and_recurrence_a_state() -> None:
    (block,) = grows_with_length(small(EVERY_MIXER), 64).values()
    kinds = {name.split("_", 2)[2]: set(keras.tree.flatten(part)) for name, part in block.items()}
    assert kinds == {
        "attention": {True},
        "convolved_attention": {True, False},
        "sliding_attention": {True},
        "latent_attention": {True},
        "mamba": {False},
        "mamba2": {False},
        "gated_delta_rule": {False},
    }


@pytest.mark.parametrize(
    "pattern, has_state, limit",
    [
        ("attention+mlp", False, 24),
        ("mamba2, attention", True, 24),
        ("mamba2+mlp, mamba", True, sys.maxsize),
        ("bdh(multiplier=2)", True, 24),
    ],
)
def test_only_a_pattern_without_attention_has_no_limit(pattern: str, has_state: bool, limit: int) -> None:
    model = small(pattern)
    assert holds_state(model, 256) == has_state
    assert context_limit(model) == limit


def test_bdh_holds_a_list_of_fewer_tokens_than_features_and_else_a_state() -> None:
    model = small("bdh(multiplier=2)")
    assert [holds_state(model, length) for length in (1, 30, 31, 32, 33)] == [False, False, False, True, True]


def test_recurrent_models_go_on_past_the_length_of_their_training() -> None:
    model = small("mamba2+mlp")
    row = model.generate([5] * 20, max_length=300, temperature=0)
    assert len(row) == 320
    past = row[:40]
    assert model.generate(past, max_length=280, temperature=0) == row


def test_attention_refuses_a_prompt_that_fills_its_context() -> None:
    with pytest.raises(ValueError, match="prompt 0 has 24 tokens .* max_seq_length=24; shorten it"):
        small("attention+mlp").generate([5] * 24)
