"""The fraction of rows that each dataset of a stage contributes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


class MixFractions:
    """Counts the rows of each dataset since the last report.

    Each stage has its own counts: another stage mixes other datasets.

    Args:
        names: The datasets that the stage mixes, in the order of its rows' stores.
        rows: Rows counted since the last report, one a dataset, as `rows` gives them; empty begins at zero.
    """

    def __init__(self, names: Sequence[str], rows: Sequence[int] = ()) -> None:
        self._names = list(names)
        is_known = len(rows) == len(self._names)
        self._rows = np.array(rows if is_known else np.zeros(len(self._names)), np.int64)

    @property
    def rows(self) -> list[int]:
        """Rows of each dataset since the last report, for a checkpoint."""
        return self._rows.tolist()

    def add(self, view: Any, first_row: int, num_rows: int) -> None:
        """Counts rows of a view, fewer where it ends; a stage of one dataset counts none."""
        if len(self._names) < 2:
            return
        counts = view.rows_by_store(first_row, num_rows)
        if counts is not None:
            self._rows += counts

    def report(self) -> dict[str, float]:
        """Returns `mix/NAME`, the fraction of each dataset, if rows were counted, and starts from zero."""
        rows, self._rows = self._rows, np.zeros_like(self._rows)
        if not rows.sum():
            return {}
        fractions = zip(self._names, rows / rows.sum(), strict=True)
        return {f"mix/{name}": float(fraction) for name, fraction in fractions}
