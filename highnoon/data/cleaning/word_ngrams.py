"""Hashes of words and word n-grams, the same on every machine."""

from __future__ import annotations

import hashlib
import re

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]

# A Chinese or Japanese character counts as a word, because these scripts do not separate words.
_SINGLE = "\u3040-\u30ff\u3400-\u9fff"
_WORD = re.compile(rf"[{_SINGLE}]|[^\W{_SINGLE}]+")
_WORD_OF_ASCII = re.compile(r"\w+", re.ASCII)

# Lower case, with a space for every character that is not part of a word.
_ASCII_WORDS = bytes(
    code if code >= 128 or chr(code).isalnum() or code == ord("_") else ord(" ") for code in range(256)
).lower()

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_MOST_WORDS = 1 << 18
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


def word_pattern(text: str) -> re.Pattern[str]:
    """Returns the pattern of the words of `text`: runs of letters and digits, without punctuation."""
    return _WORD_OF_ASCII if text.isascii() else _WORD


def split_words(text: str) -> list[str]:
    """Returns the casefolded words of a text, as many as `word_pattern` matches."""
    if text.isascii():
        return text.encode().translate(_ASCII_WORDS).decode().split()
    words = word_pattern(text).findall(text)
    return "\n".join(words).casefold().split("\n") if words else []


def hash_words(words: list[str]) -> Hashes:
    """Returns the 64-bit hash of each word, shape (words,)."""
    return np.fromiter(map(_HASHES.__getitem__, words), np.uint64, len(words))


def hash_ngrams(word_hashes: Hashes, n: int) -> Hashes:
    """Returns the 64-bit hash of each n-gram, shape (words - n + 1,); empty for shorter texts."""
    count = max(len(word_hashes) - n + 1, 0)
    hashes = np.zeros(count, np.uint64)
    for offset in range(n if count else 0):
        hashes *= _MULTIPLIER
        hashes += word_hashes[offset : offset + count]
    # The low bits of sums are correlated: mix them as in SplitMix64.
    hashes = (hashes ^ (hashes >> np.uint64(30))) * _MIX[0]
    hashes = (hashes ^ (hashes >> np.uint64(27))) * _MIX[1]
    return hashes ^ (hashes >> np.uint64(31))


class _WordHashes(dict[str, int]):
    """A cache of word hashes: few words make up most of a text. It is cleared when it is full."""

    def __missing__(self, word: str) -> int:
        data = word.encode("utf-8", "surrogatepass")
        hashed = int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")
        if len(self) >= _MOST_WORDS:
            self.clear()
        self[word] = hashed
        return hashed


_HASHES = _WordHashes()
