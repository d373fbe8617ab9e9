"""The interface of a logits processor."""

from __future__ import annotations

import abc
from collections.abc import Hashable, Sequence
from typing import Any


class LogitsProcessor(abc.ABC):
    """Changes the logits of the next token, from a state that follows the tokens of each row.

    ```
    state = initial_state(prompts)
    for each new token:
        token ~ softmax(apply(logits, state, values) / temperature)
        state = advance(state, token, values)
    ```

    `apply` and `advance` are traced into the compiled decoding loop, so they are pure functions of tensors
    in `keras.ops`, without Python branches on values. Speculative decoding applies them to drafts and
    checks alike, and computes several states of one row, so a state must depend on nothing but the row's
    prompt and tokens.

    A subclass defines `apply`. One that depends on the text (a penalty, a grammar) also defines
    `initial_state` and `advance`. `form` and `values` only avoid compilation, see there.

    Example:

    ```python
    import numpy as np
    from keras import ops

    import highnoon as hn
    from highnoon.inference import LogitsProcessor


    class NoTokenTwice(LogitsProcessor):
        def initial_state(self, prompts, num_ids):
            return np.zeros((len(prompts), num_ids), bool)

        def apply(self, logits, state, values):
            return ops.where(state, float("-inf"), logits)

        def advance(self, state, token_ids, values):
            return ops.logical_or(state, ops.arange(state.shape[1])[None] == token_ids[:, None])


    model = hn.create_model("highnoon-nano", num_reasoning_blocks=1)
    ids = model.generate([2, 40], max_length=8, seed=1, logits_processors=[NoTokenTwice()])
    assert len(set(ids[2:])) == 8
    ```
    """

    @property
    def form(self) -> Hashable:
        """What the traced operations depend on: processors of equal forms share one compiled loop.

        The default, the processor itself, compiles a loop for each object and is always right. A subclass
        whose `apply` and `advance` read numbers from `values` alone, never from `self`, returns its class.
        """
        return self

    def values(self, num_ids: int) -> Any:
        """Returns arrays that `apply` and `advance` receive at run time: any nested structure.

        Args:
            num_ids: Ids that may be drawn, from 0.

        Raises:
            ValueError: the processor does not fit this number of ids.
        """
        return ()

    def initial_state(self, prompts: Sequence[Sequence[int]], num_ids: int) -> Any:
        """Returns the state before the first new token.

        Args:
            prompts: The token ids of each row; they may contain ids from `num_ids` on.
            num_ids: Ids that may be drawn, from 0.

        Returns:
            A nested structure of arrays, each with one entry a row on its first axis.
        """
        return ()

    @abc.abstractmethod
    def apply(self, logits: Any, state: Any, values: Any) -> Any:
        """Returns the changed logits.

        Args:
            logits: (b, num_ids) float32, -inf where a token is impossible.
            state: As `initial_state` returns it.
            values: As `values` returns it.

        Returns:
            (b, num_ids) float32, -inf for tokens that must not be drawn.
        """

    def advance(self, state: Any, token_ids: Any, values: Any) -> Any:
        """Returns the state after one more token of each row.

        Args:
            state: As `initial_state` returns it.
            token_ids: (b,) int32, the new token. -1 where none could be drawn, and any id in a row that has
                ended; neither state is used again.
            values: As `values` returns it.
        """
        return state
