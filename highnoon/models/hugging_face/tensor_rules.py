"""Layouts of HighNoon's variables in published tensors, in both directions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np


class TensorRule(NamedTuple):
    """A layout.

    Args:
        read: From published tensors to our array.
        write: From our array to the published tensors.
    """

    read: Callable[[Sequence[np.ndarray]], np.ndarray]
    write: Callable[[np.ndarray], list[np.ndarray]]


SAME = TensorRule(lambda tensors: tensors[0], lambda array: [array])
"""Vectors and embeddings: unchanged."""

TRANSPOSED = TensorRule(lambda tensors: tensors[0].T, lambda array: [array.T])
"""Dense kernels: (inputs, outputs) here, (outputs, inputs) there."""

CONVOLUTION = TensorRule(lambda tensors: tensors[0][:, 0].T, lambda array: [array.T[:, None]])
"""Depthwise convolutions: (kernel, channels) here, (channels, 1, kernel) there."""

STACKED = TensorRule(
    lambda tensors: np.stack([tensor.T for tensor in tensors]), lambda array: [part.T for part in array]
)
"""Experts: one array (e, inputs, outputs) here, a tensor (outputs, inputs) for each there."""


class Weight(NamedTuple):
    """A variable and the published tensors that hold its values.

    Args:
        variable: A Keras variable.
        names: Of the published tensors, several where experts are stacked.
        rule: The layout.
    """

    variable: Any
    names: tuple[str, ...]
    rule: TensorRule

    def shapes(self) -> list[tuple[int, ...]]:
        """Returns the shape that each published tensor must have."""
        empty = np.broadcast_to(np.float32(0), tuple(self.variable.shape))  # holds a single number
        return [part.shape for part in self.rule.write(empty)]
