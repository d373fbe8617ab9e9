"""The base class of penalties that subtract a number from the logits of generated tokens."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable

import numpy as np

from highnoon.inference.logits_processors.logits_processor import LogitsProcessor
from highnoon.inference.require_number import refusal, require_number


@dataclasses.dataclass(frozen=True)
class AdditivePenalty(LogitsProcessor):
    """A penalty in the range of OpenAI's API, which is passed to the compiled loop as a value.

    Args:
        penalty: In [-2, 2]; below 0 makes repetition more likely.

    Raises:
        ValueError: `penalty` is out of its range.
    """

    penalty: float

    def __post_init__(self) -> None:
        expected = "a number in [-2, 2]"
        if not -2 <= require_number("penalty", expected, self.penalty) <= 2:
            raise refusal("penalty", expected, self.penalty)

    @property
    def form(self) -> Hashable:
        return type(self)

    def values(self, num_ids: int) -> np.ndarray:
        return np.asarray(self.penalty, np.float32)
