"""The fast path for large texts gives the ids of the engine that trained the tokenizer."""

from __future__ import annotations

import itertools
import pickle
import random
import string
import sys

import numpy as np
import pytest
from tokenizers import Tokenizer as Engine

from highnoon.data import StandardLibrary
from highnoon.tokenization import BytePairTokenizer
from highnoon.tokenization.byte_pair import rank_encoder

SPACES = "\t\n\x0b\x0c\r \x1c\x1d\x1e\x1f\x85\xa0\u1680\u2003\u2028\u2029\u202f\u205f\u3000\u200b\ufeff"


@pytest.fixture(scope="module")
def tokenizer() -> BytePairTokenizer:
    words = ["don't", "they're", "x1", "  if", "a_b", "==", "!=", "\n\n", "\n    ", "é", "\u3000", "１"]
    chooser = random.Random(0)
    texts = ["".join(chooser.choices(words, k=30)) for _ in range(200)]
    trained = BytePairTokenizer().train_from_texts(texts, vocab_size=500)
    assert trained._rank_encoder.is_equal
    return trained


def ids_of_engine(tokenizer: BytePairTokenizer, texts: list[str]) -> list[list[int]]:
    engine = Engine.from_str(tokenizer.to_json())
    engine.encode_special_tokens = True
    return [encoding.ids for encoding in engine.encode_batch(texts, add_special_tokens=False)]


def assert_equal(tokenizer: BytePairTokenizer, texts: list[str]) -> None:
    packed, counts = tokenizer.encode_packed(texts)
    by_text = np.split(packed, np.cumsum(counts)[:-1])
    for text, expected, ids in zip(texts, ids_of_engine(tokenizer, texts), by_text, strict=True):
        assert ids.tolist() == expected, repr(text)


@pytest.mark.parametrize(
    "alphabet",
    [
        string.printable + "\x1c\x1f\x7f",
        SPACES + "a1.'é",
        "'sdmtlvre SL",
        string.ascii_letters[:3] + " \n½Ⅷ٣日é́_",
    ],
)
def test_random_text_has_the_ids_of_the_engine(tokenizer: BytePairTokenizer, alphabet: str) -> None:
    chooser = random.Random(alphabet)
    texts = ["".join(chooser.choices(alphabet, k=chooser.randrange(60))) for _ in range(1500)]
    assert_equal(tokenizer, texts)


def test_characters_of_all_blocks_have_the_ids_of_the_engine(tokenizer: BytePairTokenizer) -> None:
    """The two engines have their own tables of letters, digits and white space."""
    codes = [
        *range(0x3400),
        *range(0x3400, 0xA000, 16),
        *range(0xA000, 0xAC00),
        *range(0xAC00, 0xD800, 16),
        *range(0xE000, 0x10000, 4),
        *range(0x10000, 0x12000),
        *range(0x12000, sys.maxunicode, 64),
    ]
    texts = [
        " ".join(f"a{chr(code)} {chr(code)}1 \n{chr(code)}" for code in codes[start : start + 64])
        for start in range(0, len(codes), 64)
    ]
    assert_equal(tokenizer, texts)


def test_real_text_has_the_ids_of_the_engine(tokenizer: BytePairTokenizer) -> None:
    documents = itertools.islice(StandardLibrary(("code",)).documents(), 0, 600, 20)
    texts = [document.text[:20_000] for document in documents]
    assert_equal(tokenizer, texts)
    trained = BytePairTokenizer().train_from_texts(texts, vocab_size=2000)
    assert trained._rank_encoder.is_equal
    assert_equal(trained, texts)


def test_runs_of_one_letter_have_the_ids_of_the_engine() -> None:
    """Where a token can be made of others in several ways, the order of merges decides."""
    chooser = random.Random(3)
    texts = [" ".join("a" * chooser.randrange(1, 40) for _ in range(50)) for _ in range(40)]
    texts += ["".join(chooser.choices("ab", k=200)) for _ in range(400)]
    trained = BytePairTokenizer().train_from_texts(texts, vocab_size=700)
    assert trained._rank_encoder.is_equal
    assert_equal(trained, [*texts, *("a" * count for count in range(200))])


def test_odd_texts_between_others_have_the_ids_of_the_engine(tokenizer: BytePairTokenizer) -> None:
    assert_equal(
        tokenizer,
        [
            "",
            " ",
            "\n\n",
            "'",
            "'s",
            " 's",
            "''s",
            "'s's",
            "'sword it'll'd",
            "x'",
            "a'l",
            "\x00",
            "a\x00\x00b",
            "é",
            "",
            "  é\u3000 \n b",
            "日本語" * 40,
            "a" * 15,
            "b" * 16,
            " " * 15 + "c",
            "<|eos|>",
            "'r",
            "",
            "'v",
            "\U0001f600 👩‍👩‍👧 x",
            "ﬁ ﬂ",
            "e\u0301 n\u0303",
            "\u200f\u05d0 \u05d1",
            "\ufeffx",
            "",
        ],
    )


def test_a_very_long_run_of_white_space_has_the_ids_of_the_engine(tokenizer: BytePairTokenizer) -> None:
    """`tiktoken` alone panics on a million of them before a word."""
    text = "a" * 150_000 + "\n" * 1_100_000 + "x"
    assert not tokenizer._rank_encoder.takes(text)
    assert_equal(tokenizer, ["a b", text, "c"])


def test_a_long_text_without_a_blank_has_the_ids_of_the_engine(tokenizer: BytePairTokenizer) -> None:
    chooser = random.Random(1)
    letters = "".join(chooser.choices(string.ascii_letters + string.digits + "+/'", k=20_000))
    marks = "".join(chooser.choices(string.ascii_letters + "+/,.;:'é", k=20_000))
    assert_equal(tokenizer, ["a b", letters, "c", marks, "d e", "", marks])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("alphabet", "size"),
    [(string.ascii_letters + "0123+/", 20_000_000), (string.ascii_letters + "+/", 4_000_000)],
)
def test_megabytes_without_a_blank_have_ids(tokenizer: BytePairTokenizer, alphabet: str, size: int) -> None:
    text = "".join(random.Random(2).choices(alphabet, k=size))
    ids, [count] = tokenizer.encode_packed([text])
    assert count == len(ids)
    begin, end = (tokenizer.decode(part.tolist()) for part in (ids[:99_000], ids[-99_000:]))
    assert text.startswith(begin) and text.endswith(end)
    [expected] = ids_of_engine(tokenizer, [text[:100_000]])
    assert ids[: len(expected) - 20].tolist() == expected[:-20]


MERGES_WITHOUT_RANKS = {
    "two merges that give one token": [("a", "b"), ("b", "c"), ("ab", "c"), ("a", "bc")],
    "a token that its bytes do not reach": [("b", "c"), ("a", "b"), ("ab", "c")],
    "one merge twice": [("a", "b"), ("b", "c"), ("a", "b")],
    "a token named as a special one": [
        ("<", "|"),
        ("<|", "p"),
        ("<|p", "a"),
        ("<|pa", "d"),
        ("<|pad", "|"),
        ("<|pad|", ">"),
    ],
}


@pytest.mark.parametrize("merges", MERGES_WITHOUT_RANKS.values(), ids=MERGES_WITHOUT_RANKS)
def test_merges_that_ranks_cannot_represent_keep_their_ids(merges) -> None:
    tokenizer = BytePairTokenizer()
    tokenizer._set_merges(merges)
    assert not tokenizer._rank_encoder.is_equal
    chooser = random.Random(0)
    assert_equal(tokenizer, ["".join(chooser.choices("abc <|pad>", k=60)) for _ in range(300)])


def test_without_the_check_their_ids_would_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    """`tiktoken` merges any neighbors that are a token together, listed or not."""
    tokenizer = BytePairTokenizer()
    tokenizer._set_merges(MERGES_WITHOUT_RANKS["a token that its bytes do not reach"])
    monkeypatch.setattr(rank_encoder, "_each_token_is_reached", lambda definition: True)
    [ids], [expected] = tokenizer._rank_encoder.encode(["abc"]), ids_of_engine(tokenizer, ["abc"])
    assert len(ids) == 1 and len(expected) == 2


def test_a_lone_surrogate_is_refused(tokenizer: BytePairTokenizer) -> None:
    with pytest.raises(UnicodeEncodeError, match="surrogates not allowed"):
        tokenizer.encode_packed(["ab", "a\ud800b"])


def test_a_copy_in_another_process_encodes_too(tokenizer: BytePairTokenizer) -> None:
    tokenizer.encode_packed(["they're"])
    assert_equal(pickle.loads(pickle.dumps(tokenizer)), ["they're x1  if"])
