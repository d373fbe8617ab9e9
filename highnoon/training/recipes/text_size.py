"""How much text a run has, found by reading a part of it."""

from __future__ import annotations

import copy
import dataclasses
import os
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from highnoon.data import DocumentSource

READ_BYTES = 64_000_000
"""Text that is read to count it: what a tokenizer is trained on at most, a second or two of reading."""
ENDLESS = 10**15
"""Bytes of a stream that is not in local files."""
_CUT_BYTES = 16
"""Bytes at the end of an only document that are enough for the two tokens that a cut needs there."""


@dataclasses.dataclass(frozen=True)
class TextSize:
    """The size of the text of a run.

    Args:
        num_bytes: UTF-8 bytes of its documents. Of more than was read, the size of its files, or what was
            read if it is not in files.
        num_documents: Documents that were counted; 0 where the size alone is known. An only document, which
            is cut by its length (`split_by_length`), counts as two: its beginning and its end.
        num_held_out: Those of them that training holds out.
        is_exact: Whether everything was read.
        is_stream: Whether some of it is read as a stream, which has no end that is known.
        tokenizer_size: Ids of the tokenizer that the data was prepared with; None if it was not.
    """

    num_bytes: int
    num_documents: int = 0
    num_held_out: int = 0
    is_exact: bool = True
    is_stream: bool = False
    tokenizer_size: int | None = None

    @property
    def holds_out(self) -> bool:
        """Whether training holds some of it out, which it does where the documents are not known."""
        return self.num_held_out > 0 or not self.is_exact or self.num_documents == 0

    def __str__(self) -> str:
        if self.num_bytes >= ENDLESS:
            return "a stream of text"
        if self.num_bytes < 1e9:
            amount = (
                f"{self.num_bytes / 1e6:,.1f} MB"
                if self.num_bytes >= 5e4
                else f"{self.num_bytes / 1e3:,.1f} kB"
            )
        else:
            amount = f"{self.num_bytes / 1e9:,.1f} GB"
        return f"{amount} of text" if self.is_exact else f"about {amount} of text"

    def __add__(self, other: TextSize) -> TextSize:
        sizes = [size for size in (self.tokenizer_size, other.tokenizer_size) if size is not None]
        return TextSize(
            self.num_bytes + other.num_bytes,
            self.num_documents + other.num_documents,
            self.num_held_out + other.num_held_out,
            self.is_exact and other.is_exact,
            self.is_stream or other.is_stream,
            max(sizes, default=None),
        )


def measure_text(
    datasets: Any, data_dir: str | os.PathLike[str] | None = None, validation_split: float = 0.1
) -> TextSize:
    """Returns the size of the text of datasets.

    The result is the same on every machine. Each dataset is read once, up to 64 MB of text.

    Args:
        datasets: As `Trainer.add_curriculum_stage` takes them.
        data_dir: Folder of local copies of named datasets.
        validation_split: Fraction of documents that training holds out.

    Raises:
        DataError: a dataset cannot be found or read.
    """
    from highnoon.training.plans.stages import CurriculumStage

    return measure_stage(CurriculumStage("measured", datasets), data_dir, validation_split)


def measure_stage(
    stage: Any, data_dir: str | os.PathLike[str] | None = None, validation_split: float = 0.1
) -> TextSize:
    """Returns the size of the text of a `CurriculumStage`; see `measure_text`."""
    from highnoon.training.plans.stage_sources import open_stage_sources

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the run itself opens the same sources and warns
        (opened,) = open_stage_sources([stage], data_dir)
    total = TextSize(0, 0)
    for source in opened.sources:
        total += _measure(
            copy.copy(source),  # the run counts the bad records of its own reading
            validation_split,
            is_streamed=source.name in opened.streamed,
            is_only=len(opened.sources) == 1,
        )
    return total


def _measure(
    source: DocumentSource, validation_split: float, *, is_streamed: bool, is_only: bool
) -> TextSize:
    from highnoon.data import PreparedTokens
    from highnoon.data.tokens.split_by_length import is_one_text
    from highnoon.data.tokens.splitting import document_hash, split_threshold

    threshold = split_threshold(validation_split)
    if isinstance(source, PreparedTokens):
        store = source.store
        num_bytes = int(store.num_bytes.sum())
        if is_only and is_one_text(store) and _is_cut(num_bytes, validation_split):
            return TextSize(num_bytes, 2, 1, tokenizer_size=source.tokenizer.vocab_size)
        num_held_out = int((store.split_hashes < store.split_hashes.dtype.type(threshold)).sum())
        size = source.tokenizer.vocab_size
        return TextSize(num_bytes, len(store), num_held_out, tokenizer_size=size)
    if is_streamed:
        return TextSize(_file_bytes([source]) or ENDLESS, 0, 0, is_exact=False, is_stream=True)
    num_bytes = num_documents = num_held_out = 0
    is_plain = True
    for document in source.documents():
        if num_bytes >= READ_BYTES:
            size = max(num_bytes, _file_bytes([source]))
            return TextSize(size, num_documents, num_held_out, is_exact=False)
        num_bytes += len(document.text.encode())
        num_documents += 1
        num_held_out += document_hash(document) < threshold
        is_plain = document.supervised is None and document.label is None
    if is_only and num_documents == 1 and is_plain and _is_cut(num_bytes, validation_split):
        return TextSize(num_bytes, 2, 1)
    return TextSize(num_bytes, num_documents, num_held_out)


def _is_cut(num_bytes: int, validation_split: float) -> bool:
    """Whether an only document is long enough that its end is held out, whatever its tokens are."""
    from highnoon.data.tokens.cut_document import held_out_start

    return num_bytes - held_out_start(num_bytes, validation_split) >= _CUT_BYTES


def _file_bytes(sources: Iterable[Any]) -> int:
    """Returns the bytes of the local files of sources and of their parts."""
    total = 0
    for source in sources:
        if hasattr(source, "parts"):
            total += _file_bytes(source.parts)
        elif hasattr(source, "paths"):
            total += sum(os.stat(path).st_size for path in source.paths if isinstance(path, os.PathLike))
        elif hasattr(source, "source"):
            total += _file_bytes([source.source])
    return total
