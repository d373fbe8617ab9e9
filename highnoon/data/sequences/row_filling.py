"""Writing the tokens of documents into rows, wherever the tokens come from."""

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


class TokenPlaces(NamedTuple):
    """The tokens of pieces one after another; arrays of one value a token.

    Args:
        which: The piece that the token is of.
        within: Its place in the piece.
        target: Its place in the rows, laid end to end.
        source: Its place among the tokens of all documents.
        label: That of the token after it, or its own where it is the last of its document.
        has_label: Whether one follows it in its document.
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


def token_places(pieces: Pieces, starts: Ints, lengths: Ints, row_length: int) -> TokenPlaces:
    """Returns where the tokens of pieces stand and where they go.

    Args:
        pieces: What stands in some rows.
        starts: Place of the first token of each document among all tokens.
        lengths: Tokens of each document.
        row_length: Input tokens of a row.
    """
    which = np.repeat(np.arange(len(pieces.row)), pieces.length)
    within = np.arange(len(which)) - np.repeat(np.cumsum(pieces.length) - pieces.length, pieces.length)
    target = (pieces.row * row_length + pieces.column)[which] + within
    source = (starts[pieces.document] + pieces.begin)[which] + within
    room = lengths[pieces.document] - pieces.begin - 1
    # The token after the last of a document is another's: it is neither read nor supervised.
    has_label = within < room[which]
    return TokenPlaces(which, within, target, source, source + has_label, has_label)


def fill_rows(
    batch: Batch,
    pieces: Pieces,
    places: TokenPlaces,
    tokens: npt.NDArray,
    following: npt.NDArray,
    is_supervised: npt.NDArray[np.bool_],
) -> None:
    """Writes tokens into the rows of `batch`, whose other places are left alone.

    Args:
        batch: As `empty_batch` gave it.
        pieces: What the rows hold.
        places: Of the pieces' tokens.
        tokens: The ids at `places.source`.
        following: The ids at `places.label`.
        is_supervised: Whether a model learns to write `following`.
    """
    columns = {
        "token_ids": tokens,
        "labels": following * is_supervised,
        "loss_weights": is_supervised,
        "segment_ids": pieces.segment[places.which],
        "positions": places.within,
    }
    for name, values in columns.items():
        batch[name].reshape(-1)[places.target] = values
