"""Encoding by words equals encoding whole texts."""

from __future__ import annotations

import random
import string
import sys

import pytest
from tokenizers import Tokenizer as Engine

from highnoon.tokenization import QWTTextTokenizer, word_cache

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
    by_words = tokenizer.batch_encode(texts, add_special_tokens=False)
    for text, expected, ids in zip(texts, ids_of_whole(tokenizer, texts), by_words, strict=True):
        assert ids == expected, repr(text)


@pytest.mark.parametrize("alphabet", [string.printable + "\x1c\x1f\x7f", SPACES + "a1.'é",
                                      "'sdmtlvre SL", string.ascii_letters[:3] + " \n½Ⅷ٣日é́_"])
def test_random_text_has_the_ids_of_the_whole(tokenizer: QWTTextTokenizer, alphabet: str) -> None:
    chooser = random.Random(alphabet)
    texts = ["".join(chooser.choices(alphabet, k=chooser.randrange(60))) for _ in range(1500)]
    assert_equal(tokenizer, texts)


def test_characters_of_all_blocks_have_the_ids_of_the_whole(tokenizer: QWTTextTokenizer) -> None:
    """Every character up to the last that is whitespace, and one of 512 after."""
    codes = [*range(0x3100), *range(0x3100, 0xD800, 512), *range(0xE000, sys.maxunicode, 512)]
    texts = [" ".join(f"a{chr(code)} {chr(code)}1 \n{chr(code)}" for code in codes[start:start + 64])
             for start in range(0, len(codes), 64)]
    assert_equal(tokenizer, texts)


def test_a_full_memory_is_emptied_and_nothing_changes(
    tokenizer: QWTTextTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[list[str]] = []

    def encode(words):  # type: ignore[no-untyped-def]
        calls.append(list(words))
        return [[len(word)] for word in words]

    monkeypatch.setattr(word_cache, "_MOST_CHARACTERS", 6)
    cache = word_cache.WordCache(encode)
    assert cache(["one two", "two"]) == [[3, 4], [3]]
    assert cache(["one"]) == [[3]]
    assert calls == [["one", " two", "two"], ["one"]]
    assert cache(["one"]) == [[3]]
    assert len(calls) == 2
