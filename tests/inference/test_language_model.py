"""The engine with the package's own mixture-of-experts model."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from keras import ops

import highnoon as hn
from highnoon.inference import StatefulWrapper, StreamingGenerator

PROMPTS = [[2, 9, 30], [40], list(range(10, 31))]


@pytest.fixture(scope="module")
def language_model():
    model = hn.HSMN(
        vocab_size=263, embedding_dim=32, max_seq_length=64, num_reasoning_blocks=1, num_heads=2,
        num_kv_heads=1, block_pattern="attention+moe, attention+mlp", num_moe_experts=4,
    )
    # Far from its start, where the most likely token would be the last one again.
    rng = np.random.default_rng(0)
    for weight in model.trainable_weights:
        weight.assign(rng.normal(scale=0.4, size=weight.shape))
    return model


def greedy_reference(model, ids: list[int], num_tokens: int) -> list[int]:
    ids = list(ids)
    for _ in range(num_tokens):
        logits = ops.convert_to_numpy(model(np.asarray([ids]), training=False))
        ids.append(int(logits[0, -1].argmax()))
    return ids


@pytest.fixture(scope="module")
def expected(language_model) -> list[list[int]]:
    return [greedy_reference(language_model, prompt, 10) for prompt in PROMPTS]


def test_a_greedy_batch_of_unequal_prompts_equals_the_full_forward_pass(language_model, expected) -> None:
    assert all(len(set(row[-10:])) > 3 for row in expected)
    assert language_model.generate(PROMPTS, max_length=10, temperature=0) == expected


def test_a_prompt_alone_equals_the_full_forward_pass(language_model, expected) -> None:
    for prompt, row in zip(PROMPTS, expected, strict=True):
        assert language_model.generate(prompt, max_length=10, temperature=0) == row


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
