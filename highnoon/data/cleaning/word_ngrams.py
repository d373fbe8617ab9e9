"""Runs of words as 64-bit numbers, the same on every machine."""

from __future__ import annotations

import hashlib
import re

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]

# A Chinese or Japanese character is a word of its own, as nothing parts the words there.
_SINGLE = "\u3040-\u30ff\u3400-\u9fff"
_WORD = re.compile(rf"[{_SINGLE}]|[^\W{_SINGLE}]+")
_WORD_OF_ASCII = re.compile(r"\w+", re.ASCII)

# Lower case, with a space for whatever belongs to no word.
_ASCII_WORDS = bytes(
    code if code >= 128 or chr(code).isalnum() or code == ord("_") else ord(" ") for code in range(256)
).lower()

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_MOST_WORDS = 1 << 18
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


def word_pattern(text: str) -> re.Pattern[str]:
    """Returns what finds the words of `text`: runs of letters and digits, without punctuation."""
    return _WORD_OF_ASCII if text.isascii() else _WORD


def split_words(text: str) -> list[str]:
    """Returns the words of a text, casefolded, as many as `word_pattern` finds."""
    if text.isascii():
        return text.encode().translate(_ASCII_WORDS).decode().split()
    words = word_pattern(text).findall(text)
    return "\n".join(words).casefold().split("\n") if words else []


def hash_words(words: list[str]) -> Hashes:
    """Returns the 64-bit hash of each word, shape (words,)."""
    return np.fromiter(map(_HASHES.__getitem__, words), np.uint64, len(words))


def hash_ngrams(word_hashes: Hashes, n: int) -> Hashes:
    """Returns the 64-bit hash of each run of `n` words, shape (words - n + 1,), empty for shorter texts."""
    count = max(len(word_hashes) - n + 1, 0)
    hashes = np.zeros(count, np.uint64)
    for place in range(n if count else 0):
        hashes *= _MULTIPLIER
        hashes += word_hashes[place : place + count]
    # Sums keep what words have in common in their low bits: mixed as in SplitMix64.
    hashes = (hashes ^ (hashes >> np.uint64(30))) * _MIX[0]
    hashes = (hashes ^ (hashes >> np.uint64(27))) * _MIX[1]
    return hashes ^ (hashes >> np.uint64(31))


class _WordHashes(dict[str, int]):
    """Few words make up most of a text, so most of them are found here; it starts anew when full."""

    def __missing__(self, word: str) -> int:
        data = word.encode("utf-8", "surrogatepass")
        hashed = int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")
        if len(self) >= _MOST_WORDS:
            self.clear()
        self[word] = hashed
        return hashed


_HASHES = _WordHashes()
