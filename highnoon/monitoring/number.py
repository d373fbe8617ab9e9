"""Numbers in what others wrote."""

from __future__ import annotations

from typing import Any


def as_number(value: Any) -> float | None:
    """Returns a number as a float, NaN and infinity too; None for all else and for too large integers."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value)
    except OverflowError:
        return None
