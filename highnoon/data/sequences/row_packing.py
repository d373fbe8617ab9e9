"""Packs documents into rows as they are read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from highnoon.data.sequences.document_stream import TokenizedDocument
from highnoon.data.sequences.row_filling import Batch, empty_batch, fill_rows, token_positions
from highnoon.data.sequences.row_layout import PackedLayout

# Rows are built in blocks, with fewer NumPy calls per token.
BLOCK_TOKENS = 1 << 15


class RowBlock(NamedTuple):
    """Consecutive rows.

    Args:
        batch: The five arrays of a batch.
        documents: For each row, the numbers of its documents, from left to right.
    """

    batch: Batch
    documents: list[list[int]]


def packed_blocks(documents: Iterable[TokenizedDocument], row_length: int) -> Iterator[RowBlock]:
    """Yields the rows of `documents`, packed as in `PackedRows`: all rows except the last are full.

    A document may continue in the next row. Every supervised token that has a predecessor in its document is
    a label exactly once. Memory is bounded by one block and the longest document.

    Args:
        documents: The documents, in order.
        row_length: Input tokens per row.
    """
    held: list[TokenizedDocument] = []
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
    # The last token has no successor, so it need not be an input.
    if left > 1 or (left and not has_rows):
        yield _block(held, begun, max(1, -(-(left - 1) // row_length)), row_length)


def _rest(held: list[TokenizedDocument], begun: int) -> tuple[list[TokenizedDocument], int]:
    """Returns the documents with tokens after the first `begun`, and how many of the first are used."""
    for index, document in enumerate(held):
        if begun < len(document.tokens):
            return held[index:], begun
        begun -= len(document.tokens)
    return [], 0


def _block(held: list[TokenizedDocument], begun: int, rows: int, row_length: int) -> RowBlock:
    """Returns the first `rows` rows of `held` from token `begun`; positions after the end are zero."""
    lengths = np.array([len(document.tokens) for document in held])
    starts = np.cumsum(lengths) - lengths
    # The rest of the first document is packed like a document of its own.
    starts[0] += begun
    lengths[0] -= begun
    pieces = PackedLayout(np.arange(len(held)), lengths, row_length).pieces(np.arange(rows))
    positions = token_positions(pieces, starts, lengths, row_length)
    tokens = np.concatenate([document.tokens for document in held])
    supervised = np.concatenate([document.supervised for document in held])
    batch = empty_batch(rows, row_length)
    fill_rows(
        batch,
        pieces,
        positions,
        tokens[positions.source],
        tokens[positions.label],
        positions.has_label & supervised[positions.label],
    )
    numbers = np.array([document.number for document in held])[pieces.document]
    of_rows = np.split(numbers, np.searchsorted(pieces.row, np.arange(1, rows)))
    return RowBlock(batch, [of_row.tolist() for of_row in of_rows])
