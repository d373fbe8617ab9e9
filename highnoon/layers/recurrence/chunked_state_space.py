"""A state space with one decay a head, in chunks of matrix products."""

from __future__ import annotations

from typing import Any, NamedTuple

from keras import ops

from highnoon.layers.recurrence.chunks import decay_between, from_chunks, reach_of_chunks, to_chunks
from highnoon.layers.recurrence.linear_recurrence import linear_recurrence


def chunked_state_space(x, step, rate, write, read, state, counts=None, chunk_length: int = 64):
    """Reads a state that decays and is written to at every position.

    ```
    state[t] = exp(rate step[t]) state[t-1] + step[t] write[t] x[t]^T
    y[t]     = state[t]^T read[t]
    ```

    Within a chunk y is a masked matrix product, and each chunk passes one state to the next: time is linear
    in the length. `_backward` is the gradient, which recomputes what is cheap.

    Args:
        x: (b, t, g, r, k) float32, r heads to each of g groups.
        step: (b, t, g, r) float32, at least 0; where it is 0 the state stays as it is.
        rate: (g, r) float32, at most 0.
        write: (b, t, g, n) float32.
        read: (b, t, g, n) float32.
        state: (b, g, n, r, k) float32, before the first position.
        counts: (b, t) of `count_restarts`: where they change, the state starts from zeros.
        chunk_length: Positions in one chunk.

    Returns:
        y (b, t, g, r, k), and the state after the last position.

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
    """The chunks' outputs and the last state as a function of (x, step, log_decay, write, read, state)."""

    @ops.custom_gradient
    def outputs(x, step, log_decay, write, read, state):
        inputs = _Inputs(x, step, log_decay, write, read, counts)
        forward = _forward(inputs, state)

        def gradient(*upstreams):
            # TensorFlow passes two tensors, JAX one pair.
            grad_y, grad_last = upstreams if len(upstreams) == 2 else upstreams[0]
            return _backward(inputs, forward, grad_y, grad_last)

        return (forward.y, forward.last), gradient

    return outputs


class _Inputs(NamedTuple):
    """What the recurrence reads, in c chunks of t positions.

    Args:
        x: (c, b, g, t, r, k).
        step: (c, b, g, t, r).
        log_decay: (c, b, g, t, r), `step * rate`.
        write: (c, b, g, t, n).
        read: (c, b, g, t, n).
        counts: (c, b, t) of `count_restarts`, or None for one segment.
    """

    x: Any
    step: Any
    log_decay: Any
    write: Any
    read: Any
    counts: Any


class _Forward(NamedTuple):
    """The outputs, and what the backward pass needs.

    Args:
        y: (c, b, g, t, r, k).
        last: (b, g, n, r, k) the state after the last chunk.
        states: (c, b, g, n, r, k) the state before each chunk.
        written: (c, b, g, t, r, k) `step * x`.
    """

    y: Any
    last: Any
    states: Any
    written: Any


def _forward(inputs: _Inputs, state) -> _Forward:
    """Runs all chunks.

    ```
    total[t]      = sum over s <= t of log_decay[s]
    scores[t, s]  = read[t] . write[s] exp(total[t] - total[s])                     s <= t
    y[t]          = sum_s scores[t, s] written[s] + exp(total[t]) states[c]^T read[t]
    states[c + 1] = exp(total[end]) states[c] + sum_s write[s] (exp(total[end] - total[s]) written[s])^T
    ```
    """
    _, through, into, out_of, scores = _reaches(inputs)
    written = inputs.x * inputs.step[..., None]
    writes = _product(_transposed(inputs.write), written * out_of)
    states, last = linear_recurrence(through, writes, state)
    y = _by_head(scores @ _by_head(written)) + into * _product(inputs.read, states)
    return _Forward(y, last, states, written)


def _backward(inputs: _Inputs, forward: _Forward, grad_y, grad_last):
    """Gradients with respect to x, step, log_decay, write, read and the first state.

    The gradient with respect to `total` needs no product of its own: what is read at t has the factor
    exp(total[t]), what is written at s exp(-total[s]), and the state that leaves the chunk
    exp(total[end]). So it is

    ```
    grad_total[t] = grad_y[t] . y[t] - grad_written[t] . written[t],    and   grad_state . state at the end
    ```

    Args:
        inputs: The inputs.
        forward: What the forward pass saved.
        grad_y: (c, b, g, t, r, k).
        grad_last: (b, g, n, r, k).
    """
    total, through, into, out_of, scores = _reaches(inputs)
    decay = decay_between(total, inputs.counts)
    decayed_grad_y = grad_y * into
    grad_writes, grad_state = linear_recurrence(
        through, _product(_transposed(inputs.read), decayed_grad_y), grad_last, reverse=True
    )
    grad_y_heads = _by_head(grad_y)
    grad_scores = grad_y_heads @ _transposed(_by_head(forward.written))  # (c, b, g, r, t, s)
    grad_products = ops.sum(grad_scores * decay, axis=3)  # of read[t] . write[s]
    grad_written = out_of * _product(inputs.write, grad_writes)
    grad_written = grad_written + _by_head(_transposed(scores) @ grad_y_heads)
    grad_write = _transposed(grad_products) @ inputs.read + _outer(grad_writes, forward.written * out_of)
    grad_read = grad_products @ inputs.write + _outer(forward.states, decayed_grad_y)

    grad_step = ops.sum(inputs.x * grad_written, axis=-1)
    grad_total = ops.sum(grad_y * forward.y, axis=-1) - grad_step * inputs.step
    after = ops.concatenate([forward.states[1:], forward.last[None]], axis=0)
    grad_end = ops.sum(grad_writes * after, axis=(3, 5))[:, :, :, None]
    # total is a sum over the positions before, so its gradient is one over those after.
    grad_log_decay = grad_end + ops.flip(ops.cumsum(ops.flip(grad_total, axis=3), axis=3), axis=3)
    grad_x = grad_written * inputs.step[..., None]
    return grad_x, grad_step, grad_log_decay, grad_write, grad_read, grad_state


def _reaches(inputs: _Inputs):
    """Returns total (c, b, g, r, t), and what scales states and products, shaped to broadcast with them."""
    total = ops.cumsum(_transposed(inputs.log_decay), axis=-1)
    into, out_of, through = reach_of_chunks(total, inputs.counts)
    products = (inputs.read @ _transposed(inputs.write))[:, :, :, None]
    scores = products * decay_between(total, inputs.counts)
    through = through[:, :, :, None, :, None]
    return total, through, _transposed(into)[..., None], _transposed(out_of)[..., None], scores


def _transposed(x):
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

    The smaller one is transposed, and the product after it: XLA copies what it transposes.
    """
    size = states.shape[-2] * states.shape[-1]
    states = ops.reshape(states, (*ops.shape(states)[:-2], size))
    x = ops.reshape(x, (*ops.shape(x)[:-2], size))
    return _transposed(states @ _transposed(x))


def state_space_step(x, step, rate, write, read, state):
    """One position of the same recurrence.

    Args:
        x: (b, g, r, k).
        step: (b, g, r).
        rate: (g, r).
        write: (b, g, n).
        read: (b, g, n).
        state: (b, g, n, r, k).

    Returns:
        y (b, g, r, k), and the new state.
    """
    decay = ops.exp(step * rate)[:, :, None, :, None]
    state = decay * state + write[..., None, None] * (x * step[..., None])[:, :, None]
    return ops.einsum("bgn,bgnrk->bgrk", read, state), state
