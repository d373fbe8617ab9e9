"""Byte-pair merging of thousands of short words at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from highnoon.tokenization.byte_pair.word_table import LONGEST_WORD_BYTES, Keys, Numbers, WordTable
from highnoon.tokenization.special_tokens import FIRST_BYTE_ID

_NO_RANK = np.iinfo(np.int32).max
_Matrix = npt.NDArray[np.int32]


class WordMerges:
    """The ids of words under a list of merges: in each, the first pair of the lowest rank joins, until none.

    Sennrich, Haddow, Birch (2016), algorithm 1, as the queue of `tokenizers` runs it.

    Args:
        merges: (left id, right id, id of both together), the lowest rank first.
    """

    def __init__(self, merges: Sequence[tuple[int, int, int]]) -> None:
        # The last of equal pairs counts, as in the engine's own map.
        ranks = {(left, right): rank for rank, (left, right, _) in enumerate(merges)}
        pairs = np.array([*ranks], np.int64).reshape(-1, 2)
        self._ranks = WordTable(max(10, 2 + len(merges).bit_length()))
        self._ranks.add(*_pair_keys(pairs[:, 0], pairs[:, 1]), np.array([*ranks.values()], np.int64))
        self._joined = np.array([joined for _, _, joined in merges] or [0], np.int32)

    def __call__(
        self, data: bytes, begins: Numbers, lengths: Numbers
    ) -> tuple[npt.NDArray[np.int32], Numbers]:
        """Returns the ids of all words one after another, and how many each has.

        Args:
            data: What the words are parts of.
            begins: First byte of each.
            lengths: Bytes of each, from 1 to 15.
        """
        places = begins[:, None] + np.arange(LONGEST_WORD_BYTES + 1)
        padded = np.frombuffer(data + bytes(LONGEST_WORD_BYTES + 1), np.uint8)
        ids = padded[places].astype(np.int32) + FIRST_BYTE_ID
        ids[np.arange(LONGEST_WORD_BYTES + 1) >= lengths[:, None]] = -1
        ranks = np.full((len(ids), LONGEST_WORD_BYTES), _NO_RANK, np.int32)
        is_pair = ids[:, 1:] >= 0
        ranks[is_pair] = self._rank(ids[:, :-1][is_pair], ids[:, 1:][is_pair])
        self._merge(ids, ranks)
        is_id = ids >= 0
        return ids[is_id], is_id.sum(axis=1)

    def _merge(self, ids: _Matrix, ranks: _Matrix) -> None:
        """Merges the rows of `ids` in place."""
        rows = np.arange(len(ids))
        columns = np.arange(LONGEST_WORD_BYTES + 1)
        now, its_ranks = ids, ranks
        while len(rows):
            best = its_ranks.argmin(axis=1)
            rank = its_ranks[np.arange(len(rows)), best]
            goes_on = rank < _NO_RANK
            ids[rows[~goes_on]] = now[~goes_on]
            rows, best, rank = rows[goes_on], best[goes_on], rank[goes_on]
            # All that stands right of the pair moves one place to the left.
            shifted = np.minimum(columns + (columns > best[:, None]), LONGEST_WORD_BYTES)
            now = np.take_along_axis(now[goes_on], shifted, axis=1)
            now[:, -1] = -1
            its_ranks = np.take_along_axis(
                its_ranks[goes_on], np.minimum(shifted[:, :-1], LONGEST_WORD_BYTES - 1), axis=1
            )
            its_ranks[:, -1] = _NO_RANK
            lines = np.arange(len(rows))
            now[lines, best] = self._joined[rank]
            its_ranks[lines, best] = self._rank(now[lines, best], now[lines, best + 1])
            left = np.flatnonzero(best > 0)
            before = best[left] - 1
            its_ranks[left, before] = self._rank(now[left, before], now[left, before + 1])

    def _rank(self, left: npt.NDArray[np.int32], right: npt.NDArray[np.int32]) -> _Matrix:
        found = self._ranks.find(*_pair_keys(left, right))
        return np.where(found < 0, _NO_RANK, found).astype(np.int32)


def _pair_keys(left: npt.NDArray, right: npt.NDArray) -> tuple[Keys, Keys]:
    # -1, which stands after a word's last id, is no id of any pair.
    return left.astype(np.int64).astype(np.uint64), right.astype(np.int64).astype(np.uint64) + np.uint64(2)
