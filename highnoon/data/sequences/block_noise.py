"""The noisy half of a row of block diffusion: documents in blocks, and which of their tokens are masked."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from highnoon.data.sequences.row_filling import Batch

NOISE_COLUMNS = ("noisy_labels", "noisy_positions", "noisy_segment_ids", "is_masked", "noise_weights")


class BlockLayout(NamedTuple):
    """The predicted tokens of a row, block by block; arrays (n,).

    Args:
        labels: The tokens themselves.
        positions: Their positions in the document piece, from 1: the first token is given.
        segment_ids: Those of the row.
        weights: Their loss weights.
        is_shown: Tokens that are never masked: unsupervised ones before the supervised ones of their block.
        blocks: The index of their block in the row, from 0.
    """

    labels: npt.NDArray[np.int32]
    positions: npt.NDArray[np.int32]
    segment_ids: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float32]
    is_shown: npt.NDArray[np.bool_]
    blocks: npt.NDArray[np.int64]


def block_layout(row: Batch, block_length: int, end_id: int | None = None) -> BlockLayout:
    """Returns the blocks of each document piece of a row, in order.

    Blocks are counted within a piece, from its second token: the first is given, as a begin token is. A block
    in which a document ends is filled with end tokens, since generation does not know where the text ends
    before it has the block; at the end of a row a block may be shorter.

    Args:
        row: `token_ids`, `labels`, `loss_weights` and `segment_ids` of one row, each (t,).
        block_length: Tokens of a block, at least 1.
        end_id: The token at the end of a document; None where there is none.
    """
    segments = row["segment_ids"]
    edges = np.flatnonzero(np.diff(segments, prepend=0, append=0))
    pieces = [
        _piece(row, slice(start, end), block_length, end_id)
        for start, end in itertools.pairwise(edges)
        if segments[start]
    ]
    pieces = [piece for piece in pieces if len(piece.labels)]
    if not pieces:
        empty = np.zeros(0, np.int64)
        return BlockLayout(*(empty.astype(dtype) for dtype in ("i4", "i4", "i4", "f4", "?", "i8")))
    firsts = np.cumsum([0, *(piece.blocks[-1] + 1 for piece in pieces[:-1])])
    pieces = [
        piece._replace(blocks=piece.blocks + first) for piece, first in zip(pieces, firsts, strict=True)
    ]
    return BlockLayout(*map(np.concatenate, zip(*pieces, strict=True)))


def block_noise(
    row: Batch,
    block_length: int,
    rng: np.random.Generator,
    least_rate: float = 0.1,
    end_id: int | None = None,
) -> Batch:
    """Returns the columns `NOISE_COLUMNS` of a row, each (t,).

    ```
    rate[block]      = least_rate + (1 - least_rate) u[block]     u antithetic: one in each of n intervals
    is_masked[token] = 1 with probability rate[block]
    noise_weights    = loss_weights * is_masked / rate
    ```

    With blocks of one token every token is masked. Unsupervised tokens that follow a supervised one in their
    block are masked too, with weight 0: they must not tell of what is predicted. What does not fit into the
    row, because its documents' last blocks are filled, is left out.

    Args:
        row: As of `block_layout`.
        block_length: Tokens of a block, at least 1.
        rng: Random numbers.
        least_rate: Smallest rate, in (0, 1].
        end_id: As of `block_layout`.

    Sahoo et al. 2024, MDLM (arXiv:2406.07524), eq. 10 with alpha = 1 - t; Arriola et al. 2025
    (arXiv:2503.09573), section 5.3 for rates that are bounded from below.
    """
    layout = block_layout(row, block_length, end_id)
    num_blocks = int(layout.blocks[-1]) + 1 if len(layout.blocks) else 0
    steps = (rng.permutation(num_blocks) + rng.random()) / max(num_blocks, 1)
    rates = np.ones(num_blocks) if block_length == 1 else least_rate + (1.0 - least_rate) * steps
    rates = rates[layout.blocks]
    is_drawn = rng.random(len(rates)) < rates
    is_masked = (is_drawn | (layout.weights == 0)) & ~layout.is_shown
    columns = {
        "noisy_labels": layout.labels,
        "noisy_positions": layout.positions,
        "noisy_segment_ids": layout.segment_ids,
        "is_masked": is_masked.astype(np.int32),
        "noise_weights": (layout.weights * is_masked / rates).astype(np.float32),
    }
    return {name: _fitted(array, len(row["token_ids"])) for name, array in columns.items()}


def _piece(row: Batch, here: slice, block_length: int, end_id: int | None) -> BlockLayout:
    ids, weights = row["token_ids"][here], row["loss_weights"][here]
    labels = np.append(ids[1:], row["labels"][here][-1])
    if not weights[-1]:  # no token follows in the row, or one whose id the row does not tell
        labels, weights = labels[:-1], weights[:-1]
    count = len(labels)
    is_end = count and end_id is not None and labels[-1] == end_id
    missing = -count % block_length if is_end else 0
    labels = np.append(labels, np.full(missing, end_id or 0)).astype(np.int32)
    weights = np.append(weights, np.full(missing, weights[-1] if count else 0)).astype(np.float32)
    index = np.arange(len(labels))
    # The supervised tokens before each token, less those before its block.
    before: npt.NDArray[np.int64] = np.cumsum(weights > 0) - (weights > 0)
    of_block: npt.NDArray[np.int64] = before - before[index // block_length * block_length]
    return BlockLayout(
        labels=labels,
        positions=(index + 1).astype(np.int32),
        segment_ids=np.full(len(labels), row["segment_ids"][here.start], np.int32),
        weights=weights,
        is_shown=(weights == 0) & (of_block == 0),
        blocks=index // block_length,
    )


def _fitted(array: npt.NDArray, length: int) -> npt.NDArray:
    """The array, cut or filled with zeros."""
    kept = array[:length]
    return np.concatenate([kept, np.zeros(length - len(kept), kept.dtype)])
