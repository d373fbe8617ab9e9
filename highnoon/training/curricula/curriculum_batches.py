"""Batches of the samples that a curriculum chose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def create_curriculum_batches(
    samples: Sequence[Any],
    labels: Sequence[Any] | None = None,
    curriculum_indices: Sequence[int] | np.ndarray | None = None,
    batch_size: int = 32,
    shuffle: bool = True,
    seed: int | None = None,
) -> list[tuple[Any, Any]]:
    """Cuts the chosen samples and their labels into batches.

    Args:
        samples: All samples; anything with a length and an index.
        labels: One a sample; None gives batches whose labels are None.
        curriculum_indices: The chosen samples, as `get_current_subset_indices` returns them;
            None takes all.
        batch_size: Samples a batch, at least 1; the last batch may hold fewer.
        shuffle: Whether the order is drawn anew; without it, it is that of the indices.
        seed: Fixes the drawn order.

    Returns:
        Pairs of samples and labels; arrays where arrays were given, else lists.

    Raises:
        ValueError: another number of labels than of samples, or a batch size below 1.
        IndexError: an index outside the samples.

    Example:

    ```python
    batches = create_curriculum_batches(["a", "b", "c"], [0, 1, 1], [2, 0], batch_size=1, shuffle=False)
    assert batches == [(["c"], [1]), (["a"], [0])]
    ```
    """
    if labels is not None and len(labels) != len(samples):
        raise ValueError(f"`labels` must hold one label a sample, {len(samples)}; received {len(labels)}")
    if batch_size < 1:
        raise ValueError(f"`batch_size` must be at least 1; received {batch_size}")
    order = _order(curriculum_indices, len(samples))
    if shuffle:
        order = np.random.default_rng(seed).permutation(order)
    chunks = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    return [(_take(samples, chunk), None if labels is None else _take(labels, chunk)) for chunk in chunks]


def _order(indices: Sequence[int] | np.ndarray | None, num_samples: int) -> np.ndarray:
    if indices is None:
        return np.arange(num_samples)
    order = np.asarray(indices)
    if not order.size:
        return np.zeros(0, np.int64)
    if order.ndim != 1 or order.dtype.kind not in "iu":
        raise ValueError(
            "`curriculum_indices` must be a flat sequence of whole numbers; "
            f"received shape {order.shape} of {order.dtype}"
        )
    if order.min() < 0 or order.max() >= num_samples:
        raise IndexError(
            f"`curriculum_indices` must lie between 0 and {num_samples - 1}; "
            f"received {order.min()} to {order.max()}"
        )
    return order


def _take(values: Any, indices: np.ndarray) -> Any:
    return values[indices] if isinstance(values, np.ndarray) else [values[i] for i in indices]
