"""A number added to the logits of chosen tokens."""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np

from highnoon.files.shown import shown
from highnoon.inference.logits_processors.logits_processor import LogitsProcessor
from highnoon.inference.require_number import require_number

_LARGEST = float(np.finfo(np.float32).max)


@dataclasses.dataclass(frozen=True, eq=False)
class LogitBias(LogitsProcessor):
    """Adds to the logits of chosen tokens, before temperature.

    ```
    logit'[v] = logit[v] + bias[v]
    ```

    This is `logit_bias` of OpenAI's API, where a bias is between -100 and 100.

    Args:
        bias: A finite number for each token id; `-inf` means that the token is never drawn.

    Raises:
        ValueError: `bias` is not a mapping from ids to such numbers.

    Example:

    ```python
    import highnoon as hn
    from highnoon.inference import LogitBias

    model = hn.create_model("highnoon-nano", num_reasoning_blocks=1)
    bias = LogitBias({50: 100.0})
    assert model.generate([2, 40], max_length=3, logits_processors=[bias]) == [2, 40, 50, 50, 50]
    ```
    """

    bias: Mapping[int, float]

    def __post_init__(self) -> None:
        if not isinstance(self.bias, Mapping):
            raise ValueError(f"`bias` must map token ids to numbers; received {shown(self.bias)}")
        given: Mapping[Any, Any] = self.bias
        for token_id, bias in given.items():
            if isinstance(token_id, bool) or not isinstance(token_id, numbers.Integral) or token_id < 0:
                raise ValueError(
                    "the keys of `bias` must be token ids (integers of at least 0); "
                    f"received {shown(token_id)}"
                )
            if bias != -math.inf:
                require_number(f"bias[{token_id}]", "a finite number or -inf", bias)

    @property
    def form(self) -> Hashable:
        return type(self)

    def values(self, num_ids: int) -> np.ndarray:
        dense = np.zeros(num_ids, np.float32)
        for token_id, bias in self.bias.items():
            if token_id >= num_ids:
                raise ValueError(
                    f"`bias` must name token ids below {num_ids}, which may be drawn; received {token_id}"
                )
            dense[token_id] = bias if bias == -math.inf else np.clip(bias, -_LARGEST, _LARGEST)
        return dense

    def apply(self, logits: Any, state: Any, values: Any) -> Any:
        return logits + values
