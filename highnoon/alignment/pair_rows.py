"""Rows that hold pairs of answers, two lanes a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from highnoon.alignment.pair_layout import PairLayout
from highnoon.alignment.pair_view import PairView
from highnoon.alignment.unusable_pairs import unusable_pairs
from highnoon.data.document import DataError
from highnoon.data.ints import Ints
from highnoon.data.sequences.mixture import Mixture
from highnoon.data.sequences.packed_rows import PackedRows
from highnoon.data.sequences.row_layout import RowLayout
from highnoon.data.sequences.rows_view import RowsView
from highnoon.data.sequences.shuffling import shuffled
from highnoon.data.tokens.token_columns import TokenColumns
from highnoon.data.tokens.token_store import TokenStore


class PairRows(PackedRows):
    """One side of the split of stores of pairs, packed into rows of two lanes.

    The two documents of a pair are the same segment of the two lanes of one row, so no pair is ever cut from
    its other half. Order, mixture and split are those of `PackedRows`, with pairs in place of documents. An
    answer that does not fit into a lane is cut at its end, and its end token is then missing.

    Args:
        stores: One or several token stores of an `AnswerPairs` source with the same tokenizer.
        row_length: Tokens of a lane, at least 1.
        seed: Seed of all orders.
        split: `"train"` or `"validation"`.
        weights: As in `PackedRows`.
        packing: Whether a row may have several pairs.
        derived: As in `PackedRows`.
        may_be_equal: Whether the documents of a pair may be equal; False where they are a better and a worse
            answer.
        row_columns: Names of further float32 columns (rows,), all 0, which a step fills.
        skips_unusable: Whether pairs that cannot be used are left out and counted in `num_unusable`.

    Raises:
        BadRecordError: a prompt fills a lane, so that no answer is left of it, or the answers are equal as
            far as they are read.
        DataError: the split holds no pair, or an argument is out of its range.

    Example:

    ```python
    import tempfile
    from highnoon.alignment import PairRows, PreferenceDocuments
    from highnoon.data import InMemoryDataset, tokenize
    from highnoon.tokenization import ByteTokenizer
    records = [{"prompt": "2 + 2 =", "chosen": "4", "rejected": "5"}]
    with tempfile.TemporaryDirectory() as folder:
        source = PreferenceDocuments(InMemoryDataset(records))
        store = tokenize(source, ByteTokenizer(), folder, validation_split=0.0)
        batch = PairRows([store], row_length=64).view(epoch=0).read(0, 1)
        assert batch["token_ids"].shape == (1, 2, 64)
        assert (batch["token_ids"][:, 0] != batch["token_ids"][:, 1]).sum() == 1
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
        *,
        may_be_equal: bool = False,
        row_columns: Sequence[str] = (),
        skips_unusable: bool = False,
    ) -> None:
        super().__init__(stores, row_length, seed, split, weights, packing, derived)
        self.may_be_equal, self.skips_unusable = may_be_equal, skips_unusable
        self.row_columns = list(row_columns)
        self.lengths_of_pairs = self._documents.lengths.reshape(-1, 2)
        unusable = unusable_pairs(
            self._documents, row_length, may_be_equal=may_be_equal, raises=not skips_unusable
        )
        self._usable = np.setdiff1d(np.arange(len(self.lengths_of_pairs)), unusable)
        self.num_unusable = len(unusable)
        self._require_usable()
        self.values_of_pairs = self._values()

    @property
    def num_documents(self) -> int:
        """The number of pairs that are read."""
        return len(self._usable)

    @property
    def num_truncated(self) -> int:
        """The number of pairs with an answer that is cut."""
        return int((self.lengths_of_pairs[self._usable] > self.row_length).any(axis=1).sum())

    @property
    def num_tokens(self) -> int:
        """The number of tokens of the pairs that are read, including framing."""
        return int(self.lengths_of_pairs[self._usable].sum())

    def tokens(self, document: int) -> npt.NDArray[np.int32]:
        """Returns the ids of the first document of a pair, including framing."""
        return super().tokens(self._first(document))

    def supervised(self, document: int) -> npt.NDArray[np.bool_]:
        """Returns for each id of the first document of a pair whether it is supervised."""
        return super().supervised(self._first(document))

    def text(self, document: int) -> str:
        """Returns the text of the first document of a pair."""
        return super().text(self._first(document))

    def domain(self, document: int) -> str:
        """Returns the domain of a pair."""
        return super().domain(self._first(document))

    def origin(self, document: int) -> str | None:
        """Returns where a pair was read from; None if it is not recorded."""
        return super().origin(self._first(document))

    def texts(self) -> Sequence[str]:
        """Returns the text of the first document of each pair."""
        return [self.text(pair) for pair in range(self.num_documents)]

    def view(self, epoch: int, documents: Sequence[int] | npt.NDArray[Any] | None = None) -> RowsView:
        """Returns the rows of an epoch.

        Args:
            epoch: The epoch, from 0.
            documents: Indices of the pairs to read, in any order; None reads all.

        Raises:
            DataError: As `PackedRows.view`.
        """
        chosen = np.arange(self.num_documents) if documents is None else self._require_documents(documents)
        if epoch < 0:
            raise DataError(f"`epoch` must not be negative; received {epoch}")
        firsts = 2 * self._usable[chosen]
        pools, weights = [firsts], [1.0]
        if self.weights is not None and self.split == "train":
            pools, weights = self._pools(firsts, self.weights)
        return self._make_view(pools, Mixture(weights), epoch)

    def only(self, store: TokenStore) -> PairRows:
        """Returns rows with the same settings from one of the stores."""
        derived = None if self.derived is None else [self.derived[self.stores.index(store)]]
        return PairRows(
            store,
            self.row_length,
            self.seed,
            self.split,
            None,
            self.packing,
            derived,
            may_be_equal=self.may_be_equal,
            row_columns=self.row_columns,
            skips_unusable=self.skips_unusable,
        )

    def _make_view(self, pools: list[Ints], mixture: Mixture, epoch: int) -> RowsView:
        view = PairView(self._documents, pools, mixture, epoch, self._cut, self.row_length)
        view.usable, view.values_of_pairs = self._usable, self.values_of_pairs
        view.row_columns = self.row_columns
        return view

    def _cut(self, documents: Ints, number: int) -> tuple[RowLayout, Ints]:
        is_shuffled = self.split == "train"
        order = shuffled(documents, self.seed, number, 0) if is_shuffled else documents
        lengths = self.lengths_of_pairs[order // 2]
        layout = PairLayout(order, lengths, self.row_length, packing=self.packing)
        rows = np.arange(layout.num_rows)
        return layout, shuffled(rows, self.seed, number, 1) if is_shuffled else rows

    def _first(self, pair: int) -> int:
        """Returns the index of the first document of a pair that is read."""
        return 2 * int(self._usable[pair])

    def _values(self) -> npt.NDArray[np.float32]:
        """The number that each pair is labeled with, 0 where it has none."""
        values = np.zeros(len(self.lengths_of_pairs), np.float32)
        firsts = np.arange(0, len(self._documents), 2)
        for number, store in enumerate(self.stores):
            own = firsts[self._documents.store_of[firsts] == number]
            if store.labels is not None and len(own):
                names = np.array(store.label_names, np.float32)
                values[own // 2] = names[store.labels[self._documents.indices_in_store(own)]]
        return values

    def _require_usable(self) -> None:
        if not len(self._usable):
            raise DataError(
                f"the {self.split} split of {self.stores[0].name} has no pair that can be used, out of "
                f"{self.num_unusable}: prompts fill rows of max_seq_length={self.row_length}; raise it"
            )

    def _check_size(self) -> None:
        self._usable = np.arange(len(self._documents) // 2)
        self._require_some()
