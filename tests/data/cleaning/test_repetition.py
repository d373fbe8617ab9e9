"""Fractions of what repeats itself, next to counts by hand and a naive count."""

from __future__ import annotations

import collections
import random

import pytest

from highnoon.data import DataError, Document
from highnoon.data.cleaning import Repetition
from highnoon.data.cleaning.repetition import duplicate_fractions, ngram_fractions

OPEN = {
    "lines": 1.0,
    "paragraphs": 1.0,
    "line_characters": 1.0,
    "paragraph_characters": 1.0,
    "top_ngrams": (1.0,) * 3,
    "duplicate_ngrams": (1.0,) * 6,
}


def naive_fractions(words):
    """The same fractions, n-gram by n-gram."""
    total = sum(map(len, words))
    top, duplicate = [], []
    for n in range(2, 11):
        grams = [tuple(words[index : index + n]) for index in range(len(words) - n + 1)]
        counts = collections.Counter(grams)
        repeated = [gram for gram in grams if counts[gram] > 1]
        if n < 5:
            most = max((counts[gram] for gram in repeated), default=0)
            longest = max((len("".join(gram)) for gram in repeated if counts[gram] == most), default=0)
            top.append(min(most * longest / total, 1.0))
        else:
            covered = {
                index + offset for index, gram in enumerate(grams) if counts[gram] > 1 for offset in range(n)
            }
            duplicate.append(sum(len(words[index]) for index in covered) / total)
    return top, duplicate


@pytest.mark.parametrize("vocabulary", [1, 2, 3, 30])
def test_ngram_fractions_equal_a_naive_count(vocabulary):
    chooser = random.Random(vocabulary)
    for length in (1, 2, 9, 10, 11, 60, 200):
        words = ["w" * (1 + chooser.randrange(vocabulary)) for _ in range(length)]
        words += words[: length // 3]
        top, duplicate = ngram_fractions(words)
        assert (top, duplicate) == tuple(map(pytest.approx, naive_fractions(words)))


def test_a_text_without_words_repeats_nothing():
    assert ngram_fractions([]) == ([0.0] * 3, [0.0] * 6)


def test_duplicate_fractions_are_of_what_came_before():
    assert duplicate_fractions(["long line", "b", "b", "b"]) == (0.5, pytest.approx(2 / 12))


@pytest.mark.parametrize(
    ("option", "text", "expected"),
    [
        ({"lines": 0.3}, "a\nb\na", "duplicate lines"),
        ({"paragraphs": 0.3}, "a\n\nb\n\na", "duplicate paragraphs"),
        ({"line_characters": 0.4}, "x\ny\nlonger\nlonger", "characters in duplicate lines"),
        ({"paragraph_characters": 0.4}, "x\n\ny\n\nlonger\n\nlonger", "characters in duplicate paragraphs"),
        ({"top_ngrams": (0.5, 1.0, 1.0)}, "a b a b c d", "top 2-gram"),
        ({"top_ngrams": (1.0, 1.0, 0.5)}, "a b c d a b c d e", "top 4-gram"),
        ({"duplicate_ngrams": (0.5, 1.0, 1.0, 1.0, 1.0, 1.0)}, "a b c d e a b c d e f", "duplicate 5-grams"),
        (
            {"duplicate_ngrams": (1.0, 1.0, 1.0, 1.0, 1.0, 0.5)},
            "1 2 3 4 5 6 7 8 9 0 " * 2,
            "duplicate 10-grams",
        ),
    ],
)
def test_each_bound_drops_for_its_own_reason(option, text, expected):
    assert Repetition(**OPEN).judge(Document(text)) is None
    assert Repetition(**{**OPEN, **option}).judge(Document(text)) == expected


def test_defaults_are_the_published_ones_and_keep_prose():
    step = Repetition()
    assert (step.lines, step.paragraphs) == (0.3, 0.3)
    assert (step.line_characters, step.paragraph_characters) == (0.2, 0.2)
    assert step.top_ngrams == (0.20, 0.18, 0.16)
    assert step.duplicate_ngrams == (0.15, 0.14, 0.13, 0.12, 0.11, 0.10)
    prose = "One morning a fox went down to the river.\nNo crow was there to be seen."
    assert step.judge(Document(prose)) is None
    assert step.judge(Document("Click here!\n" * 5)) == "duplicate lines"


def test_a_wrong_number_of_bounds_is_an_error():
    with pytest.raises(DataError, match="`top_ngrams` must be 3 fractions, for n of 2 to 4; received"):
        Repetition(top_ngrams=(0.2, 0.1))
    with pytest.raises(DataError, match=r"`duplicate_ngrams\[1\]` must be in \[0, 1\]; received 14"):
        Repetition(duplicate_ngrams=(0.15, 14, 0.13, 0.12, 0.11, 0.1))
