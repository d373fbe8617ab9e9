"""The engine with the package's own mixture-of-experts model."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from keras import ops

import highnoon as hn
from highnoon.inference import (
    SpeculativeGenerator,
    StatefulWrapper,
    StreamingGenerator,
    generate,
    generate_beam,
    generate_contrastive,
)
from highnoon.inference.decoding import session

PROMPTS = [[2, 9, 30], [40], list(range(10, 31))]


@pytest.fixture(scope="module")
def language_model():
    model = hn.HSMN(
        vocab_size=263,
        embedding_dim=32,
        max_seq_length=64,
        num_reasoning_blocks=1,
        num_heads=2,
        num_kv_heads=1,
        block_pattern="attention+moe, attention+mlp",
        num_moe_experts=4,
    )
    # Far from its start, where the most likely token would be the last one again.
    rng = np.random.default_rng(0)
    for weight in model.trainable_weights:
        weight.assign(rng.normal(scale=0.4, size=weight.shape))
    return model


def assert_most_likely(model, prompt: list[int], row: list[int], count: int = 10) -> None:
    """Each new token is the most likely one in a forward pass over the whole row, without a cache."""
    assert row[: len(prompt)] == prompt and len(row) == len(prompt) + count
    logits = ops.convert_to_numpy(model(np.asarray([row]), training=False))[0]
    assert row[len(prompt) :] == logits[len(prompt) - 1 : -1].argmax(-1).tolist()
    assert len(set(row[len(prompt) :])) > 3


def test_a_greedy_batch_of_unequal_prompts_equals_the_full_forward_pass(language_model) -> None:
    rows = language_model.generate(PROMPTS, max_length=10, temperature=0)
    for prompt, row in zip(PROMPTS, rows, strict=True):
        assert_most_likely(language_model, prompt, row)
    assert language_model.generate(PROMPTS, max_new_tokens=10, temperature=0) == rows


@pytest.mark.slow
def test_a_prompt_alone_equals_the_full_forward_pass(language_model) -> None:
    row = language_model.generate(PROMPTS[2], max_length=10, temperature=0)
    assert_most_likely(language_model, PROMPTS[2], row)


def generate_by_speculation(model, prompt: list[int], **options):
    return SpeculativeGenerator(model).generate(prompt, **options)


def generate_by_one_beam(model, prompt: list[int], temperature: float, **options):
    return generate_beam(model, prompt, 1, **options)


def generate_by_contrast_of_none(model, prompt: list[int], temperature: float, **options):
    return generate_contrastive(model, prompt, top_k=2, penalty_alpha=0.0, **options)


@pytest.mark.parametrize(
    "way",
    [
        generate,
        *(
            pytest.param(way, marks=pytest.mark.slow)
            for way in (generate_by_speculation, generate_by_one_beam, generate_by_contrast_of_none)
        ),
    ],
)
def test_a_padded_prompt_leaves_room_for_every_new_token(language_model, monkeypatch, way) -> None:
    # 18 tokens are padded to 32, and without a smallest capacity the cache is hardly longer than asked for.
    monkeypatch.setattr(session, "_SMALLEST_CAPACITY", 1)
    prompt = list(range(10, 28))
    row = way(language_model, prompt, max_length=14, temperature=0)
    assert_most_likely(language_model, prompt, row, count=14)


def test_streams_and_conversations_say_what_generate_says(language_model, tokenizer) -> None:
    asked = {"max_length": 12, "temperature": 0, "tokenizer": tokenizer}
    pieces = StreamingGenerator(language_model).generate_stream("User: a\nAssistant:", **asked)
    text = "".join(pieces)
    assert language_model.generate("User: a\nAssistant:", **asked) == "User: a\nAssistant:" + text
    talk = StatefulWrapper(language_model, tokenizer=tokenizer)
    talk.add_user_message("a")
    assert talk.generate(max_length=12, temperature=0) == text.strip()


def test_a_language_model_that_generated_can_be_freed() -> None:
    model = hn.HSMN(vocab_size=9, embedding_dim=8, num_reasoning_blocks=1, num_moe_experts=2)
    model.generate([5], max_length=1, temperature=0)
    reference = weakref.ref(model)
    del model
    gc.collect()
    assert reference() is None
