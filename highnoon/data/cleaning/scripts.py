"""Counts letters by script."""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

# Unicode 16 blocks of the letters of each script: first and last code point.
SCRIPTS: dict[str, tuple[tuple[int, int], ...]] = {
    "latin": (
        (0x41, 0x5A),
        (0x61, 0x7A),
        (0xAA, 0xAA),
        (0xBA, 0xBA),
        (0xC0, 0x24F),
        (0x250, 0x2AF),
        (0x1D00, 0x1D25),
        (0x1D2C, 0x1D5C),
        (0x1D62, 0x1D65),
        (0x1D6B, 0x1D77),
        (0x1D79, 0x1DBE),
        (0x1E00, 0x1EFF),
        (0x2C60, 0x2C7F),
        (0xA722, 0xA7FF),
        (0xAB30, 0xAB64),
        (0xFB00, 0xFB06),
        (0xFF21, 0xFF3A),
        (0xFF41, 0xFF5A),
    ),
    "greek": ((0x370, 0x3E1), (0x3F0, 0x3FF), (0x1F00, 0x1FFF)),
    "cyrillic": ((0x400, 0x52F), (0x1C80, 0x1C8A), (0x1D2B, 0x1D2B), (0x2DE0, 0x2DFF), (0xA640, 0xA69F)),
    "armenian": ((0x531, 0x58F), (0xFB13, 0xFB17)),
    "hebrew": ((0x591, 0x5F4), (0xFB1D, 0xFB4F)),
    "arabic": ((0x600, 0x6FF), (0x750, 0x77F), (0x870, 0x8FF), (0xFB50, 0xFDFF), (0xFE70, 0xFEFC)),
    "devanagari": ((0x900, 0x97F), (0xA8E0, 0xA8FF)),
    "bengali": ((0x980, 0x9FF),),
    "gurmukhi": ((0xA00, 0xA7F),),
    "gujarati": ((0xA80, 0xAFF),),
    "oriya": ((0xB00, 0xB7F),),
    "tamil": ((0xB80, 0xBFF),),
    "telugu": ((0xC00, 0xC7F),),
    "kannada": ((0xC80, 0xCFF),),
    "malayalam": ((0xD00, 0xD7F),),
    "sinhala": ((0xD80, 0xDFF),),
    "thai": ((0xE00, 0xE7F),),
    "lao": ((0xE80, 0xEFF),),
    "tibetan": ((0xF00, 0xFFF),),
    "myanmar": ((0x1000, 0x109F), (0xA9E0, 0xA9FF), (0xAA60, 0xAA7F)),
    "georgian": ((0x10A0, 0x10FF), (0x1C90, 0x1CBF), (0x2D00, 0x2D2F)),
    "ethiopic": ((0x1200, 0x139F), (0x2D80, 0x2DDF), (0xAB01, 0xAB2F)),
    "khmer": ((0x1780, 0x17FF),),
    "hangul": ((0x1100, 0x11FF), (0x3131, 0x318E), (0xA960, 0xA97F), (0xAC00, 0xD7FB), (0xFFA0, 0xFFDC)),
    "hiragana": ((0x3041, 0x309F),),
    "katakana": ((0x30A0, 0x30FF), (0x31F0, 0x31FF), (0xFF66, 0xFF9D)),
    "han": (
        (0x3005, 0x3007),
        (0x2E80, 0x2FD5),
        (0x3400, 0x4DBF),
        (0x4E00, 0x9FFF),
        (0xF900, 0xFAD9),
        (0x20000, 0x323AF),
    ),
}

# The scripts, and writing systems that mix scripts.
ALPHABETS: dict[str, tuple[str, ...]] = {
    **{script: (script,) for script in SCRIPTS},
    "japanese": ("han", "hiragana", "katakana"),
    "korean": ("han", "hangul"),
}

_TABLE_SIZE = 0x323B0
_OTHER, _SPACE, _LETTER = range(3)
_FIRST_SCRIPT = 3


def count_letters(text: str) -> tuple[int, int, dict[str, int]]:
    """Returns the number of characters that are not whitespace, of letters, and of letters of each script.

    Letters are characters for which `str.isalpha` is true; marks, digits and punctuation belong to no script.
    """
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    counts = np.bincount(np.take(_classes(), codes, mode="clip"), minlength=_FIRST_SCRIPT + len(SCRIPTS))
    by_script = dict(zip(SCRIPTS, counts[_FIRST_SCRIPT:].tolist(), strict=True))
    return len(codes) - int(counts[_SPACE]), int(counts[_LETTER:].sum()), by_script


@functools.lru_cache(maxsize=1)
def _classes() -> npt.NDArray[np.uint8]:
    """Returns the class of each code point; the last entry is for all later ones, which are not letters."""
    table = np.full(_TABLE_SIZE, _OTHER, np.uint8)
    is_letter = np.array([chr(code).isalpha() for code in range(_TABLE_SIZE)])
    table[is_letter] = _LETTER
    table[[code for code in range(0x3001) if chr(code).isspace()]] = _SPACE
    for number, blocks in enumerate(SCRIPTS.values(), start=_FIRST_SCRIPT):
        for first, last in blocks:
            table[first : last + 1][is_letter[first : last + 1]] = number
    return table
