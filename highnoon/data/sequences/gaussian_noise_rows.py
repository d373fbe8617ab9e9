"""Packed rows with the noise of Gaussian diffusion."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from highnoon.data.sequences.mixture import Mixture
from highnoon.data.sequences.packed_rows import PackedRows
from highnoon.data.sequences.row_filling import Batch
from highnoon.data.sequences.row_layout import Ints
from highnoon.data.sequences.rows_view import RowsView
from highnoon.data.tokens.token_store import TokenStore

_NOISE = 3  # the third word of the random state: 0 and 1 order documents and rows, 2 masks tokens


class GaussianNoiseRows(PackedRows):
    """Packed rows, each with a time and a noise vector for every position.

    The noise of a row is a function of (seed, epoch, row), as the row itself.

    Args:
        stores: As in `PackedRows`.
        width: Size of a noise vector, at least 1.
        row_length: As in `PackedRows`, as the following.
        seed: Seed of the orders and of the noise.
        split: `"train"` or `"validation"`.
        weights: As in `PackedRows`.

    Raises:
        DataError: as `PackedRows`.

    Example:

    ```python
    import pathlib, tempfile
    from highnoon.data import Files, tokenize
    from highnoon.data.sequences.gaussian_noise_rows import GaussianNoiseRows
    from highnoon.tokenization import ByteTokenizer
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, "a.txt").write_text("abcd")
        store = tokenize(Files(f"{folder}/a.txt"), ByteTokenizer(), folder, validation_split=0.0)
        batch = GaussianNoiseRows([store], width=3, row_length=5).view(epoch=0).read(0, 1)
        assert batch["noise"].shape == (1, 5, 3) and (batch["noise_times"] < 1).all()
    ```
    """

    def __init__(
        self,
        stores: TokenStore | Sequence[TokenStore],
        width: int,
        row_length: int = 256,
        seed: int = 42,
        split: str = "train",
        weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__(stores, row_length, seed, split, weights)
        self.width = width

    def only(self, store: TokenStore) -> GaussianNoiseRows:
        """Returns rows with the same settings from one of the stores."""
        return GaussianNoiseRows(store, self.width, self.row_length, self.seed, self.split)

    def _make_view(self, pools: list[Ints], mixture: Mixture, epoch: int) -> RowsView:
        view = GaussianNoiseView(self._documents, pools, mixture, epoch, self._cut, self.row_length)
        view.rows = self
        return view


class GaussianNoiseView(RowsView):
    """The rows of an epoch; created by `GaussianNoiseRows.view`."""

    rows: GaussianNoiseRows

    def read(self, start: int, count: int) -> Batch:
        """Returns rows `start` to `start + count - 1`, fewer at the end of the epoch.

        Returns:
            The columns of `RowsView.read`; `noise`, standard normal, (rows, row_length, width) float32; and
            `noise_times` in [0, 1), (rows, row_length) float32, one in each of `row_length` intervals.

        Raises:
            DataError: `start` is not in [0, num_rows], or `count` is negative.
        """
        batch = super().read(start, count)
        num_rows, length, width = len(batch["token_ids"]), self.row_length, self.rows.width
        noise = np.zeros((num_rows, length, width), np.float32)
        times = np.zeros((num_rows, length), np.float32)
        for row in range(num_rows):
            rng = np.random.default_rng([self.rows.seed, self.epoch, start + row, _NOISE])
            times[row] = np.minimum((rng.permutation(length) + rng.random()) / length, _BELOW_ONE)
            noise[row] = rng.standard_normal((length, width), dtype=np.float32)
        return {**batch, "noise": noise, "noise_times": times}


_BELOW_ONE = np.nextafter(np.float32(1), np.float32(0))
