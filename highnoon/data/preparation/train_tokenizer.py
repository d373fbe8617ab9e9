"""Trains a tokenizer on the training split of sources."""

from __future__ import annotations

import dataclasses
import heapq
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence

from highnoon.config import require_count
from highnoon.config.known_arguments import known_arguments
from highnoon.data.bad_records import reason_for_nothing
from highnoon.data.document import DataError, Document, DocumentSource
from highnoon.data.sources.source_template import source_template
from highnoon.data.tokens.cut_document import held_out_start
from highnoon.data.tokens.splitting import document_hash, split_hash, split_threshold
from highnoon.tokenization import BytePairTokenizer
from highnoon.tokenization.special_tokens import SMALLEST_VOCAB_SIZE, SPECIAL_TOKENS

# Long documents are sampled in pieces, so that a few of them do not dominate the sample.
_PIECE_CHARACTERS = 16_384

# Names that chat templates use for the start and end of turns. Other names in brackets are text.
_RESERVED = re.compile(r"<\|[^|<>]+\|>|<｜[^｜<>]+｜>|</?s>|<(start|end)_of_turn>|\[/?[A-Z_]{3,}\]")
_MOST_MARKS = 64

# The id of the beginning of an only document.
_HEAD = "\0beginning"


@known_arguments
def train_tokenizer(
    sources: DocumentSource | Sequence[DocumentSource],
    vocab_size: int,
    max_bytes: int = 64_000_000,
    validation_split: float = 0.1,
) -> BytePairTokenizer:
    """Returns a byte-level BPE tokenizer trained on the training split of `sources`.

    If they have more than `max_bytes` of text, pieces of documents are sampled by a hash of their text, in
    proportion over all sources, so that the same text gives the same tokenizer. No held-out document is used.
    Of a source with one document, the end is held out, see `split_by_length`, and not used.

    If documents are conversations, the marks of their chat template, such as `<|im_end|>`, become special
    tokens within `vocab_size`, and the tokenizer has the template. If `vocab_size` has no room for them
    besides the bytes, they remain text.

    Args:
        sources: One or several sources.
        vocab_size: Maximum number of ids, including special ids; at least 263.
        max_bytes: Maximum bytes of text to train on; they are held in memory.
        validation_split: Fraction of documents that are held out, as in `tokenize`.

    Raises:
        DataError: If there is no training text, or `max_bytes` is below 1.
        TokenizerError: If `vocab_size` is too small.

    Example:

    ```python
    from highnoon.data import StandardLibrary, train_tokenizer
    tokenizer = train_tokenizer(StandardLibrary(("docs",)), vocab_size=300, max_bytes=20_000)
    assert tokenizer.vocab_size == 300
    ```
    """
    require_count("max_bytes", max_bytes, error=DataError)
    chosen = [sources] if isinstance(sources, DocumentSource) else list(sources)
    marks: dict[str, None] = {}
    threshold = split_threshold(validation_split)
    texts = _sample(_training_pieces(chosen, threshold, marks), max_bytes)
    if not texts and len(chosen) > 1:
        # Stages of one document each: each is cut by its length, whatever its hash.
        pieces = (_training_pieces([source], threshold, marks) for source in chosen)
        texts = _sample(itertools.chain.from_iterable(pieces), max_bytes)
    if not texts:
        names = ", ".join(f"{source.name}{reason_for_nothing(source)}" for source in chosen) or "no source"
        raise DataError(f"no text to train a tokenizer on in {names}; add documents")
    reserved = sorted(marks)[: max(0, vocab_size - SMALLEST_VOCAB_SIZE)]
    tokenizer = BytePairTokenizer(vocab_size).train_from_texts(
        texts, chat_marks=reserved if len(reserved) == len(marks) else ()
    )
    templates = [template for template in map(source_template, chosen) if template is not None]
    return tokenizer.with_chat_template(templates[-1] if templates else None)


def _training_pieces(
    sources: Sequence[DocumentSource], threshold: int, marks: dict[str, None] | None = None
) -> Iterator[tuple[int, str]]:
    """Yields pieces of the documents that are not held out, each with its hash.

    Adds the names of special tokens that chat templates wrote to `marks`, at most 64, and removes them from
    the pieces.
    """
    marks = {} if marks is None else marks
    for source in sources:
        documents = source.documents()
        if len(sources) == 1:
            documents = _without_end(documents, threshold)
        for document in documents:
            if document.id == _HEAD or document_hash(document) >= threshold:
                text = _without_marks(document, marks) if document.marks else document.text
                for start in range(0, len(text), _PIECE_CHARACTERS):
                    piece = text[start : start + _PIECE_CHARACTERS]
                    yield split_hash(piece), piece


def _without_end(documents: Iterator[Document], threshold: int) -> Iterator[Document]:
    """Yields documents; the only one of a source without the bytes at its end that are held out."""
    first, second = next(documents, None), next(documents, None)
    if first is None:
        return
    if second is not None or first.supervised is not None or not threshold:
        yield from itertools.chain([first], () if second is None else [second], documents)
        return
    data = first.text.encode()
    head = data[: held_out_start(len(data), threshold / 2.0**64)].decode("utf-8", "ignore")
    yield dataclasses.replace(first, text=head or first.text, id=_HEAD, marks=())


def _without_marks(document: Document, marks: dict[str, None]) -> str:
    pieces, end = [], 0
    for start, stop in document.marks:
        name = document.text[start:stop]
        if name in marks or (
            len(marks) < _MOST_MARKS and _RESERVED.fullmatch(name) and name not in SPECIAL_TOKENS
        ):
            marks[name] = None
            pieces.append(document.text[end:start])
            end = stop
    return "".join([*pieces, document.text[end:]])


def _sample(pieces: Iterable[tuple[int, str]], max_bytes: int) -> list[str]:
    """Returns the pieces with the smallest hashes, up to `max_bytes` and at least one."""
    kept: list[tuple[int, str]] = []
    size = 0
    for hashed, piece in pieces:
        heapq.heappush(kept, (-hashed, piece))
        size += len(piece.encode())
        while size > max_bytes and len(kept) > 1:
            size -= len(heapq.heappop(kept)[1].encode())
    return [piece for _, piece in sorted(kept)]
