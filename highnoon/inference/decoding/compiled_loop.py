"""The while loop of every compiled decoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from keras import ops

State = TypeVar("State", bound=tuple[Any, ...])


def run_while(condition: Callable[[State], Any], body: Callable[[State], State], state: State) -> State:
    """Runs `state = body(state)` as long as `condition(state)` holds, as one loop of the compiled graph.

    Args:
        condition: Takes a state and returns a scalar bool tensor.
        body: Takes a state and returns the next one, with the same shapes and dtypes.
        state: A `NamedTuple` whose fields are tensors or nested structures of tensors.

    Returns:
        The state in which `condition` no longer holds.
    """
    from_fields: Callable[..., State] = type(state)

    values = ops.while_loop(
        lambda *fields: condition(from_fields(*fields)),
        lambda *fields: tuple(body(from_fields(*fields))),
        tuple(state),
    )
    return from_fields(*values)
