"""Prompt look-up: drafts without a model, copied from the last occurrence of the text's last tokens."""

from __future__ import annotations

from typing import Any, ClassVar

from keras import ops

from highnoon.inference.speculative.drafters import Drafter
from highnoon.inference.speculative.drafts import Drafts, has_draft
from highnoon.inference.speculative.window import Window

LONGEST_MATCH = 3
"""Tokens at the end of the text that are compared; a longer match is rarely a better one."""


class PromptLookUp(Drafter):
    """Drafts what followed the last occurrence of the text's last tokens, see `look_up`."""

    name: ClassVar[str] = "prompt_look_up"
    takes_model: ClassVar[bool] = False

    def draft(self, model: Any, window: Window) -> tuple[Drafts, Any]:
        now = window.now
        drafts, is_found = look_up(now.text, now.length, window.inputs.padding, window.width)
        behind = now.index + window.positions - now.length[:, None]
        drafted = ops.take_along_axis(drafts, ops.clip(behind, 0, window.width - 1), axis=1)
        ids = ops.where(window.is_known, window.known_ids, drafted)
        return Drafts(ids, has_draft(window) & (is_found & window.is_working)[:, None]), None


def look_up(text: Any, length: Any, first: Any, num_drafts: int) -> tuple[Any, Any]:
    """Returns drafts for the slots after the text, and whether each row has any.

    ```
    e = the latest end < length - 1 of the longest match with text[: length],  of 1 to 3 tokens
    draft[j] = text[e + 1 + j mod (length - 1 - e)]
    ```

    Args:
        text: (b, c) int32 ids.
        length: (b,) int32; a row's text ends before this slot.
        first: (b,) int32; a row's text begins at this slot.
        num_drafts: Tokens to draft for each row.

    Returns:
        (b, num_drafts) int32 ids, and (b,) bool.

    Saxena 2023, "Prompt lookup decoding"; here a match that reaches the end of the text wraps around,
    so that a repetition is drafted at any length.
    """
    slots = ops.arange(text.shape[1], dtype="int32")[None]
    run = ops.zeros_like(text)
    for back in reversed(range(LONGEST_MATCH)):
        last = ops.take_along_axis(text, ops.maximum(length - 1 - back, 0)[:, None], axis=1)
        # The token `back` slots before each slot; what is rolled in is before `first`.
        is_equal = (ops.roll(text, back, axis=1) == last) & (slots - back >= first[:, None])
        is_equal = is_equal & (length - 1 - back >= first)[:, None]
        run = ops.where(is_equal, run + 1, 0)
    is_earlier = slots < length[:, None] - 1
    score = ops.where(is_earlier & (run > 0), run * text.shape[1] + slots, -1)
    end = ops.cast(ops.argmax(score, axis=1), "int32")
    period = ops.maximum(length - 1 - end, 1)
    sources = end[:, None] + 1 + ops.arange(num_drafts, dtype="int32")[None] % period[:, None]
    drafts = ops.take_along_axis(text, ops.minimum(sources, text.shape[1] - 1), axis=1)
    return drafts, ops.max(score, axis=1) >= 0
