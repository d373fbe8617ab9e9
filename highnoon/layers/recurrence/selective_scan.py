"""A state space with a decay for each channel and state, computed position by position."""

from __future__ import annotations

from typing import Any, NamedTuple

from keras import ops

from highnoon.layers.recurrence.linear_recurrence import linear_recurrence
from highnoon.layers.recurrence.loop_over_time import loop_over_time


def selective_scan(x, step, rate, write, read, state, counts=None, num_parts: int = 1):
    """Reads a state that decays and is written to at every position.

    ```
    state[t] = exp(rate * step[t]) * state[t-1] + write[t] (step[t] x[t])^T
    y[t]     = read[t]^T state[t]
    ```

    Decays that differ within a head leave no matrix product to a chunk, so positions run one after
    another. Time is cut into `num_parts` parts that run in parallel: a first pass finds what each
    part writes, a loop over the parts forwards the states, a second pass reads. Nothing is divided by a
    decay, so that no step is too long. Only one state of each part is kept for the gradient,
    which recomputes the others.

    Args:
        x: (b, t, d) float32.
        step: (b, t, d) float32, at least 0; where it is 0 the state stays as it is.
        rate: (n, d) float32, at most 0.
        write: (b, t, n) float32.
        read: (b, t, n) float32.
        state: (b, n, d) float32, before the first position.
        counts: (b, t) of `count_restarts`: where they change, the state starts from zeros.
        num_parts: Parts that run in parallel, at least 1.

    Returns:
        y (b, t, d), and the state after the last position.

    Gu & Dao 2023, Mamba (arXiv:2312.00752), eq. 2 with the discretization of section 3.6, B by the
    step itself.
    """
    time = x.shape[1] if x.shape[1] is not None else ops.shape(x)[1]
    num_parts = min(num_parts, time) if isinstance(time, int) else 1
    keep = ops.ones_like(step[:, :, :1])
    if counts is not None:
        starts = ops.concatenate([ops.zeros_like(counts[:, :1]), counts[:, 1:] - counts[:, :-1]], axis=1)
        keep = ops.cast(starts == 0, "float32")[..., None]
    parts = [_cut(tensor, num_parts, time) for tensor in (x, step, write, read)]
    y, state = _scan(_cut(keep, num_parts, time, fill=1.0), num_parts)(*parts, rate, state)
    y = ops.reshape(ops.transpose(y, (2, 1, 0, 3)), (ops.shape(x)[0], -1, x.shape[-1]))
    return y[:, :time], state


def selective_step(x, step, rate, write, read, state):
    """One position of the same recurrence: x, step (b, d); write, read (b, n); state (b, n, d)."""
    state = _advance(state, x, step, write, 1.0, rate)
    return ops.einsum("bn,bnd->bd", read, state), state


def _cut(x, num_parts: int, time, fill: float = 0.0):
    """(b, t, d) to (l, c, b, d), part c containing the positions c l .. c l + l - 1."""
    gap = -time % num_parts if isinstance(time, int) else 0
    if gap:
        x = ops.concatenate([x, ops.full_like(x[:, :gap], fill)], axis=1)
    x = ops.reshape(x, (ops.shape(x)[0], num_parts, -1, x.shape[-1]))
    return ops.transpose(x, (2, 1, 0, 3))


def _advance(state, x, step, write, keep, rate):
    """(.., n, d) one position later; x, step (.., d), write (.., n), keep (.., 1), 0 at a restart."""
    return _decay(step, keep, rate) * state + write[..., :, None] * (step * x)[..., None, :]


def _decay(step, keep, rate):
    decay = ops.exp(step[..., None, :] * rate)
    return decay if isinstance(keep, float) else decay * keep[..., None]


def _scan(keep, num_parts: int):
    """Returns the scan over parts as a function of (x, step, write, read, rate, state).

    Its results are y (l, c, b, d) and the last state (b, n, d), its gradient is `_backward`.
    """

    @ops.custom_gradient
    def scan(x, step, write, read, rate, state):
        inputs = _Inputs(x, step, write, read, keep, rate)
        y, last, before = _forward(inputs, state, num_parts)

        def gradient(*upstreams):
            # TensorFlow passes two tensors, JAX one pair.
            grad_y, grad_last = upstreams if len(upstreams) == 2 else upstreams[0]
            return _backward(inputs, before, grad_y, grad_last)

        return (y, last), gradient

    return scan


class _Inputs(NamedTuple):
    """What the recurrence reads, time cut into c parts of l positions.

    Args:
        x: (l, c, b, d).
        step: (l, c, b, d).
        write: (l, c, b, n).
        read: (l, c, b, n).
        keep: (l, c, b, 1), 0 where the state restarts, else 1.
        rate: (n, d).
    """

    x: Any
    step: Any
    write: Any
    read: Any
    keep: Any
    rate: Any

    @property
    def writes(self):
        """What the state needs at each position."""
        return self.x, self.step, self.write, self.keep

    @property
    def decay_of_parts(self):
        """What is left after each part of the state before it, (c, b, n, d)."""
        return _decay(ops.sum(self.step, axis=0), ops.min(self.keep, axis=0), self.rate)


def _forward(inputs: _Inputs, state, num_parts: int):
    """Runs all parts side by side.

    ```
    decay[t] = exp(rate * step[t]) * keep[t]
    state[t] = decay[t] * state[t-1] + write[t] (step[t] x[t])^T
    y[t]     = read[t]^T state[t]
    ```

    Returns:
        y (l, c, b, d), the last state (b, n, d), and the state before each part (c, b, n, d).
    """
    before, last = _states_before(inputs, state, num_parts)

    def advance(carried, now):
        x, step, write, keep, read = now
        state = _advance(carried[0], x, step, write, keep, inputs.rate)
        return (state,), (ops.einsum("cbn,cbnd->cbd", read, state),)

    (after,), (y,) = loop_over_time(advance, (before,), (*inputs.writes, inputs.read), (inputs.x[0],))
    return y, after[0] if num_parts == 1 else last, before


def _states_before(inputs: _Inputs, state, num_parts: int):
    """Returns the state before each part (c, b, n, d), and the last one where there are several parts."""
    if num_parts == 1:
        return state[None], None

    def advance(carried, now):
        return (_advance(carried[0], *now, inputs.rate),), ()

    empty = ops.zeros_like(state[None]) + ops.zeros((num_parts, 1, 1, 1))
    (written,), _ = loop_over_time(advance, (empty,), inputs.writes, ())
    return linear_recurrence(inputs.decay_of_parts, written, state)


def _backward(inputs: _Inputs, before, grad_y, grad_last):
    """Gradients of the scan, from the last position to the first.

    ```
    grad_state[t]   = read[t] grad_y[t]^T + decay[t+1] * grad_state[t+1]        grad_state[T] adds grad_last
    moved[t]        = step[t] x[t]
    grad_exponent   = grad_state[t] * (state[t] - write[t] moved[t]^T)          of rate * step[t]
    grad_moved      = grad_state[t]^T write[t]
    grad_x[t]       = grad_moved * step[t]
    grad_step[t]    = grad_moved * x[t] + sum_n(grad_exponent * rate)
    grad_write[t]   = grad_state[t] moved[t]
    grad_read[t]    = state[t] grad_y[t]
    grad_rate       = sum_t(grad_exponent * step[t])
    ```

    What decayed, `decay[t] * state[t-1]`, is `state[t] - write[t] moved[t]^T`. The states within the parts
    are recomputed.

    Args:
        inputs: The inputs of the scan.
        before: (c, b, n, d) the state before each part.
        grad_y: (l, c, b, d).
        grad_last: (b, n, d).

    Returns:
        The gradients with respect to x, step, write, read, rate and the first state.
    """
    rate, num_parts = inputs.rate, before.shape[0]
    states = _recomputed_states(inputs, before)
    grad_after, grad_first = _grad_after_parts(inputs, before, grad_y, grad_last)

    def retreat(carried, now):
        grad_state, grad_rate = carried
        grad_y, state, x, step, write, keep, read = now
        grad_state = grad_state + read[..., :, None] * grad_y[..., None, :]
        moved = step * x
        grad_exponent = grad_state * (state - write[..., :, None] * moved[..., None, :])
        grad_moved = ops.einsum("cbnd,cbn->cbd", grad_state, write)
        grad_step = grad_moved * x + ops.sum(grad_exponent * rate, axis=-2)
        grad_write = ops.einsum("cbnd,cbd->cbn", grad_state, moved)
        grad_read = ops.einsum("cbnd,cbd->cbn", state, grad_y)
        grad_rate = grad_rate + ops.sum(grad_exponent * step[..., None, :], axis=(0, 1))
        grad_state = grad_state * _decay(step, keep, rate)
        return (grad_state, grad_rate), (grad_moved * step, grad_step, grad_write, grad_read)

    (grad_before, grad_rate), gradients = loop_over_time(
        retreat,
        (grad_after, ops.zeros_like(rate)),
        (grad_y, states, *inputs.writes, inputs.read),
        (inputs.x[0], inputs.step[0], inputs.write[0], inputs.read[0]),
        reverse=True,
    )
    return *gradients, grad_rate, grad_before[0] if num_parts == 1 else grad_first


def _recomputed_states(inputs: _Inputs, before):
    """Returns the state after each position, (l, c, b, n, d)."""

    def advance(carried, now):
        state = _advance(carried[0], *now, inputs.rate)
        return (state,), (state,)

    _, (states,) = loop_over_time(advance, (before,), inputs.writes, (before,))
    return states


def _grad_after_parts(inputs: _Inputs, before, grad_y, grad_last):
    """Returns what the parts after each part add to the gradient of its last state (c, b, n, d).

    With several parts also the gradient of the first state (b, n, d), else None.
    """
    if before.shape[0] == 1:
        return grad_last[None], None

    def collect(carried, now):
        grad_y, step, keep, read = now
        grad_state = carried[0] + read[..., :, None] * grad_y[..., None, :]
        return (grad_state * _decay(step, keep, inputs.rate),), ()

    (reads,), _ = loop_over_time(
        collect,
        (ops.zeros_like(before),),
        (grad_y, inputs.step, inputs.keep, inputs.read),
        (),
        reverse=True,
    )
    return linear_recurrence(inputs.decay_of_parts, reads, grad_last, reverse=True)
