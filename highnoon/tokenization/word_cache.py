"""Encoding text word by word with a memory of the words seen, several times faster than anew."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import chain

# Unicode's White_Space, which is what `\s` is to the byte-level pre-tokenizer; Python's own `\s` has four
# control characters more.
_ASCII_SPACE = "\t\n\x0b\x0c\r "
_SPACE = _ASCII_SPACE + "\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"

# Where whitespace begins and ends, the byte-level pre-tokenizer always cuts as these do, so that what lies
# between two cuts has the same ids alone as within its text. For ASCII all its cuts are known.
_WORD = re.compile(f" ?[^{_SPACE}]+|[{_SPACE}]+(?![^{_SPACE}])|[{_SPACE}]+")
_ASCII_WORD = re.compile(
    f"'(?:[sdmt]|ll|ve|re)| ?[A-Za-z]+| ?[0-9]+| ?[^{_ASCII_SPACE}A-Za-z0-9]+"
    f"|[{_ASCII_SPACE}]+(?![^{_ASCII_SPACE}])|[{_ASCII_SPACE}]+"
)
_MOST_CHARACTERS = 1 << 25


class WordCache:
    """Encodes texts by their words; equal to encoding them whole under the `ByteLevel` pre-tokenizer.

    Args:
        encode: Returns the ids of each of some words.
    """

    def __init__(self, encode: Callable[[Sequence[str]], list[list[int]]]) -> None:
        self._encode = encode
        self._ids: dict[str, list[int]] = {}
        self._characters = 0

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        """Returns the ids of each text."""
        if self._characters > _MOST_CHARACTERS:
            # A new dictionary, not a cleared one: another thread may be reading the old.
            self._ids, self._characters = {}, 0
        ids = self._ids
        rows = [(_ASCII_WORD if text.isascii() else _WORD).findall(text) for text in texts]
        new = list(dict.fromkeys(word for word in chain.from_iterable(rows) if word not in ids))
        if new:
            ids.update(zip(new, self._encode(new), strict=True))
            self._characters += sum(map(len, new))
        return [list(chain.from_iterable(map(ids.__getitem__, row))) for row in rows]
