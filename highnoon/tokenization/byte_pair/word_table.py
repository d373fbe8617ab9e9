"""A table from short words to numbers that looks up a million words in one go."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Keys = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.int64]

LONGEST_WORD_BYTES = 15
_FIRST_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_SECOND_FACTOR = np.uint64(0xC2B2AE3D27D4EB4F)
_LAST_FACTOR = np.uint64(0xD6E8FEB86659FD93)
_FIRST_MASKS = np.array([(1 << 8 * min(count, 8)) - 1 for count in range(16)], np.uint64)
_SECOND_MASKS = np.array([(1 << 8 * max(count - 8, 0)) - 1 for count in range(16)], np.uint64)


def word_keys(data: bytes, begins: Numbers, lengths: Numbers) -> tuple[Keys, Keys]:
    """Returns two integers a word that hold its bytes and its length: equal for equal words alone.

    Args:
        data: What the words are parts of.
        begins: First byte of each.
        lengths: Bytes of each, from 1 to 15.
    """
    padded = data + bytes(16)
    # The eight bytes from every place on, without a copy.
    eights = np.ndarray(len(data) + 9, "<u8", padded, strides=(1,))
    first, second = eights[begins], eights[begins + 8]
    first &= _FIRST_MASKS[lengths]
    second &= _SECOND_MASKS[lengths]
    second |= lengths.astype(np.uint64) << np.uint64(56)
    return first, second


class WordTable:
    """Numbers by two keys, in open addressing with steps of one.

    Args:
        slot_bits: The table has `2^slot_bits` slots, and must always have a free one.
    """

    def __init__(self, slot_bits: int) -> None:
        # A second key is never 0: that of a word holds the word's length.
        self._bits = slot_bits
        self._last = (1 << slot_bits) - 1
        self._first = np.zeros(1 << slot_bits, np.uint64)
        self._second = np.zeros(1 << slot_bits, np.uint64)
        self._numbers = np.zeros(1 << slot_bits, np.int32)
        self._num_words = 0

    def find(self, first: Keys, second: Keys) -> Numbers:
        """Returns the number of each word, -1 where it is not there."""
        slots = self._slots(first, second)
        is_found = (self._first[slots] == first) & (self._second[slots] == second)
        numbers = np.where(is_found, self._numbers[slots], -1).astype(np.int64)
        open_ = np.flatnonzero(~is_found)
        slots = slots[open_]
        while len(open_):
            goes_on = self._second[slots] != 0
            open_, slots = open_[goes_on], (slots[goes_on] + 1) & self._last
            is_found = (self._first[slots] == first[open_]) & (self._second[slots] == second[open_])
            numbers[open_[is_found]] = self._numbers[slots[is_found]]
            open_, slots = open_[~is_found], slots[~is_found]
        return numbers

    def add(self, first: Keys, second: Keys, numbers: Numbers) -> None:
        """Adds words that are distinct and not there yet.

        Raises:
            OverflowError: they would leave no free slot, without which nothing could be looked for.
        """
        if self._num_words + len(first) > self._last:
            raise OverflowError(
                f"a table of {self._last + 1:,} slots holds {self._last:,} words at most; "
                f"{self._num_words:,} are there and {len(first):,} came; add fewer, or start "
                f"a new table"
            )
        self._num_words += len(first)
        slots = self._slots(first, second)
        left = np.arange(len(first))
        while len(left):
            free = left[self._second[slots[left]] == 0]
            self._first[slots[free]], self._second[slots[free]] = first[free], second[free]
            self._numbers[slots[free]] = numbers[free]
            # Of words that took one slot the last has it; the others try the next.
            is_in = (self._first[slots[left]] == first[left]) & (self._second[slots[left]] == second[left])
            left = left[~is_in]
            slots[left] = (slots[left] + 1) & self._last

    def _slots(self, first: Keys, second: Keys) -> Numbers:
        mixed = first * _FIRST_FACTOR ^ second * _SECOND_FACTOR
        mixed ^= mixed >> np.uint64(32)
        return (mixed * _LAST_FACTOR >> np.uint64(64 - self._bits)).astype(np.int64)
