"""Many prompts, a batch at a time."""

from __future__ import annotations

import pytest

from highnoon.inference import generate, generate_batch
from highnoon.models import LanguageModel

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
    with pytest.raises(ValueError, match="`batch_size` must be an integer of at least 1; received 0"):
        generate_batch(model, PROMPTS, batch_size=0)


def test_a_model_s_own_method_draws_what_one_batch_draws(model) -> None:
    class Owner:
        """The model, under the method of `LanguageModel`."""

        generate_batch = LanguageModel.generate_batch

        def __getattr__(self, name):
            return getattr(model, name)

    expected = generate(model, PROMPTS, max_length=10, seed=1)
    assert Owner().generate_batch(PROMPTS, max_length=10, batch_size=2, seed=1) == expected
    same = Owner().generate_batch([[5, 9]] * 6, max_length=10, batch_size=2, seed=1)
    assert len({tuple(row) for row in same}) == 6


def test_one_text_is_one_prompt(model, tokenizer) -> None:
    asked = {"max_length": 6, "seed": 1, "tokenizer": tokenizer}
    assert generate_batch(model, "a text", batch_size=2, **asked) == generate(model, "a text", **asked)


@pytest.mark.parametrize("batch_size", [-1, 1.5, True, "2", None, float("nan"), float("inf")])
def test_a_batch_size_that_is_no_whole_number_is_refused(model, batch_size) -> None:
    with pytest.raises(ValueError, match="`batch_size` must be an integer of at least 1"):
        generate_batch(model, PROMPTS, batch_size=batch_size)
