"""Texts that are nearly equal, next to their true similarity."""

from __future__ import annotations

import random
import sys

import pytest

from highnoon.data import DataError, Document
from highnoon.data.cleaning import CleanedSource, NearDuplicates

pytest.importorskip("datasketch")


def story(seed, changed=0):
    """200 words, of which the first few are others."""
    chooser = random.Random(seed)
    words = [f"word{chooser.randrange(10_000)}" for _ in range(200)]
    return " ".join([f"other{index}" for index in range(changed)] + words[changed:])


def similarity(one, other, size=5):
    sets = [
        {tuple(words[index : index + size]) for index in range(len(words) - size + 1)}
        for words in (one.split(), other.split())
    ]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def test_the_first_of_near_equal_texts_stays_and_others_are_not_touched(make_source):
    texts = [story(1), story(2), story(1, changed=5), story(3), story(2).upper() + "!", story(1, changed=120)]
    source = CleanedSource(make_source(texts), [NearDuplicates()])
    assert similarity(texts[0], texts[2]) > 0.9 and similarity(texts[0], texts[5]) < 0.5
    assert [document.id for document in source.documents()] == ["0", "1", "3", "5"]
    assert source.report()["steps"][0]["dropped"]["near duplicate"]["documents"] == 2


def test_two_readings_give_the_same(make_source):
    texts = [story(seed % 7, changed=seed) for seed in range(40)]
    source = CleanedSource(make_source(texts), [NearDuplicates()])
    kept = [document.id for document in source.documents()]
    assert kept == [document.id for document in source.documents()] and 7 <= len(kept) < 40


def test_what_was_dropped_is_not_compared_with():
    judge = NearDuplicates(0.8).start()
    first, second, third = story(1), story(1, changed=15), story(1, changed=30)
    assert similarity(first, second) > 0.84 and similarity(second, third) > 0.82
    assert similarity(first, third) < 0.75
    assert [judge(Document(text)) for text in (first, second, third)] == [None, "near duplicate", None]


def test_texts_of_one_band_that_are_less_alike_stay():
    judge = NearDuplicates(0.8).start()
    pairs = [(story(seed), story(seed, changed=36)) for seed in range(100)]
    assert similarity(*pairs[0]) < 0.7
    assert [judge(Document(text)) for pair in pairs for text in pair] == [None] * 200


def test_texts_shorter_than_a_shingle_are_compared_whole():
    judge = NearDuplicates().start()
    found = [judge(Document(text)) for text in ("one two", "One, two!", "one three", "...", "!")]
    assert found == [None, "near duplicate", None, None, "near duplicate"]


def test_an_argument_out_of_range_is_an_error():
    for option, message in (
        ({"threshold": 0}, "above 0"),
        ({"threshold": 1.5}, r"in \[0, 1\]"),
        ({"shingle_words": 0}, "at least 1"),
        ({"num_hashes": 8}, "at least 16"),
    ):
        with pytest.raises(DataError, match=message):
            NearDuplicates(**option)


def test_a_missing_library_is_an_error_that_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasketch", None)
    with pytest.raises(ImportError, match=r"pip install highnoon\[clean\]"):
        NearDuplicates()
