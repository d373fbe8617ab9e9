"""Text and a tokenizer as one object."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Sequence

from highnoon.config import MAX_SIZE, require_count
from highnoon.data.document import DataError, DocumentSource
from highnoon.data.preparation.tokenize import tokenize
from highnoon.data.sequences.packed_rows import PackedRows
from highnoon.data.sequences.row_filling import Batch
from highnoon.data.sources.files import Files
from highnoon.data.sources.hugging_face import HuggingFaceDataset
from highnoon.data.sources.open_source import ALIASES, open_source
from highnoon.tokenization import Tokenizer


class TextDataset:
    """Documents packed into rows of `max_length` tokens.

    Pass it to a Trainer as one of a stage's `datasets`: the Trainer then reads `source` and uses the run's
    own tokenizer and row length. Used directly, it yields batches of the training split; `len(dataset)` is
    the number of rows per epoch.

    Args:
        source: The source of the documents.
        tokenizer: The tokenizer; may be None if only a Trainer reads the dataset.
        max_length: Tokens per row.
        cache_dir: The token cache, see `tokenize`.

    Example:

    ```python
    import pathlib, tempfile
    from highnoon.data import TextDataset
    from highnoon.tokenization import ByteTokenizer
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, "a.txt").write_text("one line\\n" * 50)
        dataset = TextDataset.from_files([f"{folder}/*.txt"], tokenizer=ByteTokenizer(), max_length=32,
                                         split="line", cache_dir=folder)
        batch = next(dataset.batches(batch_size=4))
        assert batch["token_ids"].shape == (4, 32)
    ```
    """

    def __init__(
        self,
        source: DocumentSource,
        tokenizer: Tokenizer | None = None,
        max_length: int = 2048,
        cache_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        self.source = source
        self.tokenizer = tokenizer
        self.max_length = require_count("max_length", max_length, most=MAX_SIZE, error=DataError)
        self.name = source.name
        self._cache_dir = cache_dir

    @classmethod
    def from_files(
        cls,
        paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        tokenizer: Tokenizer | None = None,
        max_length: int = 2048,
        split: str = "auto",
        cache_dir: str | os.PathLike[str] | None = None,
    ) -> TextDataset:
        """Returns a dataset of files of text or records.

        Args:
            paths: A file, a glob, a folder of domains, or a list of files and globs.
            tokenizer: The tokenizer.
            max_length: Tokens per row.
            split: How text files are split into documents: `"auto"`, `"file"`, `"line"` or `"blank-line"`.
            cache_dir: The token cache, see `tokenize`.

        Raises:
            DataError: If a path is missing or a glob matches nothing.
        """
        is_folder = isinstance(paths, (str, os.PathLike)) and os.path.isdir(paths)
        source = open_source(paths, split=split) if is_folder else Files(paths, split)
        return cls(source, tokenizer, max_length, cache_dir)

    @classmethod
    def from_hf(
        cls,
        name: str,
        split: str = "train",
        tokenizer: Tokenizer | None = None,
        max_length: int = 2048,
        cache_dir: str | os.PathLike[str] | None = None,
    ) -> TextDataset:
        """Returns a dataset from the Hugging Face hub.

        Args:
            name: `org/name`, `org/name:configuration`, a folder that `save_to_disk` wrote, or one of the
                documented short names, such as `"pile"`.
            split: The split to read; `"train[:1%]"` reads a part of it.
            tokenizer: The tokenizer.
            max_length: Tokens per row.
            cache_dir: The token cache, see `tokenize`.

        Raises:
            ImportError: If the extra `hf` is not installed.
            DataError: If the dataset cannot be opened or has no text column.
        """
        hub_name = next((hub for names, hub in ALIASES.items() if name in names), name)
        return cls(HuggingFaceDataset(hub_name, split), tokenizer, max_length, cache_dir)

    @functools.cached_property
    def rows(self) -> PackedRows:
        """The packed rows of the training split; tokenized on first use."""
        if self.tokenizer is None:
            raise DataError(f"{self.name} has no tokenizer; pass `tokenizer=`")
        return PackedRows(tokenize(self.source, self.tokenizer, self._cache_dir), self.max_length)

    def __len__(self) -> int:
        return self.rows.view(0).num_rows

    def batches(self, batch_size: int = 8, epoch: int = 0) -> Iterator[Batch]:
        """Yields the batches of an epoch; the last may be smaller. See "A batch" in docs/architecture.md.

        Raises:
            DataError: If `batch_size` is below 1 or there is no tokenizer.
        """
        if batch_size < 1:
            raise DataError(f"`batch_size` must be at least 1; received {batch_size}")
        view = self.rows.view(epoch)
        return (view.read(start, batch_size) for start in range(0, view.num_rows, batch_size))

    def __iter__(self) -> Iterator[Batch]:
        return self.batches()

    def __repr__(self) -> str:
        return f"TextDataset({self.name!r}, max_length={self.max_length})"
