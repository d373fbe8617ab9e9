"""The documents on one side of the split of several stores, with one index."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import overload

import numpy as np
import numpy.typing as npt

from highnoon.data.document import DataError
from highnoon.data.ints import Ints
from highnoon.data.sequences.row_filling import Batch, empty_batch, fill_rows, token_positions
from highnoon.data.sequences.row_layout import Pieces
from highnoon.data.tokens.token_columns import TokenColumns, require_columns_of
from highnoon.data.tokens.token_store import TokenStore

SPLITS = ("train", "validation")


class SplitDocuments:
    """The documents of the split: those of the first store, then those of the second, and so on.

    `lengths` (tokens), `num_bytes` and `store_of` are arrays of shape (documents,).

    Args:
        stores: At least one store, all with the same tokenizer.
        split: `"train"` or `"validation"`.
        derived: For each store the derived columns of its tokens; None for none.
        numbers: Columns in which all tokens of a document have its number: for each store an array of
            integers, one a document; None for none.

    Raises:
        DataError: no store, stores of different tokenizers, derived columns of another store, or an
            unknown split.
    """

    def __init__(
        self,
        stores: Sequence[TokenStore],
        split: str,
        derived: Sequence[TokenColumns] | None = None,
        numbers: Mapping[str, Sequence[Ints]] | None = None,
    ) -> None:
        _require_stores(stores, split)
        self.stores = list(stores)
        self.derived = list(derived or [])
        if self.derived:
            require_columns_of(self.stores, self.derived)
        own = [np.flatnonzero(store.is_validation == (split == "validation")) for store in self.stores]
        self.store_of: Ints = np.repeat(np.arange(len(own)), [len(documents) for documents in own])
        self._index_in_store = np.concatenate(own)
        pairs = list(zip(self.stores, own, strict=True))
        self._starts: Ints = np.concatenate([store.offsets[:-1][chosen] for store, chosen in pairs])
        self.lengths: Ints = np.concatenate([store.lengths[chosen] for store, chosen in pairs])
        self._numbers = {
            name: np.concatenate([of_store[chosen] for of_store, chosen in zip(arrays, own, strict=True)])
            for name, arrays in (numbers or {}).items()
        }
        self.num_bytes: Ints = np.concatenate([store.num_bytes[chosen] for store, chosen in pairs])

    def __len__(self) -> int:
        return len(self.lengths)

    def empty_batch(self, num_rows: int, row_length: int) -> Batch:
        """Returns the arrays of a batch, derived columns and numbers included, all padding."""
        batch = empty_batch(num_rows, row_length)
        for name, column in self.derived[0].columns.items() if self.derived else ():
            batch[name] = np.zeros((num_rows, row_length, *column.shape), column.batch_dtype)
        for name in self._numbers:
            batch[name] = np.zeros((num_rows, row_length), np.int32)
        return batch

    def locate(self, document: int) -> tuple[TokenStore, int]:
        """Returns the store of a document and its index there."""
        if not 0 <= document < len(self):
            raise IndexError(f"the split has documents 0 to {len(self) - 1}; received {document}")
        return self.stores[self.store_of[document]], int(self._index_in_store[document])

    def indices_in_store(self, documents: Ints) -> Ints:
        """Returns the index of each of `documents` in its store."""
        indices: Ints = self._index_in_store[documents]
        return indices

    def gather(self, pieces: Pieces, row_length: int, batch: Batch) -> None:
        """Writes the tokens of `pieces` into the rows of `batch`; other positions do not change."""
        positions = token_positions(pieces, self._starts, self.lengths, row_length)
        stores = self._tokens_of_stores(pieces, positions.which)
        is_supervised = self._supervised(positions.has_label, positions.label, stores)
        fill_rows(
            batch,
            pieces,
            positions,
            self._tokens_at(positions.source, stores),
            self._tokens_at(positions.label, stores),
            is_supervised,
        )
        for name, numbers in self._numbers.items():
            batch[name].reshape(-1)[positions.target] = numbers[pieces.document][positions.which]
        for number, chosen in stores if self.derived else ():
            for name in self.derived[number].columns:
                array = batch[name].reshape(-1, *batch[name].shape[2:])
                array[positions.target[chosen]] = self.derived[number].read(name, positions.source[chosen])

    def _tokens_of_stores(self, pieces: Pieces, which: Ints) -> list[tuple[int, Ints | slice]]:
        """Returns the stores of `pieces`, each with the indices of its tokens."""
        store_of = self.store_of[pieces.document]
        present = np.unique(store_of).tolist()
        if len(present) == 1:
            return [(present[0], slice(None))]
        return [(number, np.flatnonzero((store_of == number)[which])) for number in present]

    def _supervised(
        self, has_next: npt.NDArray[np.bool_], label: Ints, stores: list[tuple[int, Ints | slice]]
    ) -> npt.NDArray[np.bool_]:
        """Returns where there is a label that is supervised."""
        for number, chosen in stores:
            supervised = self.stores[number].all_supervised
            if supervised is not None:
                has_next[chosen] &= supervised[label[chosen]]
        return has_next

    def _tokens_at(self, source: Ints, stores: list[tuple[int, Ints | slice]]) -> npt.NDArray[np.int32]:
        tokens = np.zeros(len(source), np.int32)
        for number, chosen in stores:
            tokens[chosen] = self.stores[number].all_tokens[source[chosen]]
        return tokens


class Texts(Sequence[str]):
    """The texts of a split, each decoded when it is accessed."""

    def __init__(self, documents: SplitDocuments, chosen: range | None = None) -> None:
        self._documents = documents
        self._chosen = range(len(documents)) if chosen is None else chosen

    def __len__(self) -> int:
        return len(self._chosen)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Texts: ...
    def __getitem__(self, index: int | slice) -> str | Texts:
        if isinstance(index, slice):
            return Texts(self._documents, self._chosen[index])
        store, number = self._documents.locate(self._chosen[index])
        return store.text(number)

    def __iter__(self) -> Iterator[str]:
        return (self[index] for index in range(len(self)))


def _require_stores(stores: Sequence[TokenStore], split: str) -> None:
    if not stores:
        raise DataError("`stores` must hold at least one store; received none")
    if split not in SPLITS:
        raise DataError(f"`split` must be one of {', '.join(SPLITS)}; received {split!r}")
    if len({store.tokenizer.fingerprint() for store in stores}) > 1:
        names = ", ".join(store.name for store in stores)
        raise DataError(f"all stores must have the same tokenizer; those of {names} differ")
