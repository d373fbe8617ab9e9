"""A source read forward: tokenised as it comes, one side of the split, shuffled through a buffer."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from highnoon.data.document import Document, DocumentSource
from highnoon.data.tokens.encoding import encode_batch
from highnoon.data.tokens.splitting import split_hash, split_threshold
from highnoon.tokenization import Tokenizer

_BATCH_DOCUMENTS = 64
_DRAWS = 1024


class TokenisedDocument(NamedTuple):
    """One document as a model reads it.

    Args:
        number: Its place within the split, in the order of the source.
        tokens: Framed ids.
        supervised: For each token whether a model learns to write it.
        num_bytes: UTF-8 bytes of its text.
    """

    number: int
    tokens: npt.NDArray[np.int32]
    supervised: npt.NDArray[np.bool_]
    num_bytes: int


class DocumentStream:
    """Documents of one side of the split of a source, tokenised as they are read.

    Args:
        source: Where they come from; each pass reads it from its beginning.
        tokenizer: Turns their text into ids.
        split: `"train"` or `"validation"`.
        validation_split: Share of documents held out by a hash of their text.
        buffer_documents: Documents held for shuffling; 1 keeps the source's order.
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

    def read(self, *seeds: int) -> Iterator[TokenisedDocument]:
        """Yields a pass of the documents, in an order fixed by `seeds` and the source.

        A full buffer gives up the document at a drawn place for the next one read; when the source ends, what
        is left comes out by the same draws.
        """
        draws = _draws(seeds)
        held: list[TokenisedDocument] = []
        for document in self._tokenised():
            if len(held) < self._buffer_documents:
                held.append(document)
                continue
            place = next(draws) % len(held)
            yield held[place]
            held[place] = document
        while held:
            place = next(draws) % len(held)
            held[place], held[-1] = held[-1], held[place]
            yield held.pop()

    def _tokenised(self) -> Iterator[TokenisedDocument]:
        own = (
            document
            for document in self.source.documents()
            if (split_hash(document.text) < self._threshold) == self._holds_out
        )
        numbers = itertools.count()
        while batch := list(itertools.islice(own, _BATCH_DOCUMENTS)):
            yield from _encoded(batch, self.tokenizer, numbers)


def _encoded(
    batch: Sequence[Document], tokenizer: Tokenizer, numbers: Iterator[int]
) -> Iterator[TokenisedDocument]:
    encoded = encode_batch(
        [document.text for document in batch],
        [document.supervised for document in batch],
        tokenizer,
        [document.marks for document in batch],
    )
    tokens = encoded.tokens.astype(np.int32)
    supervised = np.ones(len(tokens), np.bool_) if encoded.supervised is None else encoded.supervised
    stops: list[int] = np.cumsum(encoded.lengths).tolist()
    for start, stop, num_bytes in zip([0, *stops], stops, encoded.num_bytes.tolist(), strict=False):
        yield TokenisedDocument(next(numbers), tokens[start:stop], supervised[start:stop], num_bytes)


def _draws(seeds: Sequence[int]) -> Iterator[int]:
    """Endless numbers of 64 bits, fixed by the seeds; NumPy promises that raw bits stay the same."""
    generator: Any = np.random.Philox(np.random.SeedSequence([seed % 2**64 for seed in seeds]))
    while True:
        yield from generator.random_raw(_DRAWS).tolist()
