"""A memory-mapped array whose blocks are checked when they are first read."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import numpy.typing as npt

from highnoon.data.document import DataError
from highnoon.files.block_hashes import BLOCK_BYTES, changed_block, num_blocks


class DamagedStoreError(DataError):
    """A folder of tokens that is damaged or incomplete."""


class CheckedArray:
    """The values of a file, memory-mapped and read-only.

    A block of 1 MiB is compared with its hash, and its values with `bound`, when it is first read; later
    reads cost nothing more. It is indexed like a one-dimensional NumPy array.

    Args:
        path: The file.
        dtype: The type of its values.
        length: How many values to read; the file may have more.
        size: Bytes of the file that `hashes` cover.
        hashes: Hashes of its blocks, see `BlockHasher`; None if unknown.
        bound: Values must be below it.
        remedy: What to do if a block is damaged.
    """

    def __init__(
        self,
        path: pathlib.Path,
        dtype: npt.DTypeLike,
        length: int,
        size: int,
        hashes: str | None,
        bound: int,
        remedy: str,
    ) -> None:
        self.path = path
        self.dtype = np.dtype(dtype)
        # Up to the end of the hashed bytes: hashes are of complete blocks.
        self._bytes = np.memmap(path, np.uint8, mode="r", shape=(size,))
        self._values = self._bytes[: length * self.dtype.itemsize].view(self.dtype)
        self._hashes, self._bound, self._remedy = hashes, bound, remedy
        self._per_block = BLOCK_BYTES // self.dtype.itemsize
        self._is_unchecked = np.ones(num_blocks(length * self.dtype.itemsize), np.bool_)
        self._num_unchecked = len(self._is_unchecked)

    @property
    def shape(self) -> tuple[int]:
        return (len(self),)

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, index: Any) -> Any:
        if self._num_unchecked:
            self._check(self._blocks_of(index))
        return self._values[index]

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        self.check_all()
        return np.array(self._values, dtype or self.dtype, copy=True if copy is None else copy)

    def check_all(self) -> None:
        """Checks all blocks that were not read yet.

        Raises:
            DamagedStoreError: If a block is damaged.
        """
        self._check(np.arange(len(self._is_unchecked)))

    def _blocks_of(self, index: Any) -> npt.NDArray[np.int64]:
        if isinstance(index, slice):
            positions = range(*index.indices(len(self)))
            if not positions:
                return np.zeros(0, np.int64)
            ends = sorted((positions[0] // self._per_block, positions[-1] // self._per_block))
            return np.arange(ends[0], ends[1] + 1)
        chosen = np.asarray(index)
        if chosen.dtype.kind not in "iu":  # a mask, an ellipsis, an empty list
            return np.arange(len(self._is_unchecked))
        return np.where(chosen < 0, chosen + len(self), chosen).reshape(-1) // self._per_block

    def _check(self, blocks: npt.NDArray[np.int64]) -> None:
        inside = blocks[(blocks >= 0) & (blocks < len(self._is_unchecked))]
        for block in np.unique(inside[self._is_unchecked[inside]]).tolist():
            self._check_block(block)
            self._is_unchecked[block] = False
        self._num_unchecked = int(self._is_unchecked.sum())

    def _check_block(self, block: int) -> None:
        start = block * BLOCK_BYTES
        data = self._bytes[start : start + BLOCK_BYTES]
        where = f"{self.path} is damaged: some of its bytes {start} to {start + len(data) - 1}"
        if self._hashes is not None and changed_block(data.data, self._hashes, block) is not None:
            raise DamagedStoreError(f"{where} have changed since they were written; {self._remedy}")
        unsigned = f"<u{self.dtype.itemsize}"
        values = self._values[block * self._per_block : (block + 1) * self._per_block].view(unsigned)
        if len(values) and (highest := int(values.max())) >= self._bound:
            raise DamagedStoreError(
                f"{where} are the value {highest}, and values must be below {self._bound}; {self._remedy}"
            )
