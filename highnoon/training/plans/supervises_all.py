"""Whether a loss is that of all text, so that bits per byte can be computed from it."""

from __future__ import annotations

from typing import Any


def supervises_all(rows: Any) -> bool:
    """Returns whether every token of rows is supervised, as far as their stores say.

    In conversations the answers alone are. Their loss divided by the bytes of all text would be no
    compression of it.

    Args:
        rows: Of a split: `PackedRows`, `StreamedRows`, or an object with their methods.
    """
    stores = getattr(rows, "stores", ())
    return all(getattr(store, "all_supervised", None) is None for store in stores)
