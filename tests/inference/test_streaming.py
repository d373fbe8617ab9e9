"""Text as it is generated."""

from __future__ import annotations

import inspect

import keras
import pytest
from keras import ops

from highnoon.inference import StreamingGenerator, generate


def test_the_documented_arguments_and_defaults() -> None:
    parameters = inspect.signature(StreamingGenerator).parameters
    assert {name: p.default for name, p in parameters.items() if name != "model"} == {
        "chunk_size": 8,
        "tokenizer": None,
    }


@pytest.mark.parametrize("chunk_size", [1, 5, 8, 100])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_pieces_make_up_the_continuation(model, tokenizer, chunk_size: int, seed: int) -> None:
    asked = {"max_length": 60, "seed": seed, "top_k": 0}
    expected = generate(model, "naïve", tokenizer=tokenizer, strip_prompt=True, **asked)
    pieces = list(StreamingGenerator(model, chunk_size, tokenizer).generate_stream("naïve", **asked))
    assert "".join(pieces) == expected
    assert all(pieces)
    assert len(pieces) > 1 or chunk_size == 100


class Scripted:
    """A model that says a text byte by byte, whatever it is asked."""

    max_seq_length, vocab_size, tokenizer = 512, 263, None

    def __init__(self, token_ids: list[int]):
        self.script = keras.Variable(token_ids, dtype="int32")
        self.variables = [self.script]

    def initial_cache(self, batch_size, max_length):
        return {"nothing": ops.zeros((batch_size,))}

    def decode(self, token_ids, cache, index, padding=None):
        said = ops.one_hot(ops.take(self.script, index - padding), 263)
        return ops.repeat(said[:, None], token_ids.shape[1], axis=1), cache


def script(tokenizer, text: str) -> Scripted:
    # The prompt is the begin token alone, so the token at place 0 answers it.
    return Scripted([*tokenizer.encode_bytes(text.encode()), tokenizer.eos_token_id] + [0] * 64)


def test_a_piece_never_ends_within_a_character(tokenizer) -> None:
    text = "aé€😀 naïve 漢字 end"
    stream = StreamingGenerator(script(tokenizer, text), 1, tokenizer)
    pieces = list(stream.generate_stream("", temperature=0))
    assert pieces == list(text)


def test_a_stop_text_is_never_seen_even_when_it_comes_in_parts(tokenizer) -> None:
    model = script(tokenizer, "one ST two STOP three")
    for chunk_size in (1, 3, 50):
        stream = StreamingGenerator(model, chunk_size, tokenizer)
        pieces = list(stream.generate_stream("", temperature=0, stop_sequences=["STOP"]))
        assert "".join(pieces) == "one ST two "


def test_the_stream_ends_at_the_end_token(tokenizer) -> None:
    pieces = StreamingGenerator(script(tokenizer, "done"), 3, tokenizer).generate_stream("", temperature=0)
    assert "".join(pieces) == "done"


def test_a_prompt_of_ids_streams_too(model, tokenizer) -> None:
    stream = StreamingGenerator(model, 4, tokenizer)
    assert "".join(stream.generate_stream([2, 104], max_length=20, seed=1)) == "".join(
        stream.generate_stream("a", max_length=20, seed=1)
    )


def test_bad_arguments_are_named_before_the_first_piece(model, tokenizer) -> None:
    with pytest.raises(ValueError, match="`chunk_size` must be an integer of at least 1; received 0"):
        StreamingGenerator(model, chunk_size=0)
    with pytest.raises(ValueError, match="one prompt; received 2"):
        StreamingGenerator(model, tokenizer=tokenizer).generate_stream(["a", "b"])
    with pytest.raises(ValueError, match="needs a tokenizer"):
        StreamingGenerator(model).generate_stream([5])


def test_an_unknown_argument_is_refused_by_the_name_that_users_know(model, tokenizer) -> None:
    stream = StreamingGenerator(model, tokenizer=tokenizer)
    expected = r"^generate_stream\(\) has no argument `temprature`; did you mean `temperature`\?$"
    with pytest.raises(TypeError, match=expected):
        stream.generate_stream("a", temprature=1)
