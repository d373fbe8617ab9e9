"""Packed rows of tokens for training and evaluation, as a function of (seed, epoch, row)."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from highnoon.config import MAX_SIZE, require_count, require_flag
from highnoon.data.document import DataError
from highnoon.data.ints import Ints
from highnoon.data.sequences.mixture import Mixture, require_weights
from highnoon.data.sequences.row_layout import PackedLayout, RowLayout, SingleLayout
from highnoon.data.sequences.rows_view import RowsView
from highnoon.data.sequences.shuffling import shuffled
from highnoon.data.sequences.split_documents import SplitDocuments, Texts
from highnoon.data.sequences.to_tf_dataset import rows_to_tf_dataset
from highnoon.data.sequences.whole_document_layout import WholeDocumentLayout
from highnoon.data.tokens.token_columns import TokenColumns
from highnoon.data.tokens.token_store import TokenStore


class PackedRows:
    """One side of the split of token stores, packed into rows of `row_length` tokens.

    The documents of an epoch are concatenated in an order computed from (seed, epoch) and split into rows,
    and the rows are shuffled with the same seed. Every token that has a predecessor in its document is
    supervised exactly once per epoch, except those that `Document.supervised` excludes. The validation split
    is read in stored order.

    With `weights`, each store has an order of its own and each row is from one store, in proportions that are
    exact over any window of 1,000 rows. An epoch has as many rows as all stores together. A store that is
    exhausted starts again in a new order; a store that is not continues in the next epoch. The validation
    split uses every document once, whatever the weights.

    Args:
        stores: One or several token stores with the same tokenizer.
        row_length: Input tokens per row, at least 1.
        seed: Seed of all orders.
        split: `"train"` or `"validation"`.
        weights: Fraction of the rows from each store, above 0, with sum 1; None uses each store in proportion
            to its tokens.
        packing: Whether a row may have several documents. False gives each row one piece of one document,
            padded, for models without `segment_ids`.
        whole_documents: Whether rows are filled without cutting documents that fit into one, by best fit,
            see `WholeDocumentLayout`. False cuts a document wherever a row ends.
        derived: For each store what frozen models said of its tokens, see `derive_columns`; batches get
            these columns, too.
        numbers: Further int32 columns by name, in which every token has the number of its document and
            padding has 0: for each store an array of integers, one a document.

    Raises:
        DataError: the split holds no document, or an argument is out of its range.

    Example:

    ```python
    import pathlib, tempfile, warnings
    from highnoon.data import Files, PackedRows, tokenize
    from highnoon.tokenization import ByteTokenizer
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, "a.txt").write_text("abcd")
        store = tokenize(Files(f"{folder}/a.txt"), ByteTokenizer(), folder, validation_split=0.0)
        batch = PackedRows([store], row_length=5).view(epoch=0).read(0, 1)
        assert batch["token_ids"].tolist() == [[2, 104, 105, 106, 107]]
        assert batch["labels"].tolist() == [[104, 105, 106, 107, 3]]
    ```
    """

    def __init__(
        self,
        stores: TokenStore | Sequence[TokenStore],
        row_length: int = 256,
        seed: int = 42,
        split: str = "train",
        weights: Sequence[float] | None = None,
        packing: bool = True,
        derived: Sequence[TokenColumns] | None = None,
        numbers: Mapping[str, Sequence[Ints]] | None = None,
        whole_documents: bool = False,
    ) -> None:
        require_count("row_length", row_length, most=MAX_SIZE, error=DataError)
        require_count("seed", seed, least=0, error=DataError)
        require_flag("packing", packing, DataError)
        require_flag("whole_documents", whole_documents, DataError)
        self.stores = [stores] if isinstance(stores, TokenStore) else list(stores)
        self.row_length = row_length
        self.seed = seed
        self.split = split
        self.packing = packing
        self.whole_documents = whole_documents
        packed: type[RowLayout] = WholeDocumentLayout if whole_documents else PackedLayout
        self._layout_class: type[RowLayout] = packed if packing else SingleLayout
        self.derived = None if derived is None else list(derived)
        self.numbers = dict(numbers or {})
        self._documents = SplitDocuments(self.stores, split, self.derived, self.numbers)
        self.weights = None if weights is None else require_weights(weights)
        if self.weights is not None and len(self.weights) != len(self.stores):
            raise DataError(
                f"`weights` must have one value for each of {len(self.stores)} stores; "
                f"received {len(self.weights)}"
            )
        self._check_size()

    @property
    def num_documents(self) -> int:
        """The number of documents in the split."""
        return len(self._documents)

    @property
    def num_tokens(self) -> int:
        """The number of tokens in the split, including framing."""
        return int(self.lengths.sum())

    @property
    def num_bytes(self) -> int:
        """UTF-8 bytes of the split's text."""
        return int(self._documents.num_bytes.sum())

    @property
    def lengths(self) -> Ints:
        """The number of tokens of each document in the split, including framing."""
        return self._documents.lengths

    @property
    def store_of(self) -> Ints:
        """The index in `stores` of the store of each document in the split."""
        return self._documents.store_of

    def tokens(self, document: int) -> npt.NDArray[np.int32]:
        """Returns the ids of a document in the split, including framing."""
        store, index = self._documents.locate(document)
        return store.tokens(index)

    def supervised(self, document: int) -> npt.NDArray[np.bool_]:
        """Returns for each id of a document in the split whether it is supervised."""
        store, index = self._documents.locate(document)
        return store.supervised(index)

    def learned(self, document: int) -> npt.NDArray[np.bool_]:
        """The former name of `supervised`."""
        return self.supervised(document)

    def text(self, document: int) -> str:
        """Returns the text of a document in the split."""
        store, index = self._documents.locate(document)
        return store.text(index)

    def domain(self, document: int) -> str:
        """Returns the domain of a document in the split."""
        store, index = self._documents.locate(document)
        return store.domain(index)

    def origin(self, document: int) -> str | None:
        """Returns where a document in the split was read from, such as `a.jsonl:3`; None if not recorded."""
        store, index = self._documents.locate(document)
        return store.origin(index)

    def texts(self) -> Sequence[str]:
        """Returns the texts of the split as a sequence that decodes each text when it is accessed."""
        return Texts(self._documents)

    def view(self, epoch: int, documents: Sequence[int] | npt.NDArray[Any] | None = None) -> RowsView:
        """Returns the rows of an epoch.

        Args:
            epoch: The epoch, from 0; the validation split has the same order in all epochs.
            documents: Indices of the documents of the split to read, in any order. None reads all. With
                weights, the rows of a store without documents are drawn from the others, with a warning.

        Raises:
            DataError: If `epoch` is negative, or `documents` is empty, has duplicates or is out of range.
        """
        if epoch < 0:
            raise DataError(f"`epoch` must not be negative; received {epoch}")
        chosen = np.arange(self.num_documents) if documents is None else self._require_documents(documents)
        pools, weights = [chosen], [1.0]
        if self.weights is not None and self.split == "train":
            pools, weights = self._pools(chosen, self.weights)
        return self._make_view(pools, Mixture(weights), epoch)

    def _make_view(self, pools: list[Ints], mixture: Mixture, epoch: int) -> RowsView:
        return RowsView(self._documents, pools, mixture, epoch, self._cut, self.row_length)

    def only(self, store: TokenStore) -> PackedRows:
        """Returns rows with the same settings from one of the stores."""
        index = self.stores.index(store)
        derived = None if self.derived is None else [self.derived[index]]
        numbers = {name: [arrays[index]] for name, arrays in self.numbers.items()}
        return PackedRows(
            store,
            self.row_length,
            self.seed,
            self.split,
            None,
            self.packing,
            derived,
            numbers,
            self.whole_documents,
        )

    def to_tf_dataset(
        self, batch_size: int = 8, epochs: int = 1, seed: int | None = None, **options: Any
    ) -> Any:
        """Returns the rows as a `tf.data.Dataset` for `model.fit`; see `rows_to_tf_dataset`."""
        return rows_to_tf_dataset(self, batch_size, epochs, seed, **options)

    def report(self) -> dict[str, Any]:
        """Returns what the split has and how it is read.

        `documents`, `tokens`, `bytes`, `rows` (per epoch), `row_length`, `efficiency` (the fraction of row
        positions with tokens), and `stores`: for each, `name`, `documents`, `tokens`, `share_asked` (its
        weight; None without weights) and `share_actual`, its fraction of the rows of the first epoch (of the
        tokens without weights).
        """
        view = self.view(0)
        is_weighted = self.weights is not None and self.split == "train"
        asked = self.weights if self.weights is not None and is_weighted else [None] * len(self.stores)
        tokens = np.bincount(self._documents.store_of, self.lengths, len(self.stores))
        counts = np.bincount(self._documents.store_of, minlength=len(self.stores))
        actual = np.zeros(len(self.stores))
        actual[counts > 0] = view.fractions if is_weighted else (tokens / tokens.sum())[counts > 0]
        return {
            "split": self.split,
            "documents": self.num_documents,
            "tokens": self.num_tokens,
            "bytes": self.num_bytes,
            "rows": view.num_rows,
            "row_length": self.row_length,
            "efficiency": view.efficiency,
            "stores": [
                {
                    "name": store.name,
                    "documents": int(counts[number]),
                    "tokens": int(tokens[number]),
                    "share_asked": asked[number],
                    "share_actual": float(actual[number]),
                }
                for number, store in enumerate(self.stores)
            ],
        }

    def _cut(self, documents: Ints, number: int) -> tuple[RowLayout, Ints]:
        """Returns the layout of one pass over a pool, and the order in which its rows are read."""
        is_shuffled = self.split == "train"
        order = shuffled(documents, self.seed, number, 0) if is_shuffled else documents
        layout = self._layout_class(order, self.lengths[order], self.row_length)
        rows = np.arange(layout.num_rows)
        return layout, shuffled(rows, self.seed, number, 1) if is_shuffled else rows

    def _pools(self, chosen: Ints, weights: Sequence[float]) -> tuple[list[Ints], list[float]]:
        pools = [chosen[self._documents.store_of[chosen] == store] for store in range(len(self.stores))]
        kept = [store for store, pool in enumerate(pools) if len(pool)]
        if len(kept) < len(pools):
            missing = ", ".join(store.name for number, store in enumerate(self.stores) if number not in kept)
            warnings.warn(
                f"no document of {missing} is among those to read; its rows are drawn from the other stores",
                stacklevel=3,
            )
        total = sum(weights[store] for store in kept)
        return [pools[store] for store in kept], [weights[store] / total for store in kept]

    def _require_documents(self, documents: Sequence[int] | npt.NDArray[Any]) -> Ints:
        chosen = np.unique(np.asarray(documents, np.int64))
        if not len(chosen) or len(chosen) != len(documents):
            raise DataError(
                f"`documents` must be distinct and at least one; received {len(documents)}, {len(chosen)} "
                f"of them distinct"
            )
        if chosen[0] < 0 or chosen[-1] >= self.num_documents:
            raise DataError(
                f"`documents` must be in [0, {self.num_documents}); received "
                f"{chosen[0] if chosen[0] < 0 else chosen[-1]}"
            )
        return chosen

    def _require_some(self) -> None:
        names = ", ".join(store.name for store in self.stores)
        if not self.num_documents:
            raise DataError(
                f"the {self.split} split of {names} is empty: none of its {sum(map(len, self.stores))} "
                f"documents is in it; add documents or change `validation_split`"
            )

    def _check_size(self) -> None:
        self._require_some()
        if self.num_tokens <= self.row_length:
            names = ", ".join(store.name for store in self.stores)
            warnings.warn(
                f"the {self.split} split of {names} has {self.num_tokens} tokens, fewer than fill "
                f"one row of {self.row_length}: it is padded",
                stacklevel=3,
            )
