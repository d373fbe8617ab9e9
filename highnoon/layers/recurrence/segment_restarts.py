"""Where the documents of a row begin."""

from __future__ import annotations

from keras import ops


def count_restarts(segment_ids):
    """Counts how many times the segment has changed since the start of the row.

    ```
    counts[b, t] = sum over 0 < u <= t of (segment_ids[b, u] != segment_ids[b, u - 1])
    ```

    Two positions are in the same run of one segment if their counts are equal.

    Args:
        segment_ids: (b, t) integers.

    Returns:
        (b, t) int32, zeros at the first position.
    """
    segment_ids = ops.convert_to_tensor(segment_ids)
    changes = ops.cast(segment_ids[:, 1:] != segment_ids[:, :-1], "int32")
    first = ops.zeros_like(segment_ids[:, :1], dtype="int32")
    return ops.cumsum(ops.concatenate([first, changes], axis=1), axis=1)


def is_token(index, time: int, padding):
    """Tells which of the positions index .. index+t-1 are tokens and not left padding.

    Args:
        index: The first position, a scalar.
        time: How many.
        padding: (b,) integers, how many positions at the front are padding; None for none.

    Returns:
        bool (b, t), or None if `padding` is None.
    """
    if padding is None:
        return None
    positions = ops.cast(index, "int32") + ops.arange(time, dtype="int32")
    return positions[None, :] >= ops.cast(padding, "int32")[:, None]
