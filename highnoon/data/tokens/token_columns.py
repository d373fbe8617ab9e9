"""What rows of tokens read derived columns by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from highnoon.data.document import DataError
from highnoon.data.tokens.derived_columns import DerivedColumn
from highnoon.data.tokens.token_store import TokenStore


class TokenColumns(Protocol):
    """The interface of `DerivedColumns` and `StackedColumns`.

    Attributes:
        store: The fingerprint of the token store.
        per: `"token"` or `"document"`.
        columns: Type and shape of each column by name.
    """

    store: str
    per: str
    columns: Mapping[str, DerivedColumn]

    def read(self, name: str, positions: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Returns the values of a column at some positions among all tokens of the store."""


def require_columns_of(stores: Sequence[TokenStore], derived: Sequence[TokenColumns]) -> None:
    """Checks that there are derived columns for the tokens of each store, the same ones for all.

    Raises:
        DataError: there are not.
    """
    if len(stores) != len(derived):
        raise DataError(f"expected derived columns for each of {len(stores)} stores; received {len(derived)}")
    for store, columns in zip(stores, derived, strict=True):
        if columns.per != "token" or columns.store != store.fingerprint:
            raise DataError(
                f"{columns} does not hold a value for each token of {store.name}; derive columns from it"
            )
        if columns.columns != derived[0].columns:
            raise DataError(
                f"all stores of a stage need the same derived columns; {columns} and {derived[0]} differ"
            )
