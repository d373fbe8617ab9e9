"""Numbers in parsed JSON."""

from __future__ import annotations

from typing import Any


def as_number(value: Any) -> float | None:
    """Returns a number as a float, including NaN and infinity; None for other values and huge integers."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value)
    except OverflowError:
        return None
