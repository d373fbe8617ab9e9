"""The arrays of a batch as an objective declares them: shapes, signatures and padding rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from highnoon.config import ConfigError
from highnoon.training.objective import Column

RowShapes = tuple[tuple[str, tuple[int, ...]], ...]
"""Name and shape of a row of each column; a step is compiled once for each."""


def row_shapes(columns: Mapping[str, Column], batch: Mapping[str, Any], num_leading: int = 1) -> RowShapes:
    """Returns the shape of one row of each column.

    Args:
        columns: What the objective declares.
        batch: Arrays or tensors by column.
        num_leading: Axes before those of a row.

    Raises:
        ConfigError: the batch lacks a column, or an array has another number of axes.
    """
    missing = [name for name in columns if name not in batch]
    if missing:
        raise ConfigError(
            f"the objective expects the columns {sorted(columns)}; the batch has {sorted(batch)}, without "
            f"`{missing[0]}`"
        )
    shapes = tuple((name, tuple(batch[name].shape)[num_leading:]) for name in columns)
    for name, shape in shapes:
        axes = columns[name].axes
        if len(shape) != len(axes) or any(
            isinstance(axis, int) and axis != size for axis, size in zip(axes, shape, strict=True)
        ):
            raise ConfigError(f"a row of column `{name}` must have the axes {axes}; received shape {shape}")
    return shapes


def column_specs(
    columns: Mapping[str, Column], shapes: RowShapes, leading: tuple[int | None, ...]
) -> dict[str, tf.TensorSpec]:
    """Returns the signature of a batch.

    Args:
        columns: What the objective declares.
        shapes: Of one row of each column.
        leading: Sizes of the axes before those of a row; None for any.
    """
    return {name: tf.TensorSpec((*leading, *shape), columns[name].dtype) for name, shape in shapes}


def num_rows(columns: Mapping[str, Column], batch: Mapping[str, Any]) -> int:
    """Returns how many rows a batch has."""
    return len(batch[next(iter(columns))])


def pad_rows(
    columns: Mapping[str, Column], batch: Mapping[str, np.ndarray], count: int
) -> dict[str, np.ndarray]:
    """Returns the columns of a batch with `count` rows of padding behind its own."""
    return {
        name: np.pad(
            batch[name],
            [(0, count), *[(0, 0)] * (np.ndim(batch[name]) - 1)],
            constant_values=np.asarray(column.padding, batch[name].dtype),
        )
        for name, column in columns.items()
    }
