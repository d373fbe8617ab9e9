"""Writes the tokens of a source into a folder, in this process or in several."""

from __future__ import annotations

import itertools
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence

from highnoon.data.bad_records import left_out, reason_for_nothing
from highnoon.data.document import DataError, Document, DocumentSource
from highnoon.data.preparation.encoding_pool import EncodingPool
from highnoon.data.sources.source_template import source_template
from highnoon.data.tokens.encoding import EncodedBatch, encode_batch
from highnoon.data.tokens.origins import document_origin
from highnoon.data.tokens.splitting import has_split_hashes
from highnoon.data.tokens.store_writer import StoreWriter
from highnoon.tokenization import Tokenizer

# Small enough for the tokenizer's arrays, large enough to keep the processes busy.
_BATCH_CHARACTERS = 1 << 20
_BATCH_DOCUMENTS = 4096

# Starting other processes takes about a second, in which this process encodes as much.
_BATCHES_ALONE = 24

# Called with the number of documents and bytes of text that are done.
OnProgress = Callable[[int, int], None]


def fill_store(
    source: DocumentSource,
    tokenizer: Tokenizer,
    key: str,
    folder: pathlib.Path,
    validation_split: float,
    num_workers: int | None = None,
    on_progress: OnProgress | None = None,
) -> None:
    """Writes the token store with a key into `folder`, and resumes an earlier call that was stopped.

    The files are the same for any number of workers and interruptions.

    Args:
        source: The source of the documents; the same as in the earlier call.
        tokenizer: The tokenizer.
        key: The key of the store.
        folder: An existing folder.
        validation_split: The fraction that `TokenStore.open` holds out by default.
        num_workers: Processes that tokenize. 1 starts none; None starts one per core if the source is large.
        on_progress: Called after each batch.

    Raises:
        DataError: If the source has no documents or cannot be read.
        KeyboardInterrupt: After Ctrl-C, with the folder of the work so far.
    """
    tokenizer = tokenizer.with_chat_template(source_template(source) or tokenizer.chat_template)
    with StoreWriter(folder, key, tokenizer, source.name, validation_split) as writer:
        try:
            documents = _after(source, writer.progress.documents)
            for batch, encoded in _encoded(document_batches(documents), tokenizer, num_workers):
                labels = [document.label or "" for document in batch] if source.has_labels else None
                origins = list(map(document_origin, batch))
                writer.append(encoded, [document.domain for document in batch], labels, origins)
                if on_progress is not None:
                    on_progress(writer.progress.documents, writer.progress.text_bytes)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"stopped; {writer.progress.documents} documents are stored in {folder}, and the same call "
                f"resumes there"
            ) from None
        if not writer.progress.documents:
            raise DataError(
                f"{source.name} has no documents{reason_for_nothing(source)}; use a source with text"
            )
        writer.finish(left_out(source), has_split_hashes=has_split_hashes(source))


def usable_cores() -> int:
    """Returns how many cores this process may use."""
    # Not every system can report the cores of a process.
    cores = getattr(os, "sched_getaffinity", None)
    return len(cores(0)) if cores is not None else os.cpu_count() or 1


def document_batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    """Yields batches of documents: at most about a million characters and 4,096 documents each."""
    held: list[Document] = []
    characters = 0
    for document in documents:
        held.append(document)
        characters += len(document.text)
        if characters >= _BATCH_CHARACTERS or len(held) >= _BATCH_DOCUMENTS:
            yield held
            held, characters = [], 0
    if held:
        yield held


def _after(source: DocumentSource, count: int) -> Iterator[Document]:
    """Returns the documents of `source` after the first `count`."""
    documents = source.documents()
    skipped = sum(1 for _ in itertools.islice(documents, count))
    if skipped < count:
        raise DataError(
            f"{source.name} had at least {count} documents before and has {skipped} now; its documents must "
            f"be the same each time it is read"
        )
    return documents


def _encoded(
    batches: Iterator[list[Document]], tokenizer: Tokenizer, num_workers: int | None
) -> Iterator[tuple[Sequence[Document], EncodedBatch]]:
    workers = usable_cores() if num_workers is None else num_workers
    alone = None if workers == 1 else _BATCHES_ALONE if num_workers is None else 0
    for batch in itertools.islice(batches, alone):
        supervised = [document.supervised for document in batch]
        marks = [document.marks for document in batch]
        hashes = [document.split_hash for document in batch]
        texts = [document.text for document in batch]
        yield batch, encode_batch(texts, supervised, tokenizer, marks, hashes)
    for first in batches:
        with EncodingPool(tokenizer, workers) as pool:
            yield from pool.encoded(itertools.chain([first], batches))
