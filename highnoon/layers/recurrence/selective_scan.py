"""A state space with a decay for each channel and state, run place by place."""

from __future__ import annotations

from keras import ops

from highnoon.layers.recurrence.linear_recurrence import linear_recurrence
from highnoon.layers.recurrence.loop_over_time import loop_over_time


def selective_scan(x, step, rate, write, read, state, counts=None, num_parts: int = 1):
    """Reads a state that decays and is written to at every place.

    ```
    state[t] = exp(rate * step[t]) * state[t-1] + write[t] (step[t] x[t])^T
    y[t]     = read[t]^T state[t]
    ```

    Decays that differ within a head leave no matrix product to a chunk, so places run one after
    another. Time is cut into `num_parts` parts that run side by side: a first pass finds what each
    part writes, a loop over the parts hands states on, a second pass reads. Nothing is divided by a
    decay, so that no step is too long. Of the states only one a part is kept for the gradient,
    which makes the others again.

    Args:
        x: (b, t, d) float32.
        step: (b, t, d) float32, at least 0; where it is 0 the state stays as it is.
        rate: (n, d) float32, at most 0.
        write: (b, t, n) float32.
        read: (b, t, n) float32.
        state: (b, n, d) float32, before the first place.
        counts: (b, t) of `count_restarts`: where they change, the state starts from zeros.
        num_parts: Parts that run side by side, at least 1.

    Returns: y (b, t, d), and the state after the last place.

    Gu & Dao 2023, Mamba (arXiv:2312.00752), eq. 2 with the discretisation of section 3.6, B by the
    step itself.
    """
    time = x.shape[1] if x.shape[1] is not None else ops.shape(x)[1]
    num_parts = min(num_parts, time) if isinstance(time, int) else 1
    keep = ops.ones_like(step[:, :, :1])
    if counts is not None:
        starts = ops.concatenate([ops.zeros_like(counts[:, :1]), counts[:, 1:] - counts[:, :-1]], axis=1)
        keep = ops.cast(starts == 0, "float32")[..., None]
    parts = [_cut(tensor, num_parts, time) for tensor in (x, step, write, read)]
    y, state = _with_gradient(_cut(keep, num_parts, time, fill=1.0), num_parts)(*parts, rate, state)
    y = ops.reshape(ops.transpose(y, (2, 1, 0, 3)), (ops.shape(x)[0], -1, x.shape[-1]))
    return y[:, :time], state


def selective_step(x, step, rate, write, read, state):
    """One place of the same recurrence: x, step (b, d); write, read (b, n); state (b, n, d)."""
    state = _advance(state, x, step, write, 1.0, rate)
    return ops.einsum("bn,bnd->bd", read, state), state


def _cut(x, num_parts: int, time, fill: float = 0.0):
    """(b, t, d) to (l, c, b, d), part c holding the places c l .. c l + l - 1."""
    gap = -time % num_parts if isinstance(time, int) else 0
    if gap:
        x = ops.concatenate([x, ops.full_like(x[:, :gap], fill)], axis=1)
    x = ops.reshape(x, (ops.shape(x)[0], num_parts, -1, x.shape[-1]))
    return ops.transpose(x, (2, 1, 0, 3))


def _advance(state, x, step, write, keep, rate):
    """(.., n, d) one place on; x, step (.., d), write (.., n), keep (.., 1) 0 where the state restarts."""
    return _decay(step, keep, rate) * state + write[..., :, None] * (step * x)[..., None, :]


def _decay(step, keep, rate):
    decay = ops.exp(step[..., None, :] * rate)
    return decay if isinstance(keep, float) else decay * keep[..., None]


def _with_gradient(keep, num_parts: int):
    """The outputs (l, c, b, d) and the last state as a function of (x, step, write, read, rate, state)."""

    def through(step, rate):
        """What is left after each part of the state before it, (c, b, n, d)."""
        return _decay(ops.sum(step, axis=0), ops.min(keep, axis=0), rate)

    def states_before(x, step, write, rate, state):
        """The state before each part (c, b, n, d), and the last one."""
        if num_parts == 1:
            return state[None], None

        def advance(carried, inputs):
            return (_advance(carried[0], *inputs, rate),), ()

        empty = ops.zeros_like(state[None]) + ops.zeros((num_parts, 1, 1, 1))
        (writes,), _ = loop_over_time(advance, (empty,), (x, step, write, keep), ())
        return linear_recurrence(through(step, rate), writes, state)

    @ops.custom_gradient
    def outputs(x, step, write, read, rate, state):
        before, last = states_before(x, step, write, rate, state)

        def advance(carried, inputs):
            state = _advance(carried[0], *inputs[:4], rate)
            return (state,), (ops.einsum("cbn,cbnd->cbd", inputs[4], state),)

        (after,), (y,) = loop_over_time(advance, (before,), (x, step, write, keep, read), (x[0],))
        last = after[0] if num_parts == 1 else last

        def gradient(*upstreams):
            # TensorFlow hands over two tensors, JAX one pair.
            by_y, by_last = upstreams if len(upstreams) == 2 else upstreams[0]
            return _gradient(by_y, by_last, before)

        def _gradient(by_y, by_last, before):
            def again(carried, inputs):
                state = _advance(carried[0], *inputs, rate)
                return (state,), (state,)

            _, (states,) = loop_over_time(again, (before,), (x, step, write, keep), (before,))
            by_after, by_state = by_last[None], None
            if num_parts > 1:

                def collect(carried, inputs):
                    by_y, step, keep, read = inputs
                    by_state = carried[0] + read[..., :, None] * by_y[..., None, :]
                    return (by_state * _decay(step, keep, rate),), ()

                (reads,), _ = loop_over_time(
                    collect, (ops.zeros_like(before),), (by_y, step, keep, read), (), reverse=True
                )
                by_after, by_state = linear_recurrence(through(step, rate), reads, by_last, reverse=True)

            def retreat(carried, inputs):
                by_state, by_rate = carried
                by_y, states, x, step, write, keep, read = inputs
                by_state = by_state + read[..., :, None] * by_y[..., None, :]
                moved = step * x
                # What decayed is the state less what was written, so the state before is not needed.
                by_exponent = by_state * (states - write[..., :, None] * moved[..., None, :])
                by_moved = ops.einsum("cbnd,cbn->cbd", by_state, write)
                by_step = by_moved * x + ops.sum(by_exponent * rate, axis=-2)
                by_write = ops.einsum("cbnd,cbd->cbn", by_state, moved)
                by_read = ops.einsum("cbnd,cbd->cbn", states, by_y)
                by_rate = by_rate + ops.sum(by_exponent * step[..., None, :], axis=(0, 1))
                by_state = by_state * _decay(step, keep, rate)
                return (by_state, by_rate), (by_moved * step, by_step, by_write, by_read)

            (first, by_rate), gradients = loop_over_time(
                retreat,
                (by_after, ops.zeros_like(rate)),
                (by_y, states, x, step, write, keep, read),
                (x[0], step[0], write[0], read[0]),
                reverse=True,
            )
            return *gradients, by_rate, first[0] if num_parts == 1 else by_state

        return (y, last), gradient

    return outputs
