"""Texts that say the same thing over and over."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from highnoon.data.cleaning.step import StatelessStep, Verdict, require_shares
from highnoon.data.document import DataError, Document
from highnoon.data.ints import Ints

_TOP_SIZES = (2, 3, 4)
_DUPLICATE_SIZES = (5, 6, 7, 8, 9, 10)
_PARAGRAPH_END = re.compile(r"\n\s*\n")


@dataclasses.dataclass(frozen=True)
class Repetition(StatelessStep):
    """Drops texts that repeat themselves, by the thirteen bounds of Gopher's data.

    A line or paragraph is duplicate if an equal one came before it in the text. Shares by characters of
    lines and paragraphs are of all their characters; shares of n-grams are of the characters of all words,
    which whitespace parts. The top n-gram is the most frequent one that occurs more than once, the longest
    of several; its share is its count times its characters, at most 1. The duplicate n-gram share is that
    of the words in any n-gram that occurs more than once, each word counted once.

    Args:
        lines: Most share of duplicate lines, in [0, 1], as all that follow.
        paragraphs: Most share of duplicate paragraphs.
        line_characters: Most share of characters in duplicate lines.
        paragraph_characters: Most share of characters in duplicate paragraphs.
        top_ngrams: Most share of the top n-gram, for n of 2, 3 and 4.
        duplicate_ngrams: Most share of duplicate n-grams, for n of 5 to 10.

    Raises:
        DataError: a bound is out of range, or there are not three and six of the n-grams.

    Rae et al. (2021), "Scaling Language Models: Methods, Analysis & Insights from Training Gopher", table A1,
    whose values are the defaults. The paper leaves open whether the first occurrence of an n-gram counts as
    duplicate: here it does.

    Example:

    ```python
    assert Repetition().judge(Document("Buy now!\\n" * 9)) == "duplicate lines"
    ```
    """

    reason = "repetition"

    lines: float = 0.30
    paragraphs: float = 0.30
    line_characters: float = 0.20
    paragraph_characters: float = 0.20
    top_ngrams: tuple[float, ...] = (0.20, 0.18, 0.16)
    duplicate_ngrams: tuple[float, ...] = (0.15, 0.14, 0.13, 0.12, 0.11, 0.10)

    def __post_init__(self) -> None:
        require_shares(
            {
                name: getattr(self, name)
                for name in ("lines", "paragraphs", "line_characters", "paragraph_characters")
            }
        )
        for name, sizes in (("top_ngrams", _TOP_SIZES), ("duplicate_ngrams", _DUPLICATE_SIZES)):
            bounds: Any = getattr(self, name)
            if not isinstance(bounds, Sequence) or len(bounds) != len(sizes):
                raise DataError(
                    f"`{name}` must be {len(sizes)} shares, for n of {sizes[0]} to {sizes[-1]}; "
                    f"received {bounds!r}"
                )
            require_shares({f"{name}[{place}]": bound for place, bound in enumerate(bounds)})
            object.__setattr__(self, name, tuple(bounds))

    def judge(self, document: Document) -> Verdict:
        lines = [line for line in map(str.strip, document.text.split("\n")) if line]
        paragraphs = [part for part in map(str.strip, _PARAGRAPH_END.split(document.text)) if part]
        for parts, most, most_characters, word in (
            (lines, self.lines, self.line_characters, "lines"),
            (paragraphs, self.paragraphs, self.paragraph_characters, "paragraphs"),
        ):
            share, share_of_characters = duplicate_shares(parts)
            if share > most:
                return f"duplicate {word}"
            if share_of_characters > most_characters:
                return f"characters in duplicate {word}"
        return self._judge_ngrams(document.text.split())

    def _judge_ngrams(self, words: list[str]) -> Verdict:
        top, duplicate = ngram_shares(words)
        for n, share, most in zip(_TOP_SIZES, top, self.top_ngrams, strict=True):
            if share > most:
                return f"top {n}-gram"
        for n, share, most in zip(_DUPLICATE_SIZES, duplicate, self.duplicate_ngrams, strict=True):
            if share > most:
                return f"duplicate {n}-grams"
        return None


def duplicate_shares(parts: Sequence[str]) -> tuple[float, float]:
    """Returns the share of parts that came before, and that of the characters in them."""
    unique = set(parts)
    if len(unique) == len(parts):
        return 0.0, 0.0
    num_characters = sum(map(len, parts))
    return 1.0 - len(unique) / len(parts), 1.0 - sum(map(len, unique)) / num_characters


def ngram_shares(words: Sequence[str]) -> tuple[list[float], list[float]]:
    """Returns the shares of the top 2- to 4-grams, and of duplicate 5- to 10-grams.

    An n-gram can only occur twice where the two shorter ones in it do, so that each size looks only at the
    places that the one before left, which are soon few.
    """
    top, duplicate = [0.0] * len(_TOP_SIZES), [0.0] * len(_DUPLICATE_SIZES)
    numbers: dict[str, int] = {}
    codes: Ints = np.array([numbers.setdefault(word, len(numbers)) for word in words], np.int64)
    ends: Ints = np.concatenate(([0], np.cumsum(np.array([len(word) for word in words], np.int64))))
    places: Ints = np.arange(len(words))
    for n in range(2, _DUPLICATE_SIZES[-1] + 1):
        # Each n-gram is the pair of the (n-1)-grams that it begins and ends with.
        is_pair = np.diff(places) == 1
        keys = codes[:-1][is_pair] * (len(words) + 1) + codes[1:][is_pair]
        places = places[:-1][is_pair]
        _, codes, counts = np.unique(keys, return_inverse=True, return_counts=True)
        is_repeated = counts[codes] > 1
        places, codes = places[is_repeated], codes[is_repeated]
        if not len(places):
            break
        if n in _TOP_SIZES:
            sizes = (ends[places + n] - ends[places])[counts[codes] == counts.max()]
            top[n - _TOP_SIZES[0]] = min(float(counts.max() * sizes.max() / ends[-1]), 1.0)
        else:
            duplicate[n - _DUPLICATE_SIZES[0]] = _covered(places, n, ends)
    return top, duplicate


def _covered(places: Ints, n: int, ends: Ints) -> float:
    """The share of characters in the words of the n-grams that begin at `places`."""
    # Where n-grams overlap, each reaches only to the beginning of the next.
    stops = np.minimum(places + n, np.append(places[1:], len(ends)))
    return float((ends[stops] - ends[places]).sum() / ends[-1])
