"""A linear recurrence over the tokens of a row, with its gradient: what a recurrent mixer needs."""

from __future__ import annotations

from keras import ops

from highnoon.layers.recurrence.linear_recurrence import linear_recurrence


def linear_scan(decay, new, state=None):
    """Returns the states of a linear recurrence over axis 1.

    ```
    states[:, t] = decay[:, t] * states[:, t-1] + new[:, t]
    ```

    It runs in eager mode, in graphs and under XLA, for any length, and has a gradient. A decay of 0 starts
    from an empty state, as the first token of a document does. A decay of 1 with `new` of 0 leaves the state
    as it is, as padding does. Everything is computed in float32.

    Args:
        decay: (b, t, ..), or any shape that broadcasts against `new`.
        new: (b, t, ..), at least one token.
        state: (b, ..), the state before the first token; None for zeros.

    Returns:
        float32 (b, t, ..), the state after each token.

    Example:

    ```python
    import numpy as np
    from highnoon.layers import linear_scan

    states = linear_scan(0.5, np.ones((1, 3, 1)))
    assert np.ravel(states).tolist() == [1.0, 1.5, 1.75]
    ```
    """
    new = ops.cast(new, "float32")
    decay = ops.cast(decay, "float32") + ops.zeros_like(new)
    state = ops.zeros_like(new[:, 0]) if state is None else ops.cast(state, "float32")
    if new.shape[1] == 1:  # a decoded token needs no loop
        return decay * state[:, None] + new
    return ops.swapaxes(_scan(ops.swapaxes(decay, 0, 1), ops.swapaxes(new, 0, 1), state), 0, 1)


@ops.custom_gradient
def _scan(decay, new, state):
    """The states (t, b, ..) after each position.

    ```
    grad_states[t] += decay[t+1] * grad_states[t+1]
    grad_new[t]     = grad_states[t]
    grad_decay[t]   = grad_states[t] * states[t-1]
    grad_state      = decay[0] * grad_states[0]
    ```
    """
    before, last = linear_recurrence(decay, new, state)

    def gradient(grad_states):
        empty = ops.zeros_like(last)
        later, grad_state = linear_recurrence(decay, decay * grad_states, empty, reverse=True)
        grad_states = grad_states + later
        return grad_states * before, grad_states, grad_state

    return ops.concatenate([before[1:], last[None]], axis=0), gradient
