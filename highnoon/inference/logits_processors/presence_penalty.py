"""A penalty on every token that occurs in the continuation."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from highnoon.inference.logits_processors.additive_penalty import AdditivePenalty
from highnoon.inference.logits_processors.token_sets import is_token


@dataclasses.dataclass(frozen=True)
class PresencePenalty(AdditivePenalty):
    """Makes tokens less likely that were generated before, however often.

    ```
    logit'[v] = logit[v] - penalty * [c[v] > 0]      c[v]: how often v was generated in this row
    ```

    The prompt does not count. This is `presence_penalty` of OpenAI's API.

    Args:
        penalty: In [-2, 2]; below 0 makes repetition more likely.

    Raises:
        ValueError: `penalty` is out of its range.
    """

    def initial_state(self, prompts: Sequence[Sequence[int]], num_ids: int) -> np.ndarray:
        return np.zeros((len(prompts), num_ids), bool)

    def apply(self, logits: Any, state: Any, values: Any) -> Any:
        return ops.where(state, logits - values, logits)

    def advance(self, state: Any, token_ids: Any, values: Any) -> Any:
        return ops.logical_or(state, is_token(token_ids, state.shape[1]))
