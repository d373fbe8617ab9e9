"""Many prompts, a batch at a time."""

from __future__ import annotations

import pytest

from highnoon.inference import generate, generate_batch

PROMPTS = [[5, 9, 30], [40], [2] * 20, [7, 7], [9, 8, 7, 6, 5]]


def test_small_batches_give_what_one_batch_gives(model) -> None:
    expected = generate(model, PROMPTS, max_length=10, seed=4)
    assert generate_batch(model, PROMPTS, max_length=10, batch_size=2, seed=4) == expected


def test_stop_texts_end_rows_in_batches_too(model, tokenizer) -> None:
    texts = ["ab", "the river", "x", "yes and no", "q"]
    whole = generate(model, texts, max_length=40, seed=1, tokenizer=tokenizer, strip_prompt=True)
    stop = whole[3][5:7]
    expected = generate(model, texts, max_length=40, seed=1, tokenizer=tokenizer, stop_sequences=[stop])
    batched = generate_batch(
        model, texts, max_length=40, batch_size=2, seed=1, tokenizer=tokenizer, stop_sequences=[stop]
    )
    assert batched == expected
    assert len(batched[3]) < len(texts[3] + whole[3])


def test_the_last_batch_is_not_compiled_anew(new_model) -> None:
    model = new_model()
    generate_batch(model, PROMPTS[:2], max_length=4, batch_size=2, seed=1)
    traces = model.num_traces
    generate_batch(model, PROMPTS, max_length=4, batch_size=2, seed=1)
    assert model.num_traces == traces


def test_an_empty_batch_size_is_refused(model) -> None:
    with pytest.raises(ValueError, match="`batch_size` must be at least 1; received 0"):
        generate_batch(model, PROMPTS, batch_size=0)
