"""A key-value memory that overwrites, in chunks of matrix products."""

from __future__ import annotations

from keras import ops

from highnoon.layers.recurrence.chunks import decay_between, from_chunks, reach_of_chunks, to_chunks
from highnoon.layers.recurrence.loop_over_time import loop_over_time
from highnoon.layers.recurrence.triangular_inverse import unit_triangular_inverse


def chunked_delta_rule(query, key, value, log_decay, strength, state, counts=None, chunk_length: int = 64):
    """Reads a memory that decays and, under each key, moves toward a new value.

    ```
    old[t]   = exp(log_decay[t]) state[t-1]
    state[t] = old[t] + strength[t] key[t] (value[t] - old[t]^T key[t])^T
    y[t]     = state[t]^T query[t]
    ```

    Within a chunk the values that are actually written solve a triangular system, and each chunk passes one
    state to the next, so that time is linear in the length.

    Args:
        query: (b, t, g, k) float32.
        key: (b, t, g, k) float32, of length at most 1.
        value: (b, t, g, r, v) float32, r heads to each of g keys.
        log_decay: (b, t, g, r) float32, at most 0.
        strength: (b, t, g, r) float32, in [0, 1]; where it and `log_decay` are 0 the state stays.
        state: (b, g, r, k, v) float32, before the first position.
        counts: (b, t) of `count_restarts`: where they change, the state starts from zeros.
        chunk_length: Positions in one chunk, a power of two.

    Returns:
        y (b, t, g, r, v), and the state after the last position.

    Yang et al. 2024, Gated Delta Networks (arXiv:2412.06464), eqs. 10 and 12-14.
    """
    time = query.shape[1] if query.shape[1] is not None else ops.shape(query)[1]
    while isinstance(time, int) and chunk_length >= 2 * time:
        chunk_length //= 2
    counts = None if counts is None else to_chunks(counts, chunk_length, repeat_last=True)
    query, key = (  # (c, b, g, 1, t, k)
        ops.swapaxes(to_chunks(part, chunk_length), 2, 3)[:, :, :, None] for part in (query, key)
    )
    value, log_decay, strength = (  # (c, b, g, r, t, v)
        ops.moveaxis(to_chunks(part, chunk_length), 2, 4) for part in (value, log_decay, strength)
    )
    total = ops.cumsum(log_decay, axis=-1)
    into, out_of, through = reach_of_chunks(total, counts)
    decay = decay_between(total, counts)
    strength = strength[..., None]
    # What a position reads under its key of what earlier positions wrote: a strictly lower triangle.
    overlap = strength * (key @ ops.swapaxes(key, -1, -2)) * decay
    solve = unit_triangular_inverse(overlap)
    written = solve @ (strength * value)
    expected = solve @ (strength * into[..., None] * key)
    kept = out_of[..., None] * key
    states, values, state = _recurrence(through[..., None, None], expected, written, kept, state)
    y = into[..., None] * (query @ states)
    y = y + ((query @ ops.swapaxes(key, -1, -2)) * decay) @ values
    return from_chunks(ops.moveaxis(y, 4, 2), time), state


@ops.custom_gradient
def _recurrence(decay, expected, written, kept, state):
    """Passes the state from chunk to chunk.

    ```
    values[c]     = written[c] - expected[c] states[c]
    states[c + 1] = decay[c] states[c] + kept[c]^T values[c]
    ```

    Its gradient runs from the last chunk to the first:

    ```
    grad_values[c]   += kept[c] grad_states[c + 1]
    grad_states[c]   += decay[c] grad_states[c + 1] - expected[c]^T grad_values[c]
    grad_written      = grad_values
    grad_expected[c]  = -grad_values[c] states[c]^T
    grad_kept[c]      = values[c] grad_states[c + 1]^T
    grad_decay[c]     = sum(grad_states[c + 1] * states[c])
    ```

    Returns:
        states (c, b, g, r, k, v), values (c, b, g, r, t, v) and the last state.
    """

    def advance(carried, inputs):
        (state,), (decay, expected, written, kept) = carried, inputs
        values = written - expected @ state
        return (decay * state + _transposed(kept) @ values,), (state, values)

    (last,), (states, values) = loop_over_time(
        advance, (state,), (decay, expected, written, kept), (state, written[0])
    )

    def gradient(*upstreams):
        # TensorFlow passes three tensors, JAX one tuple.
        grad_states, grad_values, grad_last = upstreams if len(upstreams) == 3 else upstreams[0]

        def retreat(carried, inputs):
            (later,), (decay, expected, kept, grad_states, grad_values) = carried, inputs
            grad_values = grad_values + kept @ later
            earlier = decay * later + grad_states - _transposed(expected) @ grad_values
            return (earlier,), (later, grad_values)

        (grad_state,), (later, grad_written) = loop_over_time(
            retreat,
            (grad_last,),
            (decay, expected, kept, grad_states, grad_values),
            (grad_last, written[0]),
            reverse=True,
        )
        grad_decay = ops.sum(later * states, axis=(-1, -2), keepdims=True)
        grad_expected = -(grad_written @ _transposed(states))
        grad_kept = values @ _transposed(later)
        return grad_decay, grad_expected, grad_written, grad_kept, grad_state

    return (states, values, last), gradient


def _transposed(x):
    return ops.swapaxes(x, -1, -2)


def delta_rule_step(query, key, value, log_decay, strength, state):
    """One position of the same recurrence.

    Args:
        query: (b, g, k).
        key: (b, g, k).
        value: (b, g, r, v).
        log_decay: (b, g, r).
        strength: (b, g, r).
        state: (b, g, r, k, v).

    Returns:
        y (b, g, r, v), and the new state.
    """
    old = ops.exp(log_decay)[..., None, None] * state
    change = strength[..., None] * (value - ops.einsum("bgk,bgrkv->bgrv", key, old))
    state = old + key[:, :, None, :, None] * change[..., None, :]
    return ops.einsum("bgk,bgrkv->bgrv", query, state), state
