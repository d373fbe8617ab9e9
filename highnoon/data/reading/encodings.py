"""Encodings of text files other than UTF-8: the one that is given, and those that a file looks like."""

from __future__ import annotations

import codecs
from collections.abc import Iterator

from highnoon.config import shown
from highnoon.data.document import DataError
from highnoon.data.reading.opening import open_bytes
from highnoon.data.reading.remote import FilePath

UTF_8 = "utf-8"

_SAMPLE_BYTES = 1 << 16
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# In the order in which equally likely ones are named.
_LATIN, _CYRILLIC = ("cp1252", "cp1250"), ("cp1251", "koi8-r")
_ASIAN = ("cp932", "euc_jp", "gb18030", "big5", "euc_kr")
# In Latin script most letters are ASCII, in Cyrillic none.
_MOST_LATIN_ACCENTS = 0.4


def require_encoding(name: str) -> str:
    """Returns Python's name of a text encoding.

    Raises:
        DataError: There is no such encoding.
    """
    try:
        found = codecs.lookup(name)
        "".encode(name)
    except (LookupError, ValueError):
        raise DataError(
            f"`encoding` must be a text encoding of Python, such as utf-8, latin-1, cp1252 or utf-16; "
            f"received {shown(name)}"
        ) from None
    return UTF_8 if found.name in ("utf-8-sig", "ascii") else found.name


def is_utf8(path: FilePath) -> bool:
    """Returns whether all of a file is UTF-8 without NUL characters.

    Raises:
        DataError: If it cannot be read.
    """
    decoder = codecs.getincrementaldecoder(UTF_8)()
    with open_bytes(path) as stream:
        try:
            while data := stream.read(_SAMPLE_BYTES):
                if b"\0" in data:
                    return False
                decoder.decode(data)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
    return True


def how_to_decode(path: FilePath, offset: int = 0) -> str:
    """Returns the end of an error about a file that is not UTF-8: the likely encodings and the option.

    Args:
        path: The file.
        offset: A byte near the first that is not UTF-8.
    """
    try:
        with open_bytes(path) as stream:
            head = stream.read(4)
            skipped = max(0, offset - _SAMPLE_BYTES // 2 - len(head))
            while skipped and (data := stream.read(min(skipped, 1 << 20))):
                skipped -= len(data)
            sample = head + stream.read(_SAMPLE_BYTES)
    except DataError:
        sample = b""
    names = likely_encodings(sample)
    if not names:
        return "convert the file to UTF-8, or name its encoding with `encoding` (--encoding)"
    return (
        f'it looks like {" or ".join(names)}: pass encoding="{names[0]}" (--encoding {names[0]}), or convert '
        f"the file to UTF-8"
    )


def likely_encodings(sample: bytes) -> list[str]:
    """Returns up to two encodings that bytes which are not UTF-8 look like, the likeliest first.

    It is a guess by the letters that the bytes give: never used to read a file, only to name the option.
    """
    for mark, name in _BYTE_ORDER_MARKS:
        if sample.startswith(mark):
            return [name]
    if sample.count(0) * 5 > len(sample):
        return ["utf-16-le" if sample[1::2].count(0) >= sample[0::2].count(0) else "utf-16-be"]
    if b"\0" in sample:
        return []
    scores = {name: _score(sample, name) for name in (*_LATIN, *_CYRILLIC, *_ASIAN)}
    best = max(scores.values())
    if best <= 0:
        return []
    names = sorted(scores, key=lambda name: -scores[name])
    if names[0] == "cp1252" and not any(0x80 <= byte <= 0x9F for byte in sample):
        # The two differ in these bytes only.
        return ["cp1252", "latin-1"]
    return [name for name in names[:2] if scores[name] >= 0.9 * best]


def _score(sample: bytes, name: str) -> float:
    """Returns how much the sample looks like text of an encoding: up to 1, and 0 if it cannot be it."""
    try:
        text = codecs.getincrementaldecoder(name)().decode(sample)
    except UnicodeDecodeError:
        return 0.0
    foreign = [character for character in text if not character.isascii()]
    if not foreign:
        return 0.0
    if name in _ASIAN:
        return sum(map(_is_asian, foreign)) / len(foreign)
    letters = [character for character in text if character.isalpha()]
    accents = sum(not letter.isascii() for letter in letters) / max(1, len(letters))
    if (accents > _MOST_LATIN_ACCENTS) == (name in _LATIN):
        return 0.0
    odd = sum(_odd_letters(text))
    usual = sum(character.isalpha() or character in "€‚„…‘’“”–—«»°§№©®·´¿¡" for character in foreign)
    # The first name of a script is the usual one.
    return max(0.0, (usual - odd) / len(foreign)) * (0.95 if name in ("cp1250", *_ASIAN) else 1.0)


def _odd_letters(text: str) -> Iterator[bool]:
    """Yields, for each letter that is not ASCII, whether it is upper case after a lower case letter."""
    for before, character in zip(" " + text, text, strict=False):
        if not character.isascii() and character.isalpha():
            yield character.isupper() and before.islower()


def _is_asian(character: str) -> bool:
    return (
        "\u3000" <= character <= "\u30ff"
        or "\u4e00" <= character <= "\u9fff"
        or "\uac00" <= character <= "\ud7a3"
        or "\uff00" <= character <= "\uffef"
    )
