"""Cuts are those of the engine's own pre-tokenizer."""

from __future__ import annotations

import random
import sys

import pytest
from tokenizers.pre_tokenizers import ByteLevel

from highnoon.tokenization.byte_pair.word_cuts import cut_words

ENGINE = ByteLevel(add_prefix_space=False, use_regex=True)
SPACES = "\t\n\x0b\x0c\r \x1c\x1f\x85\xa0\u1680\u2003\u2028\u202f\u3000\u200b\ufeff"


def assert_cuts(text: str) -> None:
    """Every word is a word of the engine's, every other part begins where one of its words begins."""
    data = b"\xff" + text.encode() + b"\xff"
    begins, is_word = cut_words(data)
    expected = {1 + len(text[:begin].encode()) for _, (begin, _) in ENGINE.pre_tokenize_str(text)}
    inner = begins[1:-1].tolist()
    assert set(inner) <= expected, repr(text)
    for begin, end, is_one in zip(inner, begins[2:].tolist(), is_word[1:-1].tolist(), strict=True):
        assert not is_one or not expected & set(range(begin + 1, end)), repr(text)


def test_text_of_known_characters_is_cut_wholly() -> None:
    text = "I'll don''t x1 é 日本語, naïve “quoted” — Привет мир!  \n\n  1½ 'sé"
    begins, is_word = cut_words(b"\xff" + text.encode() + b"\xff")
    assert is_word.all()
    assert len(begins) - 2 == len(ENGINE.pre_tokenize_str(text))


@pytest.mark.slow
def test_characters_of_all_blocks_are_cut_as_the_engine_does() -> None:
    codes = [
        *range(1, 0x3100),
        *range(0x3100, 0xD800, 256),
        *range(0xE000, 0x10000, 16),
        *range(0x10000, sys.maxunicode, 2048),
    ]
    for code in codes:
        assert_cuts(f"a{chr(code)}b {chr(code)}{chr(code)}1 \n{chr(code)} .{chr(code)}  ")


@pytest.mark.parametrize("alphabet", [SPACES + "a1.'é", "'sdmtlvre SL1é", "ab \n½Ⅷ٣日é́_\U0001f600", "' \n."])
def test_random_text_is_cut_as_the_engine_does(alphabet: str) -> None:
    chooser = random.Random(alphabet)
    for _ in range(2000):
        assert_cuts("".join(chooser.choices(alphabet, k=chooser.randrange(1, 25))))
