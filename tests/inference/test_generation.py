"""Generation against step-by-step choice from the full forward pass."""

from __future__ import annotations

import inspect

import keras
import numpy as np
import pytest
from keras import ops
from scipy import stats

from highnoon.inference import (
    SpeculativeGenerator,
    StreamingGenerator,
    generate,
    generate_batch,
    generate_beam,
)
from highnoon.tokenization import ByteTokenizer

PROMPTS = [[5, 9, 30], [40], [2] * 20, list(range(10, 100))]


def test_the_documented_arguments_and_defaults() -> None:
    parameters = inspect.signature(generate).parameters
    assert {name: p.default for name, p in parameters.items() if p.default is not p.empty} == {
        "max_length": 256,
        "temperature": 1.0,
        "top_k": 50,
        "top_p": 1.0,
        "repetition_penalty": 1.0,
        "stop_sequences": None,
        "tokenizer": None,
        "seed": None,
        "max_new_tokens": None,
        "strip_prompt": False,
        "logits_processors": None,
    }


@pytest.mark.parametrize("prompt", PROMPTS, ids=len)
def test_greedy_tokens_are_the_most_likely_of_the_full_forward_pass(model, greedy, prompt) -> None:
    assert generate(model, prompt, max_length=12, temperature=0) == greedy(model, prompt, 12)


def test_a_batch_of_unequal_prompts_gives_each_what_it_gets_alone(model, greedy) -> None:
    rows = generate(model, PROMPTS, max_length=12, temperature=0)
    assert rows == [greedy(model, prompt, 12) for prompt in PROMPTS]


def test_a_prompt_of_several_pieces_is_read_whole(model, greedy) -> None:
    prompt = np.random.default_rng(0).integers(7, 263, 64 + 3 * 8 + 5).tolist()
    assert generate(model, prompt, max_length=3, temperature=0) == greedy(model, prompt, 3)


def test_top_1_equals_greedy(model) -> None:
    assert generate(model, PROMPTS[0], max_length=8, top_k=1, seed=3) == generate(
        model, PROMPTS[0], max_length=8, temperature=0
    )


def test_first_tokens_fit_the_softmax_of_the_full_forward_pass(new_model) -> None:
    model = new_model(vocab_size=12, sharpness=1.0)
    prompt, num_rows = [3, 8, 1], 4000
    rows = generate(model, np.tile(prompt, (num_rows, 1)), max_length=1, top_k=0, seed=11)
    logits = model.full_logits(prompt)[-1]
    shares = np.exp(logits - logits.max())
    counts = np.bincount(rows[:, 3], minlength=12)
    pvalue = stats.chisquare(counts, num_rows * shares / shares.sum()).pvalue
    assert pvalue > 0.01
    assert stats.chisquare(counts).pvalue < 1e-6


def test_a_seed_repeats_the_draw_and_another_changes_it(model) -> None:
    first, again, other = (generate(model, [5, 9], max_length=20, seed=seed) for seed in (1, 1, 2))
    assert first == again != other


def test_keras_seed_holds_where_none_is_given(model) -> None:
    keras.utils.set_random_seed(1)
    first = generate(model, [5, 9], max_length=20)
    keras.utils.set_random_seed(1)
    assert generate(model, [5, 9], max_length=20) == first
    assert generate(model, [5, 9], max_length=20) != first


def test_what_a_row_draws_does_not_depend_on_its_batch_mates(model) -> None:
    alone = generate(model, [[5, 9]], max_length=20, seed=1)
    assert generate(model, [[5, 9], [7] * 40], max_length=20, seed=1)[:1] == alone
    assert generate(model, [[5, 9], [8]], max_length=20, seed=1)[:1] == alone
    twins = generate(model, [[5, 9], [5, 9]], max_length=20, seed=1)
    assert twins[0] != twins[1]


def test_a_longer_limit_only_adds_tokens(model) -> None:
    short, long = (generate(model, [5, 9], max_length=n, seed=1) for n in (10, 60))
    assert long[: len(short)] == short
    assert (len(short), len(long)) == (12, 62)


def test_a_strong_penalty_keeps_tokens_from_coming_again(model) -> None:
    row = generate(model, [5, 9], max_length=40, temperature=0, repetition_penalty=1e6)
    assert len(set(row)) == 42
    assert len(set(generate(model, [5, 9], max_length=40, temperature=0))) < 42


def test_a_stop_id_ends_its_row_and_no_other(model, greedy) -> None:
    whole = [greedy(model, prompt, 12) for prompt in ([5, 9, 30], [40])]
    stop = whole[0][7]
    assert stop not in whole[0][3:7] + whole[1][1:]
    assert generate(model, [[5, 9, 30], [40]], max_length=12, temperature=0, stop_sequences=[stop]) == [
        whole[0][:8],
        whole[1],
    ]


def test_the_end_token_ends_a_row_and_is_kept(model, greedy, tokenizer) -> None:
    whole = greedy(model, [5, 9, 30], 12)

    class Ending(type(tokenizer)):
        eos_token_id = whole[7]

    assert generate(model, [5, 9, 30], max_length=12, temperature=0, tokenizer=Ending()) == whole[:8]


def test_a_stop_text_is_cut_off_exactly(model, tokenizer) -> None:
    whole = generate(model, "ab", max_length=60, seed=1, tokenizer=tokenizer, strip_prompt=True)
    for place in (0, 7, 30):
        stop = whole[place : place + 3]
        cut = generate(model, "ab", max_length=60, seed=1, tokenizer=tokenizer, stop_sequences=["zzz", stop])
        assert cut == "ab" + whole[: whole.index(stop)]


def test_ids_end_with_the_token_that_completes_a_stop_text(printable_model, tokenizer) -> None:
    prompt = [2, 104]
    whole = generate(printable_model, prompt, max_length=40, seed=2, tokenizer=tokenizer)
    text = tokenizer.decode(whole[2:])
    stop = text[20:22]
    cut = generate(printable_model, prompt, max_length=40, seed=2, tokenizer=tokenizer, stop_sequences=stop)
    assert cut == whole[: 2 + text.index(stop) + 2]


def test_a_text_gives_a_text_that_begins_with_it(model, tokenizer) -> None:
    text = generate(model, "naïve", max_length=10, seed=1, tokenizer=tokenizer)
    stripped = generate(model, "naïve", max_length=10, seed=1, tokenizer=tokenizer, strip_prompt=True)
    assert text == "naïve" + stripped
    ids = [tokenizer.bos_token_id, *tokenizer.encode("naïve", add_special_tokens=False)]
    assert tokenizer.decode(generate(model, ids, max_length=10, seed=1, tokenizer=tokenizer)) == text
    assert generate(model, ["naïve"], max_length=10, seed=1, tokenizer=tokenizer) == [text]


def test_an_empty_prompt_is_the_begin_token(model, tokenizer) -> None:
    text = generate(model, "", max_length=10, seed=1, tokenizer=tokenizer)
    ids = generate(model, [2], max_length=10, seed=1, tokenizer=tokenizer)
    assert tokenizer.decode(ids) == text
    assert generate(model, [[]], max_length=10, seed=1, tokenizer=tokenizer) == [ids]


def test_the_models_own_tokenizer_is_taken(model, tokenizer, monkeypatch) -> None:
    expected = generate(model, "ab", max_length=5, seed=1, tokenizer=tokenizer)
    monkeypatch.setattr(model, "tokenizer", tokenizer)
    assert generate(model, "ab", max_length=5, seed=1) == expected


def test_arrays_and_tensors_come_back_in_kind(model) -> None:
    expected = generate(model, [[5, 9], [7, 8]], max_length=6, seed=1)
    array = generate(model, np.array([[5, 9], [7, 8]]), max_length=6, seed=1)
    assert isinstance(array, np.ndarray) and array.shape == (2, 8) and array.tolist() == expected
    row = generate(model, np.array([5, 9]), max_length=6, seed=1)
    assert row.shape == (8,) and row.tolist() == expected[0]
    tensor = generate(model, ops.convert_to_tensor([[5, 9], [7, 8]]), max_length=6, seed=1)
    assert ops.is_tensor(tensor) and ops.convert_to_numpy(tensor).tolist() == expected
    new = generate(model, np.array([[5, 9], [7, 8]]), max_length=6, seed=1, strip_prompt=True)
    assert new.tolist() == [row[2:] for row in expected]


def test_an_array_is_filled_with_the_pad_id_after_an_end(model, tokenizer) -> None:
    first, second = generate(model, [[5, 9], [7, 8]], max_length=6, seed=1)
    stop = next(token for token in first[3:7] if token not in second)
    end = 2 + first[2:].index(stop)
    array = generate(model, np.array([[5, 9], [7, 8]]), max_length=6, seed=1, stop_sequences=[stop])
    assert array[1].tolist() == second
    assert array[0].tolist() == first[: end + 1] + [0] * (7 - end)


def test_generation_ends_where_the_context_does(new_model) -> None:
    model = new_model(max_seq_length=20)
    rows = generate(model, [[5] * 15, [6]], max_length=50, temperature=0)
    assert [len(row) for row in rows] == [20, 20]


def test_other_prompt_lengths_and_limits_are_not_compiled_anew(new_model) -> None:
    model = new_model()
    generate(model, [3] * 33, max_length=30, seed=1, top_p=0.9)
    traces = model.num_traces
    assert traces == 2
    for length in (1, 8, 9, 25, 40):
        generate(model, [3] * length, max_length=length % 7 + 1, seed=length, temperature=0.5, top_p=0.5)
    assert model.num_traces == traces


def test_changed_weights_are_read_anew(model, greedy) -> None:
    before = generate(model, [5, 9], max_length=8, temperature=0)
    head = model.weights["head"]
    unchanged = ops.convert_to_numpy(head.value)
    try:
        head.assign(unchanged[:, ::-1])
        after = generate(model, [5, 9], max_length=8, temperature=0)
        assert after == greedy(model, [5, 9], 8) != before
    finally:
        head.assign(unchanged)


def test_ids_that_the_tokenizer_does_not_know_are_never_drawn(new_model, tokenizer) -> None:
    row = generate(new_model(vocab_size=400), [5, 399], max_length=60, seed=1, top_k=0, tokenizer=tokenizer)
    assert max(row[2:]) < tokenizer.vocab_size


def test_a_tokenizer_with_more_ids_than_the_model_is_refused(new_model, tokenizer) -> None:
    with pytest.raises(ValueError, match="the tokenizer has 263 ids and the model takes 200"):
        generate(new_model(vocab_size=200), "a", tokenizer=tokenizer)


@pytest.mark.parametrize(
    "prompts, kwargs, error, message",
    [
        ("text", {}, ValueError, "needs a tokenizer and the model has none"),
        ([], {}, ValueError, "at least 1 prompt; received none"),
        ([[]], {}, ValueError, "begin token"),
        (7, {}, TypeError, "received int"),
        ([[0.5]], {}, TypeError, "flat list of ids"),
        ([[1], "a"], {}, TypeError, "flat list of ids"),
        (np.zeros((1, 2, 3), int), {}, TypeError, "shape \\(1, 2, 3\\)"),
        (np.zeros((1, 2)), {}, TypeError, "integers"),
        ([[5, 263]], {}, ValueError, "vocab_size=263\\); received 263"),
        ([[-1]], {}, ValueError, "received -1"),
        ([[5] * 512], {}, ValueError, "prompt 0 has 512 tokens .* max_seq_length=512"),
        ([[5]], {"max_length": 0}, ValueError, "`max_length` must be .* at least 1; received 0"),
        ([[5]], {"max_length": 9, "max_new_tokens": 9}, ValueError, "name the same limit"),
        ([[5]], {"max_length": 256, "max_new_tokens": 9}, ValueError, "name the same limit"),
        ([[5]], {"stop_sequences": "end"}, ValueError, "need a tokenizer"),
        ([[5]], {"stop_sequences": [""]}, ValueError, "a text or a token id"),
        ([[5]], {"temperature": -1}, ValueError, "`temperature` must be"),
    ],
)
def test_bad_arguments_are_named(model, prompts, kwargs, error, message) -> None:
    with pytest.raises(error, match=message):
        generate(model, prompts, **kwargs)


def test_padding_inside_an_array_is_refused(model, tokenizer) -> None:
    with pytest.raises(ValueError, match="no padding"):
        generate(model, np.array([[5, 9], [5, 0]]), tokenizer=tokenizer)


def test_the_limit_has_two_names(model) -> None:
    assert generate(model, [5], max_new_tokens=4, seed=1) == generate(model, [5], max_length=4, seed=1)


class Broken:
    """A model whose logits are all one value."""

    max_seq_length, vocab_size, tokenizer = 512, 263, None

    def __init__(self, value: float):
        self.value = keras.Variable(value)
        self.variables = [self.value]

    def initial_cache(self, batch_size, max_length):
        return {"nothing": ops.zeros((batch_size,))}

    def decode(self, token_ids, cache, index, padding=None):
        return ops.zeros((*token_ids.shape, 263)) + self.value, cache


@pytest.mark.parametrize(
    "use",
    [
        generate,
        generate_batch,
        generate_beam,
        lambda model, prompts, **asked: SpeculativeGenerator(model).generate(prompts, **asked),
        lambda model, prompts, **asked: SpeculativeGenerator(model, Broken(0.0)).generate(prompts, **asked),
        lambda model, prompts, **asked: list(
            StreamingGenerator(model, tokenizer=ByteTokenizer()).generate_stream(prompts[0], **asked)
        ),
    ],
)
def test_logits_that_are_no_numbers_end_in_words_and_not_in_padding(use):
    with pytest.raises(FloatingPointError, match="after 0 new tokens of prompt 0: .* are NaN"):
        use(Broken(float("nan")), [[5, 6], [7]], max_length=4)


def test_a_special_token_may_be_named_as_a_stop(model, tokenizer):
    rows = generate(model, [[5], [6], [7]], max_length=40, seed=2, top_k=0, tokenizer=tokenizer)
    stop = next(i for row in rows for i in row[1:] if i in (4, 5, 6))
    name = tokenizer.decode([stop], skip_special_tokens=False)
    asked = {"max_length": 40, "seed": 2, "top_k": 0, "tokenizer": tokenizer}
    assert generate(model, [[5], [6], [7]], stop_sequences=name, **asked) == generate(
        model, [[5], [6], [7]], stop_sequences=[stop], **asked
    )


@pytest.mark.parametrize("limit", [0, -1, 1.5, True, "5", float("nan"), float("inf"), [3]])
def test_a_limit_that_is_no_whole_number_is_refused_in_one_line(model, limit):
    for name in ("max_length", "max_new_tokens"):
        with pytest.raises(ValueError, match=f"`{name}` must be an integer of at least 1"):
            generate(model, [5], **{name: limit})
