"""Defaults of arguments that can be told from the same value passed by a caller."""

from __future__ import annotations

from typing import Any, TypeVar, cast

_Number = TypeVar("_Number", int, float)


class Default:
    """Marks the default of an argument, which a caller who gives the same value does not pass.

    `default(10)` is a 10 in every other respect, so signatures and documentation show the number.
    """


class _DefaultInt(int, Default):
    pass


class _DefaultFloat(float, Default):
    pass


def default(value: _Number) -> _Number:
    """Returns a number for use as an argument's default, which `is_given` tells from one that was passed.

    Example:

    ```python
    from highnoon.config import default, is_given

    def train(epochs: int = default(10)) -> bool:
        return is_given(epochs)

    assert train(epochs=10) and not train()
    ```
    """
    kind = _DefaultFloat if isinstance(value, float) else _DefaultInt
    return cast(_Number, kind(value))


def is_given(value: Any) -> bool:
    """Returns whether an argument was passed: it is not the `default` of its signature."""
    return not isinstance(value, Default)
