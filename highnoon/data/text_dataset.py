"""Text and a tokenizer as one object."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Iterator, Sequence
from typing import Any

from highnoon.config import MAX_SIZE, require_count, resolve_keys
from highnoon.config.known_arguments import known_arguments
from highnoon.data.document import DataError, DocumentSource
from highnoon.data.preparation.tokenize import tokenize
from highnoon.data.records.read_options import ReadOptions
from highnoon.data.sequences.packed_rows import PackedRows
from highnoon.data.sequences.row_filling import Batch
from highnoon.data.sources.files import Files
from highnoon.data.sources.hugging_face import HuggingFaceDataset
from highnoon.data.sources.open_source import ALIASES, open_source
from highnoon.data.tokens.split_by_length import split_by_length
from highnoon.data.tokens.token_store import TokenStore
from highnoon.files.expand_home import expand_home
from highnoon.tokenization import Tokenizer


class TextDataset:
    """Documents packed into rows of `max_length` tokens.

    Pass it to a Trainer as one of a stage's `datasets`: the Trainer then reads `source` and uses the run's
    own tokenizer and row length. Used directly, it yields batches of the training split; `len(dataset)` is
    the number of rows per epoch.

    Args:
        source: The source of the documents, or anything that `open_source` opens: a name, a path, data in
            memory.
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

    @known_arguments
    def __init__(
        self,
        source: Any,
        tokenizer: Tokenizer | None = None,
        max_length: int = 2048,
        cache_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        self.source: DocumentSource = open_source(source)
        self.tokenizer = tokenizer
        self.max_length = require_count("max_length", max_length, most=MAX_SIZE, error=DataError)
        self.name = self.source.name
        self._cache_dir = cache_dir

    @classmethod
    def from_files(
        cls,
        paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        tokenizer: Tokenizer | None = None,
        max_length: int = 2048,
        split: str = "auto",
        cache_dir: str | os.PathLike[str] | None = None,
        **options: Any,
    ) -> TextDataset:
        """Returns a dataset of files of text or records.

        Args:
            paths: A file, a glob, a folder of domains, or a list of files and globs.
            tokenizer: The tokenizer.
            max_length: Tokens per row.
            split: How text files are split into documents: `"auto"`, `"file"`, `"line"` or `"blank-line"`.
            cache_dir: The token cache, see `tokenize`.
            **options: How records are read and encoded, see `ReadOptions`: `text_field`, `encoding`,
                `skip_bad`, ...

        Raises:
            DataError: If a path is missing or a glob matches nothing.
        """
        is_folder = isinstance(paths, (str, os.PathLike)) and expand_home(paths).is_dir()
        names = {field.name for field in dataclasses.fields(ReadOptions)}
        reading = resolve_keys(options, names, "`TextDataset.from_files`")
        source = (
            open_source(paths, split=split, **reading)
            if is_folder
            else Files(paths, split, options=ReadOptions(**reading))
        )
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
        return PackedRows(self._store(), self.max_length)

    def _store(self) -> TokenStore:
        if self.tokenizer is None:
            raise DataError(f"{self.name} has no tokenizer; pass `tokenizer=`")
        return split_by_length(tokenize(self.source, self.tokenizer, self._cache_dir))

    def __len__(self) -> int:
        return self.rows.view(0).num_rows

    @known_arguments
    def batches(self, batch_size: int = 8, epoch: int = 0) -> Iterator[Batch]:
        """Yields the batches of an epoch; the last may be smaller. See "A batch" in docs/architecture.md.

        Raises:
            DataError: If `batch_size` is below 1 or there is no tokenizer.
        """
        if batch_size < 1:
            raise DataError(f"`batch_size` must be at least 1; received {batch_size}")
        view = self.rows.view(epoch)
        return (view.read(start, batch_size) for start in range(0, view.num_rows, batch_size))

    @known_arguments
    def to_tf_dataset(
        self,
        batch_size: int = 8,
        epochs: int = 1,
        seed: int = 42,
        features: Sequence[str] | None = None,
        drop_remainder: bool = False,
        packing: bool = True,
        split: str = "train",
    ) -> Any:
        """Returns a split as a `tf.data.Dataset` of `(features, labels, sample_weight)` for `model.fit`.

        Args:
            batch_size: Rows in a batch.
            epochs: Epochs in the dataset, each in its own order; see `rows_to_tf_dataset`.
            seed: Seed of the order.
            features: The columns of the features, see `rows_to_tf_dataset`.
            drop_remainder: Whether the smaller batch at the end of an epoch is left out.
            packing: Whether a row may hold several documents; False for models that read only `token_ids` and
                `padding_mask`.
            split: `"train"` or `"validation"`.

        Raises:
            DataError: An argument is out of range, or there is no tokenizer.
        """
        rows = PackedRows(self._store(), self.max_length, seed, split, packing=packing)
        return rows.to_tf_dataset(batch_size, epochs, features=features, drop_remainder=drop_remainder)

    def __iter__(self) -> Iterator[Batch]:
        return self.batches()

    def __repr__(self) -> str:
        return f"TextDataset({self.name!r}, max_length={self.max_length})"
