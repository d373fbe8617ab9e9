"""What a micro-batch stores for the backward pass, as the model estimates it."""

from __future__ import annotations

import keras


def activation_bytes(model: keras.Model, rows: int, length: int) -> int | None:
    """Returns about how many bytes one micro-batch takes on one device besides weights and gradients.

    Args:
        model: Any model.
        rows: Rows in the micro-batch.
        length: Tokens in a row.

    Returns:
        Bytes, or None where the model has no `activation_bytes(rows, length)` or does not know them.
    """
    estimate = getattr(model, "activation_bytes", None)
    return None if estimate is None else estimate(rows, length)
