"""The class that a record names in its label field."""

from __future__ import annotations

from typing import Any

import numpy as np

from highnoon.data.records.record_values import is_absent


def record_label(value: Any) -> str | None:
    """Returns the text of a label, or None if the value is neither a string nor an integer.

    The integer 3, the float 3.0 (as tables write it) and the string "3" are one label; booleans are 0 and 1.
    """
    if value is None or is_absent(value):
        return None
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").strip()
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return str(int(value))
    return None
