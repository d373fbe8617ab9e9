"""Writes the tokens of documents into the rows of a batch."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from highnoon.data.ints import Ints
from highnoon.data.sequences.row_layout import Pieces

Batch = dict[str, npt.NDArray]

_DTYPES = {
    "token_ids": np.int32,
    "labels": np.int32,
    "loss_weights": np.float32,
    "segment_ids": np.int32,
    "positions": np.int32,
}


class TokenPositions(NamedTuple):
    """Positions of the tokens of pieces; arrays with one value per token.

    Args:
        which: The piece of the token.
        within: Its index in the piece.
        target: Its index in the concatenated rows.
        source: Its index among the tokens of all documents.
        label: The index of the next token, or its own index if it is the last of its document.
        has_label: Whether there is a next token in its document.
    """

    which: Ints
    within: Ints
    target: Ints
    source: Ints
    label: Ints
    has_label: npt.NDArray[np.bool_]


def empty_batch(num_rows: int, row_length: int) -> Batch:
    """Returns the five arrays of a batch, all padding."""
    return {name: np.zeros((num_rows, row_length), dtype) for name, dtype in _DTYPES.items()}


def token_positions(pieces: Pieces, starts: Ints, lengths: Ints, row_length: int) -> TokenPositions:
    """Returns the positions of the tokens of pieces, in the documents and in the rows.

    Args:
        pieces: The pieces of some rows.
        starts: Index of the first token of each document among all tokens.
        lengths: Tokens of each document.
        row_length: Input tokens per row.
    """
    which = np.repeat(np.arange(len(pieces.row)), pieces.length)
    within = np.arange(len(which)) - np.repeat(np.cumsum(pieces.length) - pieces.length, pieces.length)
    target = (pieces.row * row_length + pieces.column)[which] + within
    source = (starts[pieces.document] + pieces.begin)[which] + within
    room = lengths[pieces.document] - pieces.begin - 1
    # The token after the last of a document belongs to another: it is neither read nor supervised.
    has_label = within < room[which]

    return TokenPositions(which, within, target, source, source + has_label, has_label)


def fill_rows(
    batch: Batch,
    pieces: Pieces,
    positions: TokenPositions,
    tokens: npt.NDArray,
    following: npt.NDArray,
    is_supervised: npt.NDArray[np.bool_],
) -> None:
    """Writes tokens into the rows of `batch`; other positions do not change.

    Args:
        batch: A batch of `empty_batch`.
        pieces: The pieces of the rows.
        positions: The positions of their tokens.
        tokens: The ids at `positions.source`.
        following: The ids at `positions.label`.
        is_supervised: Whether `following` is supervised.
    """
    columns = {
        "token_ids": tokens,
        "labels": following * is_supervised,
        "loss_weights": is_supervised,
        "segment_ids": pieces.segment[positions.which],
        "positions": positions.within,
    }
    for name, values in columns.items():
        batch[name].reshape(-1)[positions.target] = values
