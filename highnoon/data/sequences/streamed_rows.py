"""Rows from a source that can only be read forward."""

from __future__ import annotations

import dataclasses
import functools
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from highnoon.config import require_count
from highnoon.data.document import DataError, DocumentSource
from highnoon.data.sequences.document_stream import DocumentStream
from highnoon.data.sequences.row_packing import RowBlock, packed_blocks
from highnoon.data.sequences.split_documents import SPLITS
from highnoon.data.sequences.streamed_view import StreamedView
from highnoon.data.sequences.to_tf_dataset import rows_to_tf_dataset
from highnoon.tokenization import Tokenizer


@dataclasses.dataclass
class _Counts:
    documents: int = 0
    tokens: int = 0
    num_bytes: int = 0
    rows: int = 0


class StreamedRows:
    """One side of the split of a source, tokenized, shuffled and packed into rows while it is read.

    Has the interface of `PackedRows` and yields the same batches, but writes nothing to disk. Prefer
    `tokenize` and `PackedRows` if the tokens fit on the disk. The costs of a stream:

    - Documents are shuffled in a buffer of `buffer_documents`, seeded by (seed, epoch), so a document rarely
      moves far from its position in the source. Rows are not shuffled again.
    - A row is found by reading up to it. A resumed run reads and tokenizes the finished part of the epoch
      again and discards it; only the number of rows is saved.
    - Every epoch tokenizes again, and the validation split reads the complete source.
    - The number of rows is known after a pass. Without `num_rows`, a first pass counts it. With it, an epoch
      of the training split has exactly that many: a longer source is truncated, a shorter one starts again in
      another order, with a warning. The validation split is never repeated: it is counted, up to `num_rows`.

    Args:
        source: The source of the documents.
        tokenizer: The tokenizer.
        row_length: Input tokens per row, at least 1.
        seed: Seed of all orders.
        split: `"train"` or `"validation"`; the latter is read in the order of the source.
        num_rows: Rows per epoch, at least 1; None counts them.
        validation_split: Fraction of documents to hold out, by a hash of their text, in [0, 1).
        buffer_documents: Documents in the shuffle buffer, at least 1.

    Raises:
        DataError: If an argument is out of range; or, when the first row is read, if the split is empty.

    Example:

    ```python
    import pathlib, tempfile
    from highnoon.data import Files
    from highnoon.data.sequences.streamed_rows import StreamedRows
    from highnoon.tokenization import ByteTokenizer
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, "a.txt").write_text("abcd")
        rows = StreamedRows(Files(f"{folder}/a.txt"), ByteTokenizer(), row_length=5, validation_split=0.0)
        batch = rows.view(epoch=0).read(0, 1)
        assert batch["labels"].tolist() == [[104, 105, 106, 107, 3]] and rows.num_tokens == 6
    ```
    """

    def __init__(
        self,
        source: DocumentSource,
        tokenizer: Tokenizer,
        row_length: int = 256,
        seed: int = 42,
        split: str = "train",
        num_rows: int | None = None,
        validation_split: float = 0.1,
        buffer_documents: int = 1000,
    ) -> None:
        if split not in SPLITS:
            raise DataError(f"`split` must be one of {', '.join(SPLITS)}; received {split!r}")
        for name, value in (
            ("row_length", row_length),
            ("num_rows", num_rows),
            ("buffer_documents", buffer_documents),
        ):
            if value is not None or name != "num_rows":
                require_count(name, value, error=DataError)
        require_count("seed", seed, least=0, error=DataError)
        self.source = source
        self.tokenizer = tokenizer
        self.row_length = row_length
        self.seed = seed
        self.split = split
        self._asked_rows = num_rows
        self._stream = DocumentStream(
            source, tokenizer, split, validation_split, buffer_documents if split == "train" else 1
        )
        self._view: StreamedView | None = None

    @property
    def is_counted(self) -> bool:
        """Whether the counts are from a pass over the source, not derived from `num_rows`."""
        return self._asked_rows is None or self.split == "validation"

    @property
    def num_rows(self) -> int:
        """The number of rows per epoch."""
        return self._counts.rows

    @property
    def num_documents(self) -> int:
        """The number of documents in the split; `num_rows` if they are not counted."""
        return self._counts.documents

    @property
    def num_tokens(self) -> int:
        """The number of tokens in the split, including framing; those of `num_rows` rows if not counted."""
        return self._counts.tokens

    @property
    def num_bytes(self) -> int:
        """UTF-8 bytes of the text in the split.

        Raises:
            DataError: If they are not counted because of `num_rows`.
        """
        if not self.is_counted:
            raise DataError(f"the bytes of {self.source.name} are not counted; leave out `num_rows`")
        return self._counts.num_bytes

    def view(self, epoch: int, documents: Sequence[int] | None = None) -> StreamedView:
        """Returns the rows of an epoch; a view of the same epoch is reused with its position.

        Args:
            epoch: The epoch, from 0; the validation split has the same order in all epochs.
            documents: None; a stream reads all documents.

        Raises:
            DataError: If `epoch` is negative, or `documents` is not None.
        """
        if epoch < 0:
            raise DataError(f"`epoch` must not be negative; received {epoch}")
        if documents is not None:
            self._refuse_choice()
        if self._view is None or self._view.epoch != epoch:
            self._view = StreamedView(functools.partial(self._blocks, epoch), self.num_rows, epoch)
        return self._view

    def to_tf_dataset(
        self, batch_size: int = 8, epochs: int = 1, seed: int | None = None, **options: Any
    ) -> Any:
        """Returns the rows as a `tf.data.Dataset` for `model.fit`; see `rows_to_tf_dataset`."""
        return rows_to_tf_dataset(self, batch_size, epochs, seed, **options)

    def texts(self) -> NoReturn:
        """Raises an error, because sorting texts needs random access to documents.

        Raises:
            DataError: Always.
        """
        self._refuse_choice()

    def report(self) -> dict[str, Any]:
        """Returns what the split has and how it is read, as `PackedRows.report`, and `is_counted`."""
        counts = self._counts
        positions = counts.rows * self.row_length
        return {
            "split": self.split,
            "documents": counts.documents,
            "tokens": counts.tokens,
            "bytes": counts.num_bytes,
            "rows": counts.rows,
            "row_length": self.row_length,
            "efficiency": min(1.0, counts.tokens / positions),
            "is_counted": self.is_counted,
            "stores": [
                {
                    "name": self.source.name,
                    "documents": counts.documents,
                    "tokens": counts.tokens,
                    "share_asked": None,
                    "share_actual": 1.0,
                }
            ],
        }

    @functools.cached_property
    def _counts(self) -> _Counts:
        if not self.is_counted and self._asked_rows is not None:
            return _Counts(self._asked_rows, self._asked_rows * self.row_length, 0, self._asked_rows)
        counts = _Counts()
        bound = self._asked_rows
        for document in self._stream.read(self.seed, 0, 0):
            counts.documents += 1
            counts.tokens += len(document.tokens)
            counts.num_bytes += document.num_bytes
            if bound is not None and counts.tokens > bound * self.row_length:
                break
        if not counts.documents:
            self._refuse_empty()
        # As in `PackedLayout`: the last token need not be an input.
        counts.rows = min(bound or counts.tokens, max(1, -(-(counts.tokens - 1) // self.row_length)))
        return counts

    def _blocks(self, epoch: int) -> Iterator[RowBlock]:
        """Yields the rows of an epoch: one pass, and more passes if `num_rows` needs them."""
        number = given = 0
        while True:
            before = given
            order = (self.seed, epoch, number) if self.split == "train" else (self.seed, 0, 0)
            for block in packed_blocks(self._stream.read(*order), self.row_length):
                given += len(block.documents)
                yield block
            if given == before:
                self._refuse_empty()
            if number == 0 and given < self.num_rows:
                warnings.warn(
                    f"{self.source.name} ends after {given:,} rows, before num_rows={self.num_rows:,}; it "
                    f"starts again in another order",
                    stacklevel=2,
                )
            number += 1

    def _refuse_empty(self) -> NoReturn:
        raise DataError(
            f"the {self.split} split of {self.source.name} is empty; add documents or change "
            f"`validation_split`"
        )

    def _refuse_choice(self) -> NoReturn:
        raise DataError(
            f"{self.source.name} is a stream, whose documents cannot be selected or sorted; tokenize it to "
            f"use a scheduler"
        )
