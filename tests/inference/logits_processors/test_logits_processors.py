"""Processors act on every new token as their equations say, in every decoder that draws."""

from __future__ import annotations

import math

import numpy as np
import pytest
from keras import ops

from highnoon.inference import (
    FrequencyPenalty,
    LogitBias,
    LogitsProcessor,
    PresencePenalty,
    QSGGenerator,
    RepetitionPenalty,
    Sampling,
    SpeculativeGenerator,
    StatefulWrapper,
    StreamingGenerator,
    generate,
    generate_batch,
)
from highnoon.inference.logits_processors.processor_chain import ProcessorChain

PROMPTS = [[2, 9, 3], [4], [5, 6, 7] * 3]
PENALTIES = [FrequencyPenalty(1.1), PresencePenalty(0.7), LogitBias({40: 1.5, 9: -2.0})]


class NoRunOfThree(LogitsProcessor):
    """Never the same token three times in a row: a processor whose state depends on the order of tokens."""

    def initial_state(self, prompts, num_ids):
        return {"last": np.full(len(prompts), -1, np.int32), "run": np.zeros(len(prompts), np.int32)}

    def apply(self, logits, state, values):
        is_last = ops.arange(logits.shape[1], dtype="int32")[None] == state["last"][:, None]
        return ops.where(is_last & (state["run"] >= 2)[:, None], float("-inf"), logits)

    def advance(self, state, token_ids, values):
        run = ops.where(token_ids == state["last"], state["run"] + 1, 1)
        return {"last": token_ids, "run": run}


def penalized_reference(model, prompt: list[int], num_tokens: int) -> list[int]:
    """Greedy decoding under `PENALTIES`, by OpenAI's formula, from the full forward pass."""
    ids, counts = list(prompt), np.zeros(model.vocab_size)
    for _ in range(num_tokens):
        logits = model.full_logits(ids)[-1] - 1.1 * counts - 0.7 * (counts > 0)
        logits[40] += 1.5
        logits[9] -= 2.0
        ids.append(int(np.argmax(logits)))
        counts[ids[-1]] += 1
    return ids


def test_penalties_and_bias_equal_their_formula(model) -> None:
    expected = [penalized_reference(model, prompt, 20) for prompt in PROMPTS]
    assert generate(model, PROMPTS, max_length=20, temperature=0, logits_processors=PENALTIES) == expected
    assert expected != generate(model, PROMPTS, max_length=20, temperature=0)


@pytest.mark.parametrize(
    "processors", [PENALTIES, [*PENALTIES, NoRunOfThree()]], ids=["counts", "order of tokens"]
)
@pytest.mark.parametrize("has_draft_model", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_speculative_decoding_equals_plain_decoding(new_model, model, processors, has_draft_model) -> None:
    draft = new_model(seed=0, sharpness=3.0) if has_draft_model else None
    generator = SpeculativeGenerator(model, draft, num_speculative_tokens=3, acceptance_rate_target=None)
    options = {"max_length": 24, "temperature": 0, "logits_processors": processors}
    assert generator.generate(PROMPTS, **options) == generate(model, PROMPTS, **options)
    assert generator.acceptance_rate > 0


def test_speculative_drawing_with_look_up_takes_what_the_seed_gives(model) -> None:
    options = {"max_length": 24, "seed": 3, "top_k": 5, "logits_processors": [*PENALTIES, NoRunOfThree()]}
    generator = SpeculativeGenerator(model, num_speculative_tokens=3, acceptance_rate_target=None)
    assert generator.generate(PROMPTS, **options) == generate(model, PROMPTS, **options)


@pytest.mark.slow
def test_batches_streams_and_conversations_use_them(printable_model, tokenizer) -> None:
    no_vowel = [
        LogitBias(
            dict.fromkeys((tokenizer.encode(v, add_special_tokens=False)[0] for v in "aeiou"), -math.inf)
        )
    ]
    options = {"max_length": 30, "seed": 1, "top_k": 0, "logits_processors": no_vowel}
    texts = ["To be", "or", "not"]
    together = generate(printable_model, texts, tokenizer=tokenizer, strip_prompt=True, **options)
    assert together == generate_batch(
        printable_model, texts, batch_size=2, tokenizer=tokenizer, strip_prompt=True, **options
    )
    stream = StreamingGenerator(printable_model, 8, tokenizer).generate_stream(texts[0], **options)
    assert "".join(stream) == together[0]
    chat = StatefulWrapper(printable_model, tokenizer=tokenizer)
    chat.add_user_message("Hello")
    for text in [*together, chat.generate(**options)]:
        assert text and not set("aeiou") & set(text)


def test_the_repetition_penalty_is_a_processor(model) -> None:
    options = {"max_length": 16, "seed": 1}
    as_argument = generate(model, PROMPTS, repetition_penalty=1.6, **options)
    assert as_argument == generate(model, PROMPTS, logits_processors=[RepetitionPenalty(1.6)], **options)


def test_other_numbers_compile_nothing(new_model) -> None:
    model = new_model(seed=5)
    first = generate(model, [[2, 9]], max_length=4, temperature=0, logits_processors=[LogitBias({7: 99.0})])
    traces = model.num_traces
    again = generate(model, [[2, 9]], max_length=4, temperature=0, logits_processors=[LogitBias({8: 99.0})])
    assert (first[0][2:], again[0][2:]) == ([7] * 4, [8] * 4)
    assert model.num_traces == traces


def test_processors_act_in_their_order() -> None:
    bias, penalty = LogitBias({0: 1.0}), RepetitionPenalty(2.0)
    results = []
    for order in ([bias, penalty], [penalty, bias]):
        chain = ProcessorChain(order)
        state, values = chain.initial_state([[0]], 2), chain.values(2)
        results.append(np.asarray(chain.apply(np.array([[4.0, 4.0]], "float32"), state, values)).tolist())
    assert results == [[[2.5, 4.0]], [[3.0, 4.0]]]


def test_a_bias_over_all_tokens_that_forbids_them_is_an_error(model) -> None:
    bias = LogitBias(dict.fromkeys(range(model.vocab_size), -math.inf))
    with pytest.raises(FloatingPointError, match="a logits processor forbids every token"):
        generate(model, [2, 9], max_length=4, seed=1, logits_processors=[bias])


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: FrequencyPenalty(2.5), r"`penalty` must be a number in \[-2, 2\]; received 2.5"),
        (lambda: PresencePenalty(float("nan")), "`penalty` must be"),
        (lambda: RepetitionPenalty(0), "`penalty` must be a number above 0; received 0"),
        (lambda: LogitBias([1, 2]), "`bias` must map token ids to numbers"),
        (lambda: LogitBias({-1: 1.0}), "keys of `bias` must be token ids"),
        (lambda: LogitBias({True: 1.0}), "keys of `bias` must be token ids"),
        (lambda: LogitBias({1: math.inf}), r"`bias\[1\]` must be a finite number or -inf"),
        (lambda: Sampling(logits_processors=[lambda x: x]), "must be a list of"),
    ],
)
def test_arguments_out_of_range_are_refused(make, message) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        make()


def test_a_bias_of_an_id_that_cannot_be_drawn_is_refused_before_the_first_token(model, tokenizer) -> None:
    stream = StreamingGenerator(model, tokenizer=tokenizer)
    with pytest.raises(ValueError, match="must name token ids below 263"):
        stream.generate_stream("a", logits_processors=[LogitBias({263: 1.0})])


def test_a_beam_search_refuses_them(model) -> None:
    generator = QSGGenerator(model, collapse_strategy="beam")
    with pytest.raises(ValueError, match="`logits_processors` do not act in a beam search"):
        generator.generate([2, 9], logits_processors=PENALTIES)
