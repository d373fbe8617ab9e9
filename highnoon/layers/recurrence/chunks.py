"""Cutting time into chunks of one length."""

from __future__ import annotations

from keras import ops


def to_chunks(x, chunk_length: int, repeat_last: bool = False):
    """Cuts (b, t, ..) into (c, b, chunk_length, ..), padded at the end.

    Args:
        x: (b, t, ..).
        chunk_length: Positions in one chunk.
        repeat_last: Whether the last position fills the end, in place of zeros.
    """
    time = x.shape[1] if x.shape[1] is not None else ops.shape(x)[1]
    gap = -time % chunk_length
    if not isinstance(gap, int) or gap:
        last = x[:, -1:] if repeat_last else ops.zeros_like(x[:, -1:])
        x = ops.concatenate([x, ops.repeat(last, gap, axis=1)], axis=1)
    x = ops.reshape(x, (ops.shape(x)[0], -1, chunk_length, *x.shape[2:]))
    return ops.swapaxes(x, 0, 1)


def from_chunks(x, time):
    """Converts (c, b, l, ..) back to (b, t, ..) without the padding."""
    x = ops.swapaxes(x, 0, 1)
    x = ops.reshape(x, (ops.shape(x)[0], -1, *x.shape[3:]))
    return x[:, :time]


def decay_between(total, counts=None):
    """How much of what is written at one position of a chunk is left at a later one.

    ```
    decay[t, s] = exp(total[t] - total[s])     for s <= t in the same segment, else 0
    ```

    Args:
        total: (c, b, .., t) float32, sums of the decays' logarithms since the chunk's start.
        counts: (c, b, t) of `count_restarts`, or None for one segment.

    Returns:
        (c, b, .., t, s) float32.
    """
    positions = ops.arange(total.shape[-1])
    mask = positions[:, None] >= positions[None, :]
    if counts is not None:
        counts = _broadcastable(counts, total)
        mask = mask & (counts[..., :, None] == counts[..., None, :])
    return ops.exp(ops.where(mask, total[..., :, None] - total[..., None, :], -1e30))


def reach_of_chunks(total, counts=None):
    """What passes into, out of and through each chunk.

    Args:
        total: (c, b, .., t) float32, sums of the decays' logarithms since the chunk's start.
        counts: (c, b, t) of `count_restarts`, or None for one segment.

    Returns:
        into (c, b, .., t), what is left at t of the state before the chunk; out_of (c, b, .., t), what
        is left after the chunk of what t writes; through (c, b, ..), what is left of the state before.
    """
    into, out_of = ops.exp(total), ops.exp(total[..., -1:] - total)
    if counts is not None:
        # The last position before each chunk; the row's state before its first position belongs to count 0.
        counts = _broadcastable(counts, total)
        ends = counts[..., -1:]
        before = ops.concatenate([ops.zeros_like(ends[:1]), ends[:-1]], axis=0)
        into = ops.where(counts == before, into, 0.0)
        out_of = ops.where(counts == ends, out_of, 0.0)
    return into, out_of, into[..., -1]


def _broadcastable(counts, total):
    """Inserts axes of size 1 into (c, b, t) where `total` has axes of heads."""
    return ops.reshape(counts, (*ops.shape(counts)[:2], *[1] * (len(total.shape) - 3), counts.shape[-1]))
