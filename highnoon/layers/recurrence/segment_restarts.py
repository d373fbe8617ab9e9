"""Where the documents of a row begin."""

from __future__ import annotations

from keras import ops


def count_restarts(segment_ids):
    """How many times the segment has changed since the start of the row.

    ```
    counts[b, t] = sum over 0 < u <= t of (segment_ids[b, u] != segment_ids[b, u - 1])
    ```

    Two places lie in the same run of one segment where their counts are equal.

    Args:
        segment_ids: (b, t) whole numbers.

    Returns: (b, t) int32, zeros at the first place.
    """
    segment_ids = ops.convert_to_tensor(segment_ids)
    changes = ops.cast(segment_ids[:, 1:] != segment_ids[:, :-1], "int32")
    first = ops.zeros_like(segment_ids[:, :1], dtype="int32")
    return ops.cumsum(ops.concatenate([first, changes], axis=1), axis=1)


def is_token(index, time: int, padding):
    """Which of the places index .. index+t-1 hold tokens and not left padding.

    Args:
        index: Place of the first, a scalar.
        time: How many.
        padding: (b,) whole numbers, how many places at the front hold padding; None for none.

    Returns: bool (b, t), or None where `padding` is None.
    """
    if padding is None:
        return None
    places = ops.cast(index, "int32") + ops.arange(time, dtype="int32")
    return places[None, :] >= ops.cast(padding, "int32")[:, None]
