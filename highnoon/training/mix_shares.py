"""Which datasets the rows of late came from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


class MixShares:
    """Counts rows by dataset since the last report, where datasets are mixed by weight."""

    def __init__(self) -> None:
        self._rows = np.zeros(0, np.int64)

    def add(self, view: Any, first_row: int, num_rows: int) -> None:
        """Counts rows of a view, fewer where it ends."""
        counts = view.rows_by_store(first_row, num_rows)
        if counts is None:
            return
        if len(counts) != len(self._rows):
            self._rows = np.zeros(len(counts), np.int64)
        self._rows += counts

    def report(self, names: Sequence[str]) -> dict[str, float]:
        """Returns `mix/NAME`, the share of each dataset, if rows were counted, and starts anew."""
        rows, self._rows = self._rows, np.zeros_like(self._rows)
        if not rows.sum():
            return {}
        return {f"mix/{name}": float(share) for name, share in zip(names, rows / rows.sum(), strict=True)}
