"""Packed rows with the noise of block diffusion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from highnoon.data.sequences.block_noise import NOISE_COLUMNS, block_noise
from highnoon.data.sequences.mixture import Mixture
from highnoon.data.sequences.packed_rows import PackedRows
from highnoon.data.sequences.row_filling import Batch
from highnoon.data.sequences.row_layout import Ints
from highnoon.data.sequences.rows_view import RowsView
from highnoon.data.tokens.token_store import TokenStore

_NOISE = 2  # the third word of the random state: 0 and 1 order documents and rows


class BlockDiffusionRows(PackedRows):
    """Packed rows, each with a block length and a noisy copy of its documents.

    The noise of a row is a function of (seed, epoch, row), as the row itself.

    Args:
        stores: As in `PackedRows`.
        block_sizes: The block lengths, each at least 1, from which that of a row is drawn.
        end_id: The token at the end of a document; None where there is none.
        least_rate: Smallest rate at which the tokens of a block are masked, in (0, 1].
        row_length: As in `PackedRows`, as the following.
        seed: Seed of the orders and of the noise.
        split: `"train"` or `"validation"`.
        weights: As in `PackedRows`.
        whole_documents: As in `PackedRows`.

    Raises:
        DataError: as `PackedRows`.

    Example:

    ```python
    import pathlib, tempfile
    from highnoon.data import Files, tokenize
    from highnoon.data.sequences.block_diffusion_rows import BlockDiffusionRows
    from highnoon.tokenization import ByteTokenizer
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, "a.txt").write_text("abcd")
        store = tokenize(Files(f"{folder}/a.txt"), ByteTokenizer(), folder, validation_split=0.0)
        batch = BlockDiffusionRows([store], block_sizes=[1], row_length=5).view(epoch=0).read(0, 1)
        assert batch["noisy_labels"].tolist() == batch["labels"].tolist()
        assert batch["noisy_positions"].tolist() == [[1, 2, 3, 4, 5]]
    ```
    """

    def __init__(
        self,
        stores: TokenStore | Sequence[TokenStore],
        block_sizes: Sequence[int],
        end_id: int | None = None,
        least_rate: float = 0.1,
        row_length: int = 256,
        seed: int = 42,
        split: str = "train",
        weights: Sequence[float] | None = None,
        whole_documents: bool = False,
    ) -> None:
        super().__init__(stores, row_length, seed, split, weights, whole_documents=whole_documents)
        self.block_sizes = tuple(block_sizes)
        self.end_id = end_id
        self.least_rate = least_rate

    def only(self, store: TokenStore) -> BlockDiffusionRows:
        """Returns rows with the same settings from one of the stores."""
        return BlockDiffusionRows(
            store,
            self.block_sizes,
            self.end_id,
            self.least_rate,
            self.row_length,
            self.seed,
            self.split,
            whole_documents=self.whole_documents,
        )

    def _make_view(self, pools: list[Ints], mixture: Mixture, epoch: int) -> RowsView:
        view = BlockDiffusionView(self._documents, pools, mixture, epoch, self._cut, self.row_length)
        view.rows = self
        return view


class BlockDiffusionView(RowsView):
    """The rows of an epoch; created by `BlockDiffusionRows.view`."""

    rows: BlockDiffusionRows

    def read(self, start: int, count: int) -> Batch:
        """Returns rows `start` to `start + count - 1`, fewer at the end of the epoch.

        Returns:
            The columns of `RowsView.read`; those of `block_noise`, (rows, row_length); and `block_lengths`,
            int32 of shape (rows,).

        Raises:
            DataError: `start` is not in [0, num_rows], or `count` is negative.
        """
        batch = super().read(start, count)
        noise = [self._noise(batch, row, start + row) for row in range(len(batch["token_ids"]))]
        columns: dict[str, Any] = {
            name: np.zeros((0, self.row_length), dtype)
            for name, dtype in zip(NOISE_COLUMNS, ("i4", "i4", "i4", "i4", "f4"), strict=True)
        }
        columns["block_lengths"] = np.zeros(0, np.int32)
        for name in columns if noise else ():
            columns[name] = np.stack([row[name] for row in noise])
        return {**batch, **columns}

    def _noise(self, batch: Batch, row: int, number: int) -> Batch:
        """The noise of row `number` of the epoch."""
        rows = self.rows
        rng = np.random.default_rng([rows.seed, self.epoch, number, _NOISE])
        block_length = rows.block_sizes[rng.integers(len(rows.block_sizes))]
        arrays = {name: array[row] for name, array in batch.items()}
        noise = block_noise(arrays, block_length, rng, rows.least_rate, rows.end_id)
        return {**noise, "block_lengths": np.array(block_length, np.int32)}
