"""The earlier tokens of a document as a memory of its own."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from highnoon.experts.state_reader import Batch


def own_distances(
    states: npt.NDArray[np.float32], segment_ids: npt.NDArray[np.int32]
) -> npt.NDArray[np.float32]:
    """Returns the distances of each state of a row to the earlier ones of its document, (t, t).

    Column j is the state after which token j + 1 came, so it is infinite unless j is before the row's state.

    Args:
        states: (t, d).
        segment_ids: (t,), 0 at padding.
    """
    squares = np.einsum("td,td->t", states, states)
    distances = (squares[:, None] + squares - 2 * (states @ states.T)) / states.shape[1]
    is_earlier = np.tri(len(states), k=-1, dtype=np.bool_)
    is_same = (segment_ids[:, None] == segment_ids) & (segment_ids > 0)
    return np.where(is_earlier & is_same, np.maximum(distances, 0), np.inf).astype(np.float32)


def own_tokens(
    states: npt.NDArray[np.float32], batch: Batch
) -> list[tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]]:
    """Returns for each row the distances to earlier states of its document, and the token after each.

    Both are (t, t), as in `own_distances`.
    """
    token_ids, segment_ids = np.asarray(batch["token_ids"]), np.asarray(batch["segment_ids"])
    following = np.concatenate((token_ids[:, 1:], np.zeros_like(token_ids[:, :1])), axis=1)
    return [
        (own_distances(states[row], segment_ids[row]), np.broadcast_to(following[row], (len(row_ids),) * 2))
        for row, row_ids in enumerate(token_ids)
    ]
