"""The text of new tokens, cut at stop sequences and at whole characters."""

from __future__ import annotations

import random

import pytest

from highnoon.inference.decoding.continuation import Continuation
from highnoon.tokenization import ByteTokenizer

TOKENIZER = ByteTokenizer()


def ids(text: str | bytes) -> list[int]:
    return TOKENIZER.encode_bytes(text.encode() if isinstance(text, str) else text)


class SpaceDropping:
    """Like tokenizers that join words with spaces and drop the one before the first word."""

    words = ("to", "be", "or")

    def decode(self, token_ids: list[int]) -> str:
        return " ".join(self.words[i] for i in token_ids)


def test_a_space_before_the_first_new_word_is_kept() -> None:
    assert Continuation(SpaceDropping(), [0, 1]).text([2, 0]) == " or to"


@pytest.mark.parametrize("num_bytes, settled", [(0, ""), (1, ""), (2, ""), (3, "€"), (4, "€a"), (5, "€a")])
def test_a_character_is_settled_when_all_its_bytes_are_there(num_bytes: int, settled: str) -> None:
    new = ids("€aé")[:num_bytes]
    assert Continuation(TOKENIZER, ids("x")).settled(new) == settled


def test_broken_bytes_are_settled_once_a_whole_character_follows() -> None:
    continuation = Continuation(TOKENIZER, ids("x"))
    assert continuation.settled(ids(b"\xff")) == ""
    assert continuation.settled(ids(b"\xffa")) == "\ufffda"
    assert continuation.text(ids(b"\xff")) == "\ufffd"


def test_a_prompt_of_ids_may_end_within_a_character() -> None:
    euro = ids("€")
    assert Continuation(TOKENIZER, euro[:2]).text([euro[2], *ids("!")]) == "€!"


def test_a_prompt_that_ends_with_the_replacement_character_is_not_repeated() -> None:
    assert Continuation(TOKENIZER, ids("a\ufffd")).text(ids("b")) == "b"


def test_the_first_of_several_stops_cuts() -> None:
    continuation = Continuation(TOKENIZER, ids("x"), ["END", "STOP"])
    assert continuation.text(ids("one STOP two END")) == "one "
    assert continuation.is_stopped(ids("one STOP"))
    assert not continuation.is_stopped(ids("one STO"))


def test_a_stop_that_lies_partly_in_the_prompt_does_not_count() -> None:
    continuation = Continuation(TOKENIZER, ids("ST"), ["STOP"])
    assert continuation.text(ids("OP now")) == "OP now"


@pytest.mark.parametrize(
    "text, settled",
    [
        ("one S", "one "),
        ("one ST", "one "),
        ("one STO", "one "),
        ("one STA", "one STA"),
        ("aaSTOPb", "aa"),
    ],
)
def test_what_may_begin_a_stop_is_held_back(text: str, settled: str) -> None:
    assert Continuation(TOKENIZER, ids("x"), ["STOP"]).settled(ids(text)) == settled


def test_ids_are_kept_up_to_the_token_that_completes_the_stop() -> None:
    continuation = Continuation(TOKENIZER, ids("x"), ["STOP"])
    assert continuation.up_to_stop(ids("a STOP b")) == ids("a STOP")
    assert continuation.up_to_stop(ids("a b")) == ids("a b")


def test_a_stop_of_a_text_and_a_special_token_ends_and_is_cut():
    end = TOKENIZER.eos_token_id
    continuation = Continuation(TOKENIZER, ids("x"), [], ["END<|eos|>\n"])
    new = [*ids("one END"), end, *ids("\n two")]
    assert continuation.text(new) == "one "
    assert continuation.up_to_stop(new) == [*ids("one END"), end, *ids("\n")]
    assert continuation.text([*ids("one END two"), end]) == "one END two"
    assert [continuation.settled(new[:n]) for n in (3, 5, 7, 8)] == ["one", "one ", "one ", "one "]


def test_an_incomplete_character_is_no_stop_of_the_replacement_character():
    continuation = Continuation(TOKENIZER, ids("x"), ["\ufffd"])
    assert not continuation.is_stopped(ids("€")[:2])
    assert continuation.text(ids("€")) == "€"
    assert continuation.text(ids(b"a\xffb")) == "a"


@pytest.mark.parametrize("stops", [(), ("A",), ("\ufffd",), ("AA", "A "), ("€", "AB")])
def test_pieces_of_any_bytes_make_up_the_whole_text(stops):
    draw = random.Random(0)
    for _ in range(300):
        pool = draw.sample(list(b"\xe2\x82\xac\xf0\x9f\x98\x80\xffA\xc3\xa9\xef\xbf\xbd B"), 6)
        prompt, new = (ids(bytes(draw.choices(pool, k=count))) for count in (3, 10))
        continuation = Continuation(TOKENIZER, prompt, stops)
        whole = continuation.text(continuation.up_to_stop(new))
        for count in range(1, 10):
            assert whole.startswith(continuation.settled(continuation.up_to_stop(new[:count])))
