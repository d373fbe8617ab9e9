"""Documents one after another, cut into rows as they come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from highnoon.data.sequences.document_stream import TokenisedDocument
from highnoon.data.sequences.row_filling import Batch, empty_batch, fill_rows, token_places
from highnoon.data.sequences.row_layout import PackedLayout

# Rows are made in blocks: fewer calls of NumPy a token.
BLOCK_TOKENS = 1 << 15


class RowBlock(NamedTuple):
    """Some rows that follow each other.

    Args:
        batch: The five arrays of a batch.
        documents: For each row the numbers of its documents, from left to right.
    """

    batch: Batch
    documents: list[list[int]]


def packed_blocks(documents: Iterable[TokenisedDocument], row_length: int) -> Iterator[RowBlock]:
    """Yields the rows of `documents`, laid out as `PackedRows` does: full but for the last.

    A document may go on in the next row. Every token that has a predecessor in its document, and that is
    supervised, is a label exactly once. Memory holds one block and the longest document.

    Args:
        documents: In the order in which they are laid out.
        row_length: Input tokens of a row.
    """
    held: list[TokenisedDocument] = []
    begun = size = 0
    has_rows = False
    for document in documents:
        held.append(document)
        size += len(document.tokens)
        if size - begun > max(BLOCK_TOKENS, row_length):
            rows = (size - begun) // row_length
            yield _block(held, begun, rows, row_length)
            held, begun = _rest(held, begun + rows * row_length)
            size = sum(len(part.tokens) for part in held)
            has_rows = True
    left = size - begun
    # The very last token has no successor, so that it needs no place as an input.
    if left > 1 or (left and not has_rows):
        yield _block(held, begun, max(1, -(-(left - 1) // row_length)), row_length)


def _rest(held: list[TokenisedDocument], begun: int) -> tuple[list[TokenisedDocument], int]:
    """The documents that still have tokens after the first `begun`, and how many of the first are used."""
    for place, document in enumerate(held):
        if begun < len(document.tokens):
            return held[place:], begun
        begun -= len(document.tokens)
    return [], 0


def _block(held: list[TokenisedDocument], begun: int, rows: int, row_length: int) -> RowBlock:
    """The first `rows` rows of what is held, from its token `begun` on; places after its end are zero."""
    lengths = np.array([len(document.tokens) for document in held])
    starts = np.cumsum(lengths) - lengths
    # What is left of the first document is laid out as one of its own.
    starts[0] += begun
    lengths[0] -= begun
    pieces = PackedLayout(np.arange(len(held)), lengths, row_length).pieces(np.arange(rows))
    places = token_places(pieces, starts, lengths, row_length)
    tokens = np.concatenate([document.tokens for document in held])
    supervised = np.concatenate([document.supervised for document in held])
    batch = empty_batch(rows, row_length)
    fill_rows(
        batch,
        pieces,
        places,
        tokens[places.source],
        tokens[places.label],
        places.has_label & supervised[places.label],
    )
    numbers = np.array([document.number for document in held])[pieces.document]
    of_rows = np.split(numbers, np.searchsorted(pieces.row, np.arange(1, rows)))
    return RowBlock(batch, [of_row.tolist() for of_row in of_rows])
