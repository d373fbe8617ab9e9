"""Encoding by words equals encoding whole texts."""

from __future__ import annotations

import itertools
import random
import string
import sys
from collections.abc import Sequence

import numpy as np
import pytest
from tokenizers import Tokenizer as Engine

from highnoon.data import StandardLibrary
from highnoon.tokenization import QWTTextTokenizer
from highnoon.tokenization.byte_pair import word_cache
from highnoon.tokenization.byte_pair.word_merges import WordMerges
from highnoon.tokenization.byte_pair.word_table import WordTable, word_keys

SPACES = "\t\n\x0b\x0c\r \x1c\x1d\x1e\x1f\x85\xa0\u1680\u2003\u2028\u2029\u202f\u205f\u3000\u200b\ufeff"


@pytest.fixture(scope="module")
def tokenizer() -> QWTTextTokenizer:
    words = ["don't", "they're", "x1", "  if", "a_b", "==", "!=", "\n\n", "\n    ", "é", "\u3000", "１"]
    chooser = random.Random(0)
    texts = ["".join(chooser.choices(words, k=30)) for _ in range(200)]
    return QWTTextTokenizer().train_from_texts(texts, vocab_size=500)


def ids_of_whole(tokenizer: QWTTextTokenizer, texts: list[str]) -> list[list[int]]:
    engine = Engine.from_str(tokenizer.to_json())
    engine.encode_special_tokens = True
    return [encoding.ids for encoding in engine.encode_batch(texts, add_special_tokens=False)]


def assert_equal(tokenizer: QWTTextTokenizer, texts: list[str]) -> None:
    packed, counts = tokenizer.encode_packed(texts)
    by_words = np.split(packed, np.cumsum(counts)[:-1])
    for text, expected, ids in zip(texts, ids_of_whole(tokenizer, texts), by_words, strict=True):
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
def test_random_text_has_the_ids_of_the_whole(tokenizer: QWTTextTokenizer, alphabet: str) -> None:
    chooser = random.Random(alphabet)
    texts = ["".join(chooser.choices(alphabet, k=chooser.randrange(60))) for _ in range(1500)]
    assert_equal(tokenizer, texts)


def test_characters_of_all_blocks_have_the_ids_of_the_whole(tokenizer: QWTTextTokenizer) -> None:
    """Every character up to the last that is whitespace, and some after."""
    codes = [
        *range(0x3100),
        *range(0x3100, 0xD800, 64),
        *range(0xE000, 0x10000, 8),
        *range(0x10000, sys.maxunicode, 512),
    ]
    texts = [
        " ".join(f"a{chr(code)} {chr(code)}1 \n{chr(code)}" for code in codes[start : start + 64])
        for start in range(0, len(codes), 64)
    ]
    assert_equal(tokenizer, texts)


def test_real_text_has_the_ids_of_the_whole(tokenizer: QWTTextTokenizer) -> None:
    documents = itertools.islice(StandardLibrary(("code",)).documents(), 0, 600, 20)
    texts = [document.text[:20_000] for document in documents]
    assert_equal(tokenizer, texts)


def test_odd_texts_between_others_have_the_ids_of_the_whole(tokenizer: QWTTextTokenizer) -> None:
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


def test_texts_longer_than_a_block_have_the_ids_of_the_whole(
    tokenizer: QWTTextTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(word_cache, "_BLOCK_BYTES", 50)
    chooser = random.Random(4)
    texts = ["".join(chooser.choices("ab '\n\té\u3000.1s", k=chooser.randrange(400))) for _ in range(60)]
    assert_equal(tokenizer, texts)


def lists_of(cache: word_cache.WordCache, texts: list[str]) -> list[list[int]]:
    ids, counts = cache(texts)
    return [row.tolist() for row in np.split(ids, np.cumsum(counts)[:-1])]


@pytest.mark.parametrize("limit", ["_MOST_WORDS", "_MOST_LONG_BYTES"])
def test_a_full_memory_is_emptied_and_nothing_changes(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    calls: list[list[str]] = []

    def encode(words: Sequence[str]) -> list[list[int]]:
        calls.append(list(words))
        return [[len(word)] * 2 for word in words]

    monkeypatch.setattr(word_cache, limit, 3)
    monkeypatch.setattr(word_cache, "LONGEST_WORD_BYTES", 2)
    cache = word_cache.WordCache(encode, WordMerges([]))
    long = "x" * 40
    assert lists_of(cache, [f"one two {long}", "two"]) == [[3, 3, 4, 4, 41, 41], [3, 3]]
    assert sorted(itertools.chain(*calls)) == sorted(["one", " two", "two", f" {long}"])
    assert lists_of(cache, ["one"]) == [[3, 3]]
    assert calls[-1] == ["one"]
    count = len(calls)
    assert lists_of(cache, ["one"]) == [[3, 3]]
    assert len(calls) == count


def test_words_that_share_a_slot_are_told_apart() -> None:
    table = WordTable(20)
    words = [f"w{number}".encode() for number in range(300_000)]
    data = b"".join(words)
    lengths = np.array([len(word) for word in words])
    first, second = word_keys(data, np.cumsum(lengths) - lengths, lengths)
    for part in (slice(0, 200_000), slice(200_000, None)):
        assert (table.find(first[part], second[part]) == -1).all()
        table.add(first[part], second[part], np.arange(300_000)[part])
    assert np.array_equal(table.find(first, second), np.arange(300_000))


def test_keys_hold_every_byte_of_a_word_and_its_length() -> None:
    words = [b"a", b"a\0", b"abcdefgh", b"abcdefghi", b"abcdefgh\0", b"x" * 15, b"x" * 14 + b"y"]
    data = b"".join(words)
    lengths = np.array([len(word) for word in words])
    first, second = word_keys(data, np.cumsum(lengths) - lengths, lengths)
    assert len(set(zip(first.tolist(), second.tolist(), strict=True))) == len(words)
    whole = [
        (one | (two << 64)).to_bytes(16, "little")
        for one, two in zip(first.tolist(), second.tolist(), strict=True)
    ]
    assert whole == [word.ljust(15, b"\0") + bytes([len(word)]) for word in words]


def test_a_long_text_without_a_blank_is_cut_or_encoded_whole(
    tokenizer: QWTTextTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(word_cache, "_BLOCK_BYTES", 500)
    monkeypatch.setattr(word_cache, "_LONGEST_PART_BYTES", 1000)
    chooser = random.Random(1)
    letters = "".join(chooser.choices(string.ascii_letters + string.digits + "+/'", k=20_000))
    marks = "".join(chooser.choices(string.ascii_letters + "+/,.;:'é", k=20_000))
    assert_equal(tokenizer, ["a b", letters, "c", marks, "d e", "", marks])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("alphabet", "size"),
    [(string.ascii_letters + "0123+/", 20_000_000), (string.ascii_letters + "+/", 4_000_000)],
)
def test_megabytes_without_a_blank_have_ids(tokenizer: QWTTextTokenizer, alphabet: str, size: int) -> None:
    text = "".join(random.Random(2).choices(alphabet, k=size))
    ids, [count] = tokenizer.encode_packed([text])
    assert count == len(ids)
    begin, end = (tokenizer.decode(part.tolist()) for part in (ids[:99_000], ids[-99_000:]))
    assert text.startswith(begin) and text.endswith(end)
    [expected] = ids_of_whole(tokenizer, [text[:100_000]])
    assert ids[: len(expected) - 20].tolist() == expected[:-20]


def test_a_table_keeps_a_free_slot() -> None:
    table = WordTable(3)
    data = b"abcdefgh"
    first, second = word_keys(data, np.arange(8), np.ones(8, np.int64))
    table.add(first[:7], second[:7], np.arange(7))
    assert table.find(first, second).tolist() == [*range(7), -1]
    with pytest.raises(OverflowError, match="a table of 8 slots holds 7 words at most; 7 are there"):
        table.add(first[7:], second[7:], np.arange(1))
