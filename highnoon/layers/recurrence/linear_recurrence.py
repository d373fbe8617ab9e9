"""A linear recurrence over a leading axis."""

from __future__ import annotations

from highnoon.layers.recurrence.loop_over_time import loop_over_time


def linear_recurrence(decay, writes, state, reverse: bool = False):
    """Returns the state before each position.

    ```
    states[0]     = state
    states[i + 1] = decay[i] states[i] + writes[i]
    ```

    It is not differentiated: gradients with respect to `writes` and `state` are the same recurrence in
    reverse, of the gradients with respect to `states`.

    Args:
        decay: (i, ..), of the rank of `writes`, broadcast against it.
        writes: (i, ..).
        state: (..), the first state.
        reverse: Whether the last position comes first.

    Returns:
        states (i, ..), and the state after the last position (..).
    """
    (last,), (states,) = loop_over_time(_advance, (state,), (decay, writes), (state,), reverse)
    return states, last


def _advance(carried, inputs):
    (state,), (decay, writes) = carried, inputs
    return (decay * state + writes,), (state,)
