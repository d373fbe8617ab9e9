"""Rows with one labeled document each, for classifiers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from highnoon.data.bad_records import BadRecordError
from highnoon.data.sequences.mixture import Mixture
from highnoon.data.sequences.packed_rows import PackedRows
from highnoon.data.sequences.row_filling import Batch
from highnoon.data.sequences.row_layout import Ints, TruncatedLayout
from highnoon.data.sequences.rows_view import RowsView
from highnoon.data.tokens.token_store import TokenStore


class ClassificationRows(PackedRows):
    """One side of the split of stores of labeled documents, one document per row.

    Order, mixture and split are those of `PackedRows`: rows are a function of (seed, epoch, row). Of a
    document longer than `row_length` the first tokens are read; `num_truncated` counts these.

    Args:
        stores: One or several token stores of `LabeledDocuments` with the same tokenizer.
        labels: All labels; the position of a label is the number that a model predicts.
        row_length: Tokens per row, at least 1.
        seed: Seed of all orders.
        split: `"train"` or `"validation"`.
        weights: As in `PackedRows`.

    Raises:
        BadRecordError: a document has a label that is not among `labels`, or none.
        DataError: the split holds no document, or an argument is out of its range.

    Example:

    ```python
    import pathlib, tempfile
    from highnoon.data import ClassificationRows, Files, LabeledDocuments, tokenize
    from highnoon.tokenization import ByteTokenizer
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, "a.jsonl").write_text('{"text": "abcd", "label": "good"}\\n')
        source = LabeledDocuments(Files(f"{folder}/a.jsonl"))
        store = tokenize(source, ByteTokenizer(), folder, validation_split=0.0)
        batch = ClassificationRows([store], labels=["bad", "good"], row_length=3).view(epoch=0).read(0, 1)
        assert batch["token_ids"].tolist() == [[2, 104, 105]] and batch["label"].tolist() == [1]
    ```
    """

    def __init__(
        self,
        stores: TokenStore | Sequence[TokenStore],
        labels: Sequence[str],
        row_length: int = 256,
        seed: int = 42,
        split: str = "train",
        weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__(stores, row_length, seed, split, weights, packing=False)
        self._layout_class = TruncatedLayout
        self.labels = list(labels)
        self.label_of: npt.NDArray[np.int32] = self._numbers()

    @property
    def num_truncated(self) -> int:
        """The number of documents in the split that are longer than a row, and truncated."""
        return int((self.lengths > self.row_length).sum())

    def only(self, store: TokenStore) -> ClassificationRows:
        """Returns rows with the same settings from one of the stores."""
        return ClassificationRows(store, self.labels, self.row_length, self.seed, self.split)

    def report(self) -> dict[str, Any]:
        """Returns what `PackedRows.report` returns, `labels`, and how many documents are `truncated`."""
        counts = np.bincount(self.label_of, minlength=len(self.labels)).tolist()
        labels = dict(zip(self.labels, counts, strict=True))
        return {**super().report(), "labels": labels, "truncated": self.num_truncated}

    def _make_view(self, pools: list[Ints], mixture: Mixture, epoch: int) -> RowsView:
        view = ClassificationView(self._documents, pools, mixture, epoch, self._cut, self.row_length)
        view.label_of = self.label_of
        return view

    def _numbers(self) -> npt.NDArray[np.int32]:
        """The label index of each document in the split."""
        known = {label: number for number, label in enumerate(self.labels)}
        numbers = np.zeros(self.num_documents, np.int32)
        for index, store in enumerate(self.stores):
            own = np.flatnonzero(self.store_of == index)
            of_names = np.array([known.get(name, -1) for name in store.label_names] or [-1], np.int32)
            in_store = self._documents.indices_in_store(own)
            numbers[own] = of_names[store.labels[in_store]] if store.labels is not None else -1
            unknown = own[numbers[own] < 0]
            if len(unknown):
                self._refuse_unknown(int(unknown[0]))
        return numbers

    def _refuse_unknown(self, document: int) -> None:
        store, index = self._documents.locate(document)
        location = f"{store.name} document {index}"
        label = store.label(index)
        expected = ", ".join(self.labels[:10]) + (", ..." if len(self.labels) > 10 else "")
        raise BadRecordError(
            f"{location} of the {self.split} split: expected a label among {expected}; received "
            f"{'none' if label is None else repr(label)}; correct the record, or name all labels in "
            "Classification(labels=[...])",
            "unknown label",
            location,
        )

    def _check_size(self) -> None:
        self._require_some()


class ClassificationView(RowsView):
    """The rows of an epoch; created by `ClassificationRows.view`."""

    label_of: npt.NDArray[np.int32]

    def read(self, start: int, count: int) -> Batch:
        """Returns rows `start` to `start + count - 1`, fewer at the end of the epoch.

        Returns:
            `token_ids` and `padding_mask` (1 at tokens), int32 of shape (rows, row_length); `label`, int32
            of shape (rows,); `weight`, float32 of shape (rows,), 1 in every row.

        Raises:
            DataError: `start` is not in [0, num_rows], or `count` is negative.
        """
        batch = super().read(start, count)
        rows = range(start, start + len(batch["token_ids"]))
        documents = self.documents_at(np.array(rows, np.int64))
        return {
            "token_ids": batch["token_ids"],
            "padding_mask": (batch["segment_ids"] > 0).astype(np.int32),
            "label": self.label_of[documents],
            "weight": np.ones(len(rows), np.float32),
        }

    def documents_at(self, rows: Ints) -> Ints:
        """Returns the document of each of `rows`."""
        documents = np.zeros(len(rows), np.int64)
        for pieces in self._pieces(rows):
            documents[pieces.row] = pieces.document
        return documents
