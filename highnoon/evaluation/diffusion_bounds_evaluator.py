"""Bounds of block diffusion at each evaluation of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from highnoon.config import require_count
from highnoon.evaluation.diffusion_bound import bound_sums
from highnoon.training.evaluators import Evaluator, Figure, register_evaluator


@register_evaluator("diffusion_bound")
class DiffusionBounds(Evaluator):
    """Reports `val/at_most/block_N`: the loss of blocks of N tokens is at most that, in nats a token.

    The figures are of the first held-out batch, which is read N times for blocks of N tokens.

    Args:
        block_lengths: Tokens of a block, each at least 1.
        num_steps: Steps for a block; None takes its length.

    Raises:
        ConfigError: a number is below 1.

    Example:

    ```python
    from highnoon.evaluation.diffusion_bounds_evaluator import DiffusionBounds

    evaluator = DiffusionBounds(block_lengths=[4, 16])
    ```
    """

    def __init__(self, block_lengths: Sequence[int] = (4, 16), num_steps: int | None = None) -> None:
        self.block_lengths = [require_count("block_lengths", length) for length in block_lengths]
        self.num_steps = None if num_steps is None else require_count("num_steps", num_steps)

    def evaluate(
        self, model: keras.Model, sample: Mapping[str, np.ndarray], step: int
    ) -> Mapping[str, Figure]:
        figures = {}
        for length in self.block_lengths:
            nats, num_tokens = bound_sums(model, [sample], length, self.num_steps or length)
            figures[f"at_most/block_{length}"] = Figure(nats / max(num_tokens, 1.0), num_tokens)
        return figures

    def get_config(self) -> dict[str, Any]:
        return {"block_lengths": self.block_lengths, "num_steps": self.num_steps}
