"""`create_curriculum_batches` with the name that its first argument had."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from highnoon.training.curricula import curriculum_batches


def create_curriculum_batches(
    samples: Sequence[Any] | None = None,
    labels: Sequence[Any] | None = None,
    curriculum_indices: Sequence[int] | np.ndarray | None = None,
    batch_size: int = 32,
    shuffle: bool = True,
    seed: int | None = None,
    molecules: Sequence[Any] | None = None,
) -> list[tuple[Any, Any]]:
    """Cuts the chosen samples into batches; see `highnoon.training.curricula.curriculum_batches`.

    Args:
        samples: The samples.
        labels: One label a sample, or None.
        curriculum_indices: The chosen samples; None takes all.
        batch_size: Samples in one batch.
        shuffle: Whether to shuffle the order.
        seed: Seed of the order.
        molecules: Another name for `samples`, kept for old code.

    Raises:
        ValueError: both or neither of `samples` and `molecules`, or as the function that this one calls.
        IndexError: an index outside the samples.
    """
    if (samples is None) == (molecules is None):
        raise ValueError(
            "give the data as `samples` (or as `molecules`, its old name); "
            f"received {'neither' if samples is None else 'both'}"
        )
    data: Any = samples if samples is not None else molecules
    return curriculum_batches.create_curriculum_batches(
        data, labels, curriculum_indices, batch_size, shuffle, seed
    )
