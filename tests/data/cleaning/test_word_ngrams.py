"""Words and runs of words as numbers."""

from __future__ import annotations

import pytest

from highnoon.data.cleaning.word_ngrams import hash_ngrams, hash_words, split_words, word_pattern

TEXTS = [
    "",
    "...",
    "One, two; THREE's 4th under_score",
    "Straße İstanbul ǅ naïve — „zwei“",
    "東京は big です",
    "a\nb\tc\x1cd\x85e",
]


@pytest.mark.parametrize("text", TEXTS)
def test_there_are_as_many_words_as_the_pattern_finds(text):
    found = [match[0] for match in word_pattern(text).finditer(text)]
    assert split_words(text) == [word.casefold() for word in found]


def test_case_and_punctuation_do_not_count_and_single_characters_do():
    assert split_words("It's HERE: (now)!") == ["it", "s", "here", "now"]
    assert split_words("STRASSE Straße") == ["strasse", "strasse"]
    assert split_words("東京 tower") == ["東", "京", "tower"]


def test_numbers_are_the_same_in_every_process():
    assert hash_words(["fox"]).tolist() == [13218999603221225746]


def test_equal_runs_have_equal_numbers_and_others_do_not():
    words = "a b c a b c b a".split()
    grams = hash_ngrams(hash_words(words), 3).tolist()
    by_text = {}
    for index, gram in enumerate(grams):
        by_text.setdefault(tuple(words[index : index + 3]), set()).add(gram)
    assert len(grams) == 6 and all(len(found) == 1 for found in by_text.values())
    assert len(set(grams)) == len(by_text) == 5
    assert hash_ngrams(hash_words(words), 9).tolist() == []
