"""A state space with one decay a head, in chunks of matrix products."""

from __future__ import annotations

from keras import ops

from highnoon.layers.recurrence.chunks import decay_between, from_chunks, reach_of_chunks, to_chunks
from highnoon.layers.recurrence.linear_recurrence import linear_recurrence


def chunked_state_space(x, step, rate, write, read, state, counts=None, chunk_length: int = 64):
    """Reads a state that decays and is written to at every place.

    ```
    state[t] = exp(rate step[t]) state[t-1] + step[t] write[t] x[t]^T
    y[t]     = state[t]^T read[t]
    ```

    Within a chunk y is a masked matrix product, and one state a chunk passes on: time is linear in
    the length. The gradient is written out below, with what is cheap made again.

    Args:
        x: (b, t, g, r, k) float32, r heads to each of g groups.
        step: (b, t, g, r) float32, at least 0; where it is 0 the state stays as it is.
        rate: (g, r) float32, at most 0.
        write: (b, t, g, n) float32.
        read: (b, t, g, n) float32.
        state: (b, g, n, r, k) float32, before the first place.
        counts: (b, t) of `count_restarts`: where they change, the state starts from zeros.
        chunk_length: Places in one chunk.

    Returns: y (b, t, g, r, k), and the state after the last place.

    Dao & Gu 2024, Mamba-2 (arXiv:2405.21060), section 6, listing 1.
    """
    time = x.shape[1] if x.shape[1] is not None else ops.shape(x)[1]
    chunk_length = min(chunk_length, time) if isinstance(time, int) else chunk_length
    counts = None if counts is None else to_chunks(counts, chunk_length, repeat_last=True)
    chunked = [
        ops.swapaxes(to_chunks(tensor, chunk_length), 2, 3)  # (c, b, g, t, ..)
        for tensor in (x, step, step * rate, write, read)
    ]
    y, state = _with_gradient(counts)(*chunked, state)
    return from_chunks(ops.swapaxes(y, 2, 3), time), state


def _with_gradient(counts):
    """The chunks' outputs and the last state as a function of (x, step, log_decay, write, read, state).

    By a sum of log decays since the chunk's start, the gradient needs no product of its own: what is
    read at t holds exp(total[t]) as a factor, what is written at s exp(-total[s]), and the state that
    leaves the chunk exp(total[last]). So it is <dy, y> - <dwritten, written> + <dstate, state>.
    """

    @ops.custom_gradient
    def outputs(x, step, log_decay, write, read, state):
        total, through, into, out_of, weights = _reaches(log_decay, write, read, counts)
        written = x * step[..., None]
        writes = _product(_turned(write), written * out_of)
        states, last = linear_recurrence(through, writes, state)
        y = _by_head(weights @ _by_head(written)) + into * _product(read, states)

        def gradient(*upstreams):
            # TensorFlow hands over two tensors, JAX one pair.
            by_y, by_last = upstreams if len(upstreams) == 2 else upstreams[0]
            total, through, into, out_of, weights = _reaches(log_decay, write, read, counts)
            decay = decay_between(total, counts)
            by_into = by_y * into
            by_writes, by_state = linear_recurrence(
                through, _product(_turned(read), by_into), by_last, reverse=True
            )
            by_y_heads = _by_head(by_y)
            by_weights = by_y_heads @ _turned(_by_head(written))  # (c, b, g, r, t, s)
            by_scores = ops.sum(by_weights * decay, axis=3)
            by_written = out_of * _product(write, by_writes) + _by_head(_turned(weights) @ by_y_heads)
            by_write = _turned(by_scores) @ read + _outer(by_writes, written * out_of)
            by_read = by_scores @ write + _outer(states, by_into)

            by_step = ops.sum(x * by_written, axis=-1)
            by_total = ops.sum(by_y * y, axis=-1) - by_step * step
            left = ops.concatenate([states[1:], last[None]], axis=0)
            by_end = ops.sum(by_writes * left, axis=(3, 5))[:, :, :, None]
            # total is a sum over the places before, so its gradient is one over those after.
            by_log_decay = by_end + ops.flip(ops.cumsum(ops.flip(by_total, axis=3), axis=3), axis=3)
            return by_written * step[..., None], by_step, by_log_decay, by_write, by_read, by_state

        return (y, last), gradient

    return outputs


def _reaches(log_decay, write, read, counts):
    """Returns total (c, b, g, r, t), and what scales states and products, shaped to broadcast with them."""
    total = ops.cumsum(_turned(log_decay), axis=-1)
    into, out_of, through = reach_of_chunks(total, counts)
    weights = (read @ _turned(write))[:, :, :, None] * decay_between(total, counts)
    through = through[:, :, :, None, :, None]
    return total, through, _turned(into)[..., None], _turned(out_of)[..., None], weights


def _turned(x):
    return ops.swapaxes(x, -1, -2)


def _by_head(x):
    """(c, b, g, t, r, k) to (c, b, g, r, t, k) and back."""
    return ops.swapaxes(x, 3, 4)


def _product(matrix, x):
    """(c, b, g, i, j) and (c, b, g, j, r, k) to (c, b, g, i, r, k)."""
    heads = x.shape[-2:]
    flat = ops.reshape(x, (*ops.shape(x)[:-2], heads[0] * heads[1]))
    flat = matrix @ flat
    return ops.reshape(flat, (*ops.shape(flat)[:-1], *heads))


def _outer(states, x):
    """Contracts heads: (c, b, g, n, r, k) and (c, b, g, t, r, k) to (c, b, g, t, n).

    The smaller one is turned, and the product after it: XLA copies what it turns.
    """
    size = states.shape[-2] * states.shape[-1]
    states = ops.reshape(states, (*ops.shape(states)[:-2], size))
    x = ops.reshape(x, (*ops.shape(x)[:-2], size))
    return _turned(states @ _turned(x))


def state_space_step(x, step, rate, write, read, state):
    """One place of the same recurrence.

    Args:
        x: (b, g, r, k).
        step: (b, g, r).
        rate: (g, r).
        write: (b, g, n).
        read: (b, g, n).
        state: (b, g, n, r, k).

    Returns: y (b, g, r, k), and the new state.
    """
    decay = ops.exp(step * rate)[:, :, None, :, None]
    state = decay * state + write[..., None, None] * (x * step[..., None])[:, :, None]
    return ops.einsum("bgn,bgnrk->bgrk", read, state), state
