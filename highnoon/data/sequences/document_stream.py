"""The documents of one side of the split, tokenized as a source is read and shuffled through a buffer."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from highnoon.data.document import Document, DocumentSource
from highnoon.data.tokens.encoding import encode_batch
from highnoon.data.tokens.splitting import document_hash, split_threshold
from highnoon.tokenization import Tokenizer

_BATCH_DOCUMENTS = 64
_DRAWS = 1024


class TokenizedDocument(NamedTuple):
    """A tokenized document.

    Args:
        number: Its index in the split, in the order of the source.
        tokens: Framed ids.
        supervised: Whether each token is supervised.
        num_bytes: UTF-8 bytes of its text.
    """

    number: int
    tokens: npt.NDArray[np.int32]
    supervised: npt.NDArray[np.bool_]
    num_bytes: int


class DocumentStream:
    """Documents of one side of the split of a source, tokenized as they are read.

    Args:
        source: The source; each pass reads it from the beginning.
        tokenizer: The tokenizer.
        split: `"train"` or `"validation"`.
        validation_split: Fraction of documents that are held out, by a hash of their text.
        buffer_documents: Documents in the shuffle buffer; 1 keeps the order of the source.
    """

    def __init__(
        self,
        source: DocumentSource,
        tokenizer: Tokenizer,
        split: str,
        validation_split: float,
        buffer_documents: int,
    ) -> None:
        self.source = source
        self.tokenizer = tokenizer
        self._holds_out = split == "validation"
        self._threshold = split_threshold(validation_split)
        self._buffer_documents = buffer_documents

    def read(self, *seeds: int) -> Iterator[TokenizedDocument]:
        """Yields one pass over the documents, in an order determined by `seeds` and the source.

        When the buffer is full, the document at a random index is yielded and replaced by the next one; when
        the source ends, the rest is yielded in random order.
        """
        draws = _draws(seeds)
        held: list[TokenizedDocument] = []
        for document in self._tokenized():
            if len(held) < self._buffer_documents:
                held.append(document)
                continue
            index = next(draws) % len(held)
            yield held[index]
            held[index] = document
        while held:
            index = next(draws) % len(held)
            held[index], held[-1] = held[-1], held[index]
            yield held.pop()

    def _tokenized(self) -> Iterator[TokenizedDocument]:
        own = (
            document
            for document in self.source.documents()
            if (document_hash(document) < self._threshold) == self._holds_out
        )
        numbers = itertools.count()
        while batch := list(itertools.islice(own, _BATCH_DOCUMENTS)):
            yield from _encoded(batch, self.tokenizer, numbers)


def _encoded(
    batch: Sequence[Document], tokenizer: Tokenizer, numbers: Iterator[int]
) -> Iterator[TokenizedDocument]:
    encoded = encode_batch(
        [document.text for document in batch],
        [document.supervised for document in batch],
        tokenizer,
        [document.marks for document in batch],
        [document.split_hash for document in batch],
    )
    tokens = encoded.tokens.astype(np.int32)
    supervised = np.ones(len(tokens), np.bool_) if encoded.supervised is None else encoded.supervised
    stops: list[int] = np.cumsum(encoded.lengths).tolist()
    for start, stop, num_bytes in zip([0, *stops], stops, encoded.num_bytes.tolist(), strict=False):
        yield TokenizedDocument(next(numbers), tokens[start:stop], supervised[start:stop], num_bytes)


def _draws(seeds: Sequence[int]) -> Iterator[int]:
    """Yields 64-bit random numbers without end; NumPy guarantees that raw bits do not change."""
    generator: Any = np.random.Philox(np.random.SeedSequence([seed % 2**64 for seed in seeds]))
    while True:
        yield from generator.random_raw(_DRAWS).tolist()
