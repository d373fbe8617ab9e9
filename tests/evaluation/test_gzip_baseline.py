from __future__ import annotations

import gzip
import random

import pytest

from highnoon.evaluation import gzip_bits_per_byte


def test_bits_per_byte_equal_those_of_gzip_9_on_the_joined_bytes():
    texts = ["Größe und Maß. " * 40, "", "def f(x):\n    return x\n" * 30, "\N{SNOWMAN}" * 7]
    joined = "".join(texts).encode()
    expected = 8 * len(gzip.compress(joined, compresslevel=9, mtime=0)) / len(joined)
    assert gzip_bits_per_byte(iter(texts)) == expected


def test_a_text_seen_before_costs_next_to_nothing():
    noise = "".join(random.Random(0).choices("abcdefghijklmnop", k=4000))
    once, twice = gzip_bits_per_byte([noise]), gzip_bits_per_byte([noise, noise])
    assert twice < 0.6 * once


@pytest.mark.parametrize("texts", [[], [""], ["", ""]])
def test_texts_without_a_byte_are_refused(texts):
    with pytest.raises(ValueError, match="at least one byte"):
        gzip_bits_per_byte(texts)
