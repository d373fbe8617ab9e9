"""Batches of the samples that a curriculum selected."""

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
    """Splits the selected samples and their labels into batches.

    Args:
        samples: All samples: a sequence.
        labels: One for each sample; with None the labels of the batches are None.
        curriculum_indices: Indices of the selected samples, as `get_current_subset_indices` returns them;
            None for all.
        batch_size: Samples in a batch, at least 1; the last batch may be smaller.
        shuffle: Whether to shuffle; otherwise the order is that of the indices.
        seed: Seed of the shuffle.

    Returns:
        Pairs of samples and labels: arrays if arrays were given, else lists.

    Raises:
        ValueError: The number of labels differs from the number of samples, or the batch size is below 1.
        IndexError: An index is out of range.

    Example:

    ```python
    batches = create_curriculum_batches(["a", "b", "c"], [0, 1, 1], [2, 0], batch_size=1, shuffle=False)
    assert batches == [(["c"], [1]), (["a"], [0])]
    ```
    """
    if labels is not None and len(labels) != len(samples):
        raise ValueError(
            f"`labels` must hold one label for each of {len(samples)} samples; received {len(labels)}"
        )
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
            "`curriculum_indices` must be a flat sequence of integers; "
            f"received shape {order.shape} of {order.dtype}"
        )
    if order.min() < 0 or order.max() >= num_samples:
        raise IndexError(
            f"`curriculum_indices` must be between 0 and {num_samples - 1}; "
            f"received {order.min()} to {order.max()}"
        )
    return order


def _take(values: Any, indices: np.ndarray) -> Any:
    return values[indices] if isinstance(values, np.ndarray) else [values[i] for i in indices]
