"""The numbers of documents in a memory, over all of its stores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from highnoon.config import ConfigError
from highnoon.data import PackedRows, TokenStore
from highnoon.data.ints import Ints

DOCUMENT_NUMBERS = "document_numbers"

Stores = TokenStore | Sequence[TokenStore] | PackedRows


class MemoryStores:
    """Numbers the documents of some stores, from 1; 0 is a document of no known store.

    Args:
        num_documents: The documents of each store by its fingerprint, in the order of their numbers.
    """

    def __init__(self, num_documents: dict[str, int]) -> None:
        self._num_documents = dict(num_documents)
        self._before = dict(
            zip(num_documents, np.cumsum([0, *num_documents.values()]).tolist(), strict=False)
        )

    @classmethod
    def of(cls, stores: Sequence[TokenStore]) -> MemoryStores:
        """Numbers the documents of stores, held-out ones included.

        Raises:
            ConfigError: a store is given twice.
        """
        if len({store.fingerprint for store in stores}) < len(stores):
            names = ", ".join(store.name for store in stores)
            raise ConfigError(f"each store must be given once; received {names}, two of which are the same")
        return cls({store.fingerprint: len(store) for store in stores})

    @classmethod
    def from_description(cls, values: Any) -> MemoryStores:
        """Returns what `describe` described.

        Raises:
            TypeError: it is something else.
        """
        return cls({str(entry["fingerprint"]): int(entry["documents"]) for entry in values})

    def describe(self) -> list[dict[str, Any]]:
        """Returns JSON values."""
        return [{"fingerprint": name, "documents": count} for name, count in self._num_documents.items()]

    def number(self, store: TokenStore, document: int) -> int:
        """Returns the number of a document of a store, 0 if the store is not known."""
        return int(self.numbers(store)[document])

    def numbers(self, store: TokenStore) -> Ints:
        """Returns the number of each document of a store."""
        before = self._before.get(store.fingerprint)
        if before is None:
            return np.zeros(len(store), np.int64)
        return np.arange(before + 1, before + 1 + len(store))

    def rows(self, stores: TokenStore | Sequence[TokenStore], row_length: int, **options: Any) -> PackedRows:
        """Returns rows of stores with `document_numbers`, see `VectorMemory.rows`."""
        given = [stores] if isinstance(stores, TokenStore) else list(stores)
        numbers = {**options.pop("numbers", {}), DOCUMENT_NUMBERS: [self.numbers(store) for store in given]}
        return PackedRows(given, row_length, numbers=numbers, **options)


def train_stores(stores: Stores) -> list[TokenStore]:
    """Returns the stores whose training documents are meant.

    Raises:
        ConfigError: rows of held-out documents.
    """
    if isinstance(stores, TokenStore):
        return [stores]
    if isinstance(stores, PackedRows):
        if stores.split != "train":
            raise ConfigError(
                f"a memory is built from training documents; received rows of the {stores.split} split: give "
                "the stores, or rows of the train split"
            )
        return stores.stores
    return list(stores)
