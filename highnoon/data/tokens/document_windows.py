"""The documents of a store in windows, for a model that reads each document separately."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from highnoon.data.tokens.token_store import TokenStore

_SHORTEST_ROW = 16


class DocumentWindows:
    """The documents of a store, split into windows of at most `window` tokens, in the order of the store.

    Args:
        store: The tokens.
        window: Tokens per window, at least 1.
        only_first: Whether to read only the first window of each document.
    """

    def __init__(self, store: TokenStore, window: int, *, only_first: bool = False) -> None:
        self._store, self._window = store, window
        counts = np.maximum(1, -(-store.lengths // window))
        if only_first:
            counts = np.ones_like(counts)
        self._ends = np.cumsum(counts)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def read(self, start: int, num_rows: int) -> tuple[dict[str, npt.NDArray[Any]], npt.NDArray[np.bool_]]:
        """Returns a batch of windows, and a mask of its tokens.

        The batch has always `num_rows` rows, the last ones empty at the end of the store. Its length is a
        power of two or the window, so that few shapes are compiled.

        Returns:
            `token_ids`, `labels` (the next token, 0 at the end of a document) and `padding_mask`, int32 of
            shape (num_rows, tokens); `loss_weights`, float32, 1 where there is a label, which may be the id
            0 too; and a mask of the same shape.
        """
        rows = np.arange(start, min(start + num_rows, len(self)))
        documents = np.searchsorted(self._ends, rows, side="right")
        before = np.where(documents > 0, self._ends[documents - 1], 0)
        begin = (rows - before) * self._window
        left = self._store.lengths[documents] - begin
        lengths = np.minimum(left, self._window)
        length = _SHORTEST_ROW
        while length < lengths.max():
            length *= 2
        length = min(length, self._window)
        shape = (num_rows, length)
        batch: dict[str, npt.NDArray[Any]] = {
            name: np.zeros(shape, np.int32) for name in ("token_ids", "labels", "padding_mask")
        }
        batch["loss_weights"] = np.zeros(shape, np.float32)
        for row, (document, first, count) in enumerate(zip(documents, begin, lengths, strict=True)):
            tokens = self._store.all_tokens
            offset = int(self._store.offsets[document]) + int(first)
            batch["token_ids"][row, :count] = tokens[offset : offset + count]
            num_labels = min(int(count), int(left[row]) - 1)
            batch["labels"][row, :num_labels] = tokens[offset + 1 : offset + 1 + num_labels]
            batch["loss_weights"][row, :num_labels] = 1
            batch["padding_mask"][row, :count] = 1
        return batch, batch["padding_mask"] > 0
