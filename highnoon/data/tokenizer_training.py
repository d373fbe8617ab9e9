"""Training a tokenizer on the text that a model will be trained on."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence

from highnoon.data.bad_rows import reason_for_nothing
from highnoon.data.document import DataError, DocumentSource
from highnoon.data.splitting import split_hash, split_threshold
from highnoon.tokenization import QWTTextTokenizer

# Long documents are sampled in pieces, so that a few of them cannot fill or miss the sample.
_PIECE_CHARACTERS = 16_384


def train_tokenizer(sources: DocumentSource | Sequence[DocumentSource], vocab_size: int,
                    max_bytes: int = 64_000_000, validation_split: float = 0.1) -> QWTTextTokenizer:
    """Returns a byte-level BPE learned from the training side of `sources`.

    Where they hold more than `max_bytes`, pieces of documents are sampled by a hash of their text, in
    proportion over all sources, so that the same text gives the same tokenizer. No held-out document is
    among them.

    Args:
        sources: One or several.
        vocab_size: Most ids, special ids included; at least 263.
        max_bytes: Most bytes of text to learn from; they are held in memory.
        validation_split: Share of documents that are held out, as in `tokenize`.

    Raises:
        DataError: there is no training text, or `max_bytes` is below 1.
        TokenizerError: `vocab_size` is too small.

    Example:

    ```python
    from highnoon.data import StandardLibrary, train_tokenizer
    tokenizer = train_tokenizer(StandardLibrary(("docs",)), vocab_size=300, max_bytes=20_000)
    assert tokenizer.vocab_size == 300
    ```
    """
    if max_bytes < 1:
        raise DataError(f"`max_bytes` must be at least 1; received {max_bytes}")
    chosen = [sources] if isinstance(sources, DocumentSource) else list(sources)
    texts = _sample(_training_pieces(chosen, split_threshold(validation_split)), max_bytes)
    if not texts:
        names = ", ".join(f"{source.name}{reason_for_nothing(source)}" for source in chosen) or "no source"
        raise DataError(f"no training text to learn a tokenizer from in {names}; add documents")
    return QWTTextTokenizer(vocab_size).train_from_texts(texts)


def _training_pieces(sources: Sequence[DocumentSource], threshold: int) -> Iterator[tuple[int, str]]:
    """Pieces of the documents that are not held out, each with a hash of its own."""
    for source in sources:
        for document in source.documents():
            if split_hash(document.text) >= threshold:
                for start in range(0, len(document.text), _PIECE_CHARACTERS):
                    piece = document.text[start:start + _PIECE_CHARACTERS]
                    yield split_hash(piece), piece


def _sample(pieces: Iterable[tuple[int, str]], max_bytes: int) -> list[str]:
    """The pieces of the smallest hashes, as many as `max_bytes` hold and at least one."""
    kept: list[tuple[int, str]] = []
    size = 0
    for place, piece in pieces:
        heapq.heappush(kept, (-place, piece))
        size += len(piece.encode())
        while size > max_bytes and len(kept) > 1:
            size -= len(heapq.heappop(kept)[1].encode())
    return [piece for _, piece in sorted(kept)]
