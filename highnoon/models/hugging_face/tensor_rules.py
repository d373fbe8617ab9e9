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


class Span(NamedTuple):
    """The part of a published tensor that one variable fills, where several are fused into one tensor.

    Args:
        axis: Of the published tensor.
        start: The first index.
        stop: One more than the last index.
        total: The size of the published tensor along the axis.
    """

    axis: int
    start: int
    stop: int
    total: int


class Weight(NamedTuple):
    """A variable and the published tensors that hold its values.

    Args:
        variable: A Keras variable.
        names: Of the published tensors, several where experts are stacked.
        rule: The layout.
        span: The part of the published tensor; None for all of it.
    """

    variable: Any
    names: tuple[str, ...]
    rule: TensorRule
    span: Span | None = None

    def shapes(self) -> list[tuple[int, ...]]:
        """Returns the shape that each published tensor must have."""
        empty = np.broadcast_to(np.float32(0), tuple(self.variable.shape))  # holds a single number
        shapes = [part.shape for part in self.rule.write(empty)]
        if self.span is None:
            return shapes
        axis = self.span.axis
        return [(*shape[:axis], self.span.total, *shape[axis + 1 :]) for shape in shapes]


def fused(variables: Sequence[Any], name: str, rule: TensorRule, axis: int) -> list[Weight]:
    """Returns the weights of variables whose values lie one after another in one published tensor.

    Args:
        variables: In the order of their values.
        name: Of the published tensor.
        rule: The layout of each variable.
        axis: Of the published tensor, along which they follow each other.
    """
    weights = [Weight(variable, (name,), rule) for variable in variables]
    sizes = [weight.shapes()[0][axis] for weight in weights]
    ends = np.cumsum(sizes).tolist()
    return [
        weight._replace(span=Span(axis, end - size, end, ends[-1]))
        for weight, size, end in zip(weights, sizes, ends, strict=True)
    ]
