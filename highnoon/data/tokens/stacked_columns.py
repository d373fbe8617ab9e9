"""Derived columns of several frozen models as one column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from highnoon.data.document import DataError
from highnoon.data.tokens.derived_columns import DerivedColumn, DerivedColumns


class StackedColumns:
    """One column whose values are those of the same column of several `DerivedColumns`, stacked.

    ```
    column[token] = (parts[0][token], ..., parts[k - 1][token])
    ```

    Each part remains in its own folder under the hash of its own model, so that another choice of models
    computes only the parts that are new.

    Args:
        name: The name of the column in a batch.
        source: The name of the column in each part.
        parts: Derived columns of the same store, one for each model.

    Raises:
        DataError: there are no parts, or they are of different stores, types or shapes.

    Example:

    ```python
    import pathlib, tempfile
    import numpy as np
    from highnoon.data import Derivation, DerivedColumn, Files, StackedColumns, derive_columns, tokenize
    from highnoon.tokenization import ByteTokenizer

    def times(factor):
        def compute(batch):
            return {"product": factor * batch["token_ids"]}
        return Derivation({"product": DerivedColumn("<f4")}, compute, f"times {factor}", {}, window=8)

    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, "a.txt").write_text("Hello")
        store = tokenize(Files(f"{folder}/a.txt"), ByteTokenizer(), folder, validation_split=0.0)
        parts = [derive_columns(store, times(factor)) for factor in (1, 2, 3)]
        stacked = StackedColumns("products", "product", parts)
        assert stacked.read("products", np.array([0])).tolist() == [[2.0, 4.0, 6.0]]
    ```
    """

    def __init__(self, name: str, source: str, parts: Sequence[DerivedColumns]) -> None:
        if not parts:
            raise DataError(f"`{name}` must be stacked from at least one part; received none")
        for part in parts:
            if source not in part.columns:
                raise DataError(f"{part} has no column `{source}`; derive it")
            alike = part.store == parts[0].store and part.per == parts[0].per
            if not alike or part.columns[source] != parts[0].columns[source]:
                raise DataError(
                    f"`{name}` must be stacked from columns of one store, type and shape; {part} differs "
                    f"from {parts[0]}; derive both from the same tokens"
                )
        self._source, self._parts = source, list(parts)
        self.store, self.per = parts[0].store, parts[0].per
        one = parts[0].columns[source]
        self.columns: Mapping[str, DerivedColumn] = {
            name: DerivedColumn(one.dtype, (len(self._parts), *one.shape))
        }

    def __len__(self) -> int:
        return len(self._parts[0])

    def read(self, name: str, positions: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Returns the values at some positions among all tokens, or documents, of the store.

        Returns:
            An array of shape (positions, parts, *shape), float32 or int32.
        """
        if name not in self.columns:
            raise KeyError(name)
        return np.stack([part.read(self._source, positions) for part in self._parts], axis=1)

    def __repr__(self) -> str:
        return f"StackedColumns({', '.join(self.columns)} of {len(self._parts)} parts)"
