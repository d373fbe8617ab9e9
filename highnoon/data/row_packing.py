"""Documents one after another, cut into rows as they come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from highnoon.data.document_stream import TokenisedDocument
from highnoon.data.row_layout import Ints
from highnoon.data.split_documents import Batch

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
    learnt, is a label exactly once. Memory holds one block and the longest document.

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
    tokens = np.concatenate([document.tokens for document in held])[begun:]
    learned = np.concatenate([document.learned for document in held])[begun:]
    owner = np.repeat(np.arange(len(held)), lengths)[begun:]
    room = rows * row_length
    used = min(room, len(tokens))
    follows = np.zeros(used, np.bool_)
    inner = min(used, len(tokens) - 1)
    follows[:inner] = (owner[1:inner + 1] == owner[:inner]) & learned[1:inner + 1]
    labels = np.zeros(used, np.int32)
    labels[:inner] = tokens[1:inner + 1] * follows[:inner]
    segments, positions = _places(owner[:used], row_length)
    columns = {"token_ids": tokens[:used], "labels": labels, "loss_weights": follows.astype(np.float32),
               "segment_ids": segments, "positions": positions}
    batch = {name: _filled(values, rows, row_length) for name, values in columns.items()}
    numbers = np.array([document.number for document in held])
    owners = [owner[start:min(start + row_length, used)] for start in range(0, used, row_length)]
    return RowBlock(batch, [numbers[of_row[0]:of_row[-1] + 1].tolist() for of_row in owners])


def _places(owner: Ints, row_length: int) -> tuple[Ints, Ints]:
    """Segment within the row, from 1, and position within the piece, from 0, of each token."""
    place = np.arange(len(owner))
    begins = np.ones(len(owner), np.bool_)
    begins[1:] = (owner[1:] != owner[:-1]) | (place[1:] % row_length == 0)
    count = np.cumsum(begins)
    row_starts = place - place % row_length
    return count - count[row_starts] + 1, place - np.maximum.accumulate(place * begins)


def _filled(values: np.ndarray, rows: int, row_length: int) -> np.ndarray:
    full = np.zeros(rows * row_length, np.float32 if values.dtype == np.float32 else np.int32)
    full[:len(values)] = values
    return full.reshape(rows, row_length)
