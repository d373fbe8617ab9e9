"""Where the byte-level pre-tokenizer cuts text into words, found for a megabyte at a time."""

from __future__ import annotations

import functools
import unicodedata

import numpy as np
import numpy.typing as npt

Places = npt.NDArray[np.int64]

# A byte that UTF-8 never has; it stands before, between and after texts.
TEXT_END = 0xFF

# Kinds of characters; all bytes of one have its kind.
_LETTER, _DIGIT, _MARK, _BLANK, _OTHER_SPACE, _END = range(6)
_UNKNOWN = 255
_APOSTROPHE = ord("'")


def _kinds() -> bytes:
    kinds = [_MARK] * 256
    for byte in range(128):
        if chr(byte).isalpha():
            kinds[byte] = _LETTER
        elif chr(byte).isdigit():
            kinds[byte] = _DIGIT
    for byte in b"\t\n\x0b\x0c\r":
        kinds[byte] = _OTHER_SPACE
    kinds[ord(" ")], kinds[TEXT_END] = _BLANK, _END
    return bytes(kinds)


def _is_cut(before: int, here: int, after: int) -> bool:
    """Whether a word begins at a byte, by its kind and its neighbours'.

    What ` ?letters+`, ` ?digits+`, ` ?marks+`, `spaces+(?!other)` and `spaces+` amount to: of spaces before
    a word the last is apart, and a blank there begins the word.
    """
    spaces = (_BLANK, _OTHER_SPACE)
    if before == _END or here == _END:
        return True
    if here in spaces:
        return before not in spaces or after not in (*spaces, _END)
    return before != _BLANK and before != here


_KIND_OF_BYTE = _kinds()
_CUT_OF_KINDS = bytes(
    _is_cut(before, here, after) for before in range(6) for here in range(6) for after in range(6)
).ljust(256, b"\0")
_AFTER_APOSTROPHE = {ord(letter): b"" for letter in "sdmt"} | {ord("l"): b"l", ord("v"): b"e", ord("r"): b"e"}


def cut_words(data: bytes) -> tuple[Places, npt.NDArray[np.bool_]]:
    """Returns where the words of `data` begin, in order, and which of them are words for certain.

    A word is what the pre-tokenizer makes of text. Text with characters whose kind is not certain (spaces
    beyond ASCII, characters that are younger than this Python, four bytes of UTF-8) stays whole between
    places where an ASCII space follows a known character: cuts for certain, so that the ids of a text are
    those of its parts one after another.

    Args:
        data: Texts in UTF-8 with a byte 0xFF before the first, between two and after the last. These bytes
            are words of their own.
    """
    values = np.frombuffer(data, np.uint8)
    kind = np.frombuffer(bytearray(data.translate(_KIND_OF_BYTE)), np.uint8)
    has_others = np.count_nonzero(values >= 0x80) != np.count_nonzero(values == TEXT_END)
    is_foreign = _set_kinds(values, kind) if has_others else None
    triples = np.full(len(kind), _END * 36 + _END * 6 + _END, np.uint8)
    triples[1:-1] = kind[:-2] * np.uint8(36) + kind[1:-1] * np.uint8(6) + kind[2:]
    is_cut = np.frombuffer(bytearray(triples.tobytes().translate(_CUT_OF_KINDS)), np.bool_)
    _cut_contractions(values, kind, is_cut)
    cuts = np.flatnonzero(is_cut)
    if is_foreign is None or not is_foreign.any():
        return cuts, np.ones(len(cuts), np.bool_)
    return _whole_where_foreign(kind, is_foreign, cuts)


@functools.lru_cache(maxsize=1)
def _kind_of_character() -> npt.NDArray[np.uint8]:
    """The kind of every character of two or three bytes, `_UNKNOWN` where it is not certain."""
    kinds = {"L": _LETTER, "N": _DIGIT, "M": _MARK, "P": _MARK, "S": _MARK, "C": _MARK, "Z": _UNKNOWN}
    table = np.full(1 << 16, _UNKNOWN, np.uint8)
    for code in range(0x80, 1 << 16):
        category = unicodedata.category(chr(code))
        if category != "Cn" and not chr(code).isspace():
            table[code] = kinds[category[0]]
    return table


def _set_kinds(values: npt.NDArray[np.uint8], kind: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Sets the kinds of the bytes of characters beyond ASCII; returns the bytes of which it is not known."""
    is_foreign = (values >= 0x80) & (values < TEXT_END)
    for is_first, size, mask in ((values >> 5 == 0b110, 2, 0x1F), (values >> 4 == 0b1110, 3, 0x0F)):
        places = np.flatnonzero(is_first)
        code = (values[places] & mask).astype(np.int64)
        for step in range(1, size):
            code = code << 6 | (values[places + step] & 0x3F)
        kinds = _kind_of_character()[code]
        places, kinds = places[kinds != _UNKNOWN], kinds[kinds != _UNKNOWN]
        for step in range(size):
            kind[places + step] = kinds
            is_foreign[places + step] = False
    return is_foreign


def _cut_contractions(
    values: npt.NDArray[np.uint8], kind: npt.NDArray[np.uint8], is_cut: npt.NDArray[np.bool_]
) -> None:
    """Makes `'s`, `'d`, `'m`, `'t`, `'ll`, `'ve` and `'re` words where an apostrophe begins one."""
    places = np.flatnonzero(values == _APOSTROPHE)
    places = places[is_cut[places]]
    for letter, rest in _AFTER_APOSTROPHE.items():
        here = places[values[places + 1] == letter]
        if rest:
            # An apostrophe is followed by a letter here and that by the end byte at least.
            here = here[values[here + 2] == rest[0]]
        stop = here + 2 + len(rest)
        is_cut[here + 1] = False
        # Letters that go on after a contraction are a word of their own; other kinds cut by themselves.
        is_cut[stop[kind[stop] == _LETTER]] = True


def _whole_where_foreign(
    kind: npt.NDArray[np.uint8], is_foreign: npt.NDArray[np.bool_], cuts: Places
) -> tuple[Places, npt.NDArray[np.bool_]]:
    """Drops the cuts within stretches that hold a foreign byte; returns the rest and which are words."""
    is_space = (kind[cuts] == _BLANK) | (kind[cuts] == _OTHER_SPACE)
    before = cuts - 1
    is_after_known = ~is_foreign[before] & (kind[before] < _BLANK)
    is_end = kind[cuts] == _END
    is_after_end = np.concatenate(([False], is_end[:-1]))
    begins_stretch = (is_space & is_after_known) | is_end | is_after_end
    stretches = cuts[begins_stretch]
    holds_foreign = np.zeros(len(stretches), np.bool_)
    holds_foreign[np.searchsorted(stretches, np.flatnonzero(is_foreign), side="right") - 1] = True
    is_word = ~holds_foreign[np.cumsum(begins_stretch) - 1]
    kept = begins_stretch | is_word
    return cuts[kept], is_word[kept]
