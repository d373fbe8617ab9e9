"""States that decay and are written to, one after another."""

from __future__ import annotations

from highnoon.layers.recurrence.loop_over_time import loop_over_time


def linear_recurrence(decay, writes, state, reverse: bool = False):
    """The state that each place meets.

    ```
    states[0]     = state
    states[i + 1] = decay[i] states[i] + writes[i]
    ```

    Gradients are not taken through it: with respect to `writes` and `state` they are the same
    recurrence in reverse, of the gradients by `states`.

    Args:
        decay: (i, ..), of the rank of `writes`, broadcast against it.
        writes: (i, ..).
        state: (..), the first state.
        reverse: Whether the last place comes first.

    Returns: states (i, ..), and the state after the last place (..).
    """
    (last,), (states,) = loop_over_time(_advance, (state,), (decay, writes), (state,), reverse)
    return states, last


def _advance(carried, inputs):
    (state,), (decay, writes) = carried, inputs
    return (decay * state + writes,), (state,)
