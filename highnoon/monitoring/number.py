"""Numbers in what others wrote."""

from __future__ import annotations

import math
from typing import Any

from highnoon.files.shown import shown


def as_number(value: Any) -> float | None:
    """Returns a number as a float, NaN and infinity too; None for all else and for too large integers."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def require_number(name: str, value: Any, least: float = 0.0) -> Any:
    """Returns a finite number of at least `least`.

    Raises:
        ValueError: it is none.
    """
    number = as_number(value)
    if number is None or not math.isfinite(number) or number < least:
        raise ValueError(f"`{name}` must be a finite number of at least {least:g}; received {shown(value)}")
    return value
