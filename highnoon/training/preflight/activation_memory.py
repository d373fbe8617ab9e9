"""The memory for activations, as the model estimates it."""

from __future__ import annotations

import keras


def activation_bytes(model: keras.Model, rows: int, length: int) -> int | None:
    """Returns the approximate number of bytes that the activations of one micro-batch take on one device.

    Args:
        model: Any model.
        rows: Rows in the micro-batch.
        length: Tokens in a row.

    Returns:
        Bytes, or None if the model has no `activation_bytes(rows, length)` or cannot estimate them.
    """
    estimate = getattr(model, "activation_bytes", None)
    return None if estimate is None else estimate(rows, length)
