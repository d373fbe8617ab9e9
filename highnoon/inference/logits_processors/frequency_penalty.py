"""A penalty that grows with each occurrence of a token in the continuation."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from highnoon.inference.logits_processors.additive_penalty import AdditivePenalty
from highnoon.inference.logits_processors.token_sets import is_token


@dataclasses.dataclass(frozen=True)
class FrequencyPenalty(AdditivePenalty):
    """Makes tokens less likely in proportion to how often they were generated.

    ```
    logit'[v] = logit[v] - penalty * c[v]      c[v]: how often v was generated in this row
    ```

    The prompt does not count. This is `frequency_penalty` of OpenAI's API.

    Args:
        penalty: In [-2, 2]; below 0 makes repetition more likely.

    Raises:
        ValueError: `penalty` is out of its range.
    """

    def initial_state(self, prompts: Sequence[Sequence[int]], num_ids: int) -> np.ndarray:
        return np.zeros((len(prompts), num_ids), np.int32)

    def apply(self, logits: Any, state: Any, values: Any) -> Any:
        return logits - values * ops.cast(state, "float32")

    def advance(self, state: Any, token_ids: Any, values: Any) -> Any:
        return state + ops.cast(is_token(token_ids, state.shape[1]), "int32")
