"""Which token ids a row contains, as tensors over the vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops


def is_token(token_ids: Any, num_ids: int) -> Any:
    """Returns bool (b, num_ids), True at each row's token; -1 is no token."""
    return ops.arange(num_ids, dtype="int32")[None] == token_ids[:, None]


def prompt_tokens(prompts: Sequence[Sequence[int]], num_ids: int) -> np.ndarray:
    """Returns bool (b, num_ids), True at the ids that each prompt contains."""
    contained = np.zeros((len(prompts), num_ids), bool)
    for index, prompt in enumerate(prompts):
        ids = np.asarray(prompt)
        contained[index, ids[ids < num_ids]] = True
    return contained
