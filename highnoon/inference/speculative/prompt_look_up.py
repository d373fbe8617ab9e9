"""Drafts without a model: what followed the last time that the text read as it does now."""

from __future__ import annotations

from typing import Any

from keras import ops

LONGEST_MATCH = 3
"""Tokens at the end of the text that are compared; a longer match is seldom a better one."""


def look_up(text: Any, length: Any, first: Any, num_drafts: int) -> tuple[Any, Any]:
    """Returns drafts for the places after the text, and whether each row has any.

    ```
    e = the latest end < length - 1 of the longest match with text[: length],  of 1 to 3 tokens
    draft[j] = text[e + 1 + j mod (length - 1 - e)]
    ```

    Args:
        text: (b, c) int32 ids.
        length: (b,) int32; a row's text ends before this place.
        first: (b,) int32; and begins at this one.
        num_drafts: Tokens to draft for each row.

    Returns:
        (b, num_drafts) int32 ids, and (b,) bool.

    Saxena 2023, "Prompt lookup decoding"; here a match that reaches the end of the text goes round,
    so that a repetition is drafted at any length.
    """
    places = ops.arange(text.shape[1], dtype="int32")[None]
    run = ops.zeros_like(text)
    for back in reversed(range(LONGEST_MATCH)):
        last = ops.take_along_axis(text, ops.maximum(length - 1 - back, 0)[:, None], axis=1)
        # The token `back` places before each place; what is rolled in lies before `first`.
        is_equal = (ops.roll(text, back, axis=1) == last) & (places - back >= first[:, None])
        is_equal = is_equal & (length - 1 - back >= first)[:, None]
        run = ops.where(is_equal, run + 1, 0)
    is_earlier = places < length[:, None] - 1
    score = ops.where(is_earlier & (run > 0), run * text.shape[1] + places, -1)
    end = ops.cast(ops.argmax(score, axis=1), "int32")
    period = ops.maximum(length - 1 - end, 1)
    sources = end[:, None] + 1 + ops.arange(num_drafts, dtype="int32")[None] % period[:, None]
    drafts = ops.take_along_axis(text, ops.minimum(sources, text.shape[1] - 1), axis=1)
    return drafts, ops.max(score, axis=1) >= 0
