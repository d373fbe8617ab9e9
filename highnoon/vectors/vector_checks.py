"""Checks of the arrays that an index receives."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from highnoon.files.shown import shown
from highnoon.vectors.similarity import Floats, lengths

MOST_LENGTH = 1e15
"""The square of a longer vector, and differences of such squares, leave little of float32's range."""


class VectorIndexError(ValueError):
    """Vectors, ids or a folder that an index cannot use."""


def require_vectors(name: str, values: Any, width: int, metric: str) -> Floats:
    """Returns vectors as (n, width) float32, for a cosine index divided by their lengths.

    Raises:
        VectorIndexError: another shape, a value that is not finite, a vector that is too long, or one of
            zeros in a cosine index.
    """
    try:
        vectors = np.asarray(values, np.float32)
    except (TypeError, ValueError):
        raise VectorIndexError(f"`{name}` must be an array of numbers; received {shown(values)}") from None
    if vectors.ndim != 2 or vectors.shape[1] != width:
        raise VectorIndexError(
            f"`{name}` must have the shape (vectors, {width}); received {vectors.shape}; give vectors of the "
            "model that the index is for"
        )
    norms = lengths(vectors)
    _require_each(name, np.isfinite(norms), "be finite", "holds NaN or infinity")
    _require_each(name, norms <= MOST_LENGTH, f"have at most the length {MOST_LENGTH:g}", "is longer")
    if metric == "cosine":
        _require_each(name, norms > 0, "have a length above 0 in a cosine index", "is all zeros")
        vectors = (vectors / norms[:, None]).astype(np.float32)
    return np.ascontiguousarray(vectors)


def require_ids(name: str, values: Any, count: int | None = None) -> npt.NDArray[np.int64]:
    """Returns ids as (n,) int64.

    Args:
        name: Name of the argument.
        values: Integers of at least 0.
        count: How many are expected; None for any number.

    Raises:
        VectorIndexError: no integers, a negative one, or another number of them.
    """
    array = np.asarray(values)
    if array.size == 0:
        array = array.astype(np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise VectorIndexError(
            f"`{name}` must be a list of integers; received {array.dtype} of shape {array.shape}"
        )
    if count is not None and len(array) != count:
        raise VectorIndexError(
            f"`{name}` must have one value for each of {count} vectors; received {len(array)}"
        )
    ids = array.astype(np.int64)
    if len(ids) and int(ids.min()) < 0:
        raise VectorIndexError(f"`{name}` must not be negative; received {int(ids.min())}")
    return ids


def require_exclusions(values: Any, num_queries: int) -> npt.NDArray[np.int64] | None:
    """Returns the groups that each query must not find, (q, m) int64, or None if there are none.

    Raises:
        VectorIndexError: no integers of at least -1, or another number of rows.
    """
    if values is None:
        return None
    array = np.asarray(values)
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or len(array) != num_queries or (array.size and array.dtype.kind not in "iu"):
        raise VectorIndexError(
            f"`exclude` must hold one group, or a row of groups, for each of {num_queries} queries, -1 for "
            f"none; received {array.dtype} of shape {array.shape}"
        )
    exclude = array.astype(np.int64)
    if exclude.size and int(exclude.min()) < -1:
        raise VectorIndexError(f"`exclude` must hold groups, or -1 for none; received {int(exclude.min())}")
    return exclude if exclude.size and int(exclude.max()) >= 0 else None


def _require_each(name: str, holds: npt.NDArray[np.bool_], expected: str, received: str) -> None:
    if not holds.all():
        raise VectorIndexError(f"each of `{name}` must {expected}; row {int(np.argmin(holds))} {received}")
