"""A penalty on tokens of the prompt and of the continuation."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from keras import ops

from highnoon.inference.decoding.logits import normal_float32, penalize_repetition
from highnoon.inference.logits_processors.logits_processor import LogitsProcessor
from highnoon.inference.logits_processors.token_sets import is_token, prompt_tokens
from highnoon.inference.require_number import refusal, require_number


@dataclasses.dataclass(frozen=True)
class RepetitionPenalty(LogitsProcessor):
    """Makes tokens less likely that occur in the prompt or in what was generated.

    ```
    logit' = logit / penalty  if logit > 0  else  logit * penalty       for tokens that occur
    ```

    `repetition_penalty=` of `generate` is this processor, before all others.

    Args:
        penalty: Above 0; above 1 makes repetition less likely, below 1 more likely.

    Raises:
        ValueError: `penalty` is not above 0.

    Keskar et al. 2019, "CTRL: A conditional transformer language model", section 4.1, see
    `penalize_repetition`.
    """

    penalty: float

    def __post_init__(self) -> None:
        expected = "a number above 0"
        if require_number("penalty", expected, self.penalty) <= 0:
            raise refusal("penalty", expected, self.penalty)

    @property
    def form(self) -> Hashable:
        return type(self)

    def values(self, num_ids: int) -> np.ndarray:
        return normal_float32(self.penalty)

    def initial_state(self, prompts: Sequence[Sequence[int]], num_ids: int) -> np.ndarray:
        return prompt_tokens(prompts, num_ids)

    def apply(self, logits: Any, state: Any, values: Any) -> Any:
        return penalize_repetition(logits, state, values)

    def advance(self, state: Any, token_ids: Any, values: Any) -> Any:
        return ops.logical_or(state, is_token(token_ids, state.shape[1]))
