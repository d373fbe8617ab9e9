"""Range checks of numbers that a user passes to a generation, in float64: any finite number is one.

`highnoon.config` has those for numbers that a model is trained with, which are float32, and for integers that
must not be written as 3.0.
"""

from __future__ import annotations

import math
import numbers
from typing import Any

from highnoon.files.shown import shown

_MAX_CHARACTERS = 60


def require_number(name: str, expected: str, value: Any) -> float:
    """Returns `value` as a float if it is a finite number and no bool.

    Args:
        name: The argument's name.
        expected: What the argument must be, for the message.
        value: What was passed.

    Raises:
        ValueError: it is not, or is too large for a float.
    """
    if isinstance(value, numbers.Real) and not _is_bool(value):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return number
    raise refusal(name, expected, value)


def require_whole(
    name: str, value: Any, at_least: int = 1, at_most: int | None = None, expected: str | None = None
) -> int:
    """Returns `value` as an int if it is an integer within the bounds, such as 3 or 3.0.

    Args:
        name: The argument's name.
        value: What was passed.
        at_least: The smallest value.
        at_most: The largest value; None for any.
        expected: What the argument must be, for the message; None describes `at_least`.

    Raises:
        ValueError: it is not.
    """
    expected = expected or f"an integer of at least {at_least}"
    number = require_number(name, expected, value)
    if number != math.floor(number) or number < at_least or (at_most is not None and number > at_most):
        raise refusal(name, expected, value)
    return int(value)


def refusal(name: str, expected: str, value: Any) -> ValueError:
    """Returns the error for an argument out of its range."""
    return ValueError(f"`{name}` must be {expected}; received {shown(value, _MAX_CHARACTERS)}")


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool) or type(value).__name__ in ("bool_", "bool")
