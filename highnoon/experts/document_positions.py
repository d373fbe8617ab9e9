"""The position of each token in its document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras import ops


def document_positions(inputs: Mapping[str, Any]) -> Any:
    """Returns the positions of tokens in their documents, counted where they are not given.

    Without `segment_ids` a row is one document, which starts after the padding at its front.

    Args:
        inputs: `token_ids` (b, t), and where there are any `positions` (t,) or (b, t), `segment_ids` and
            `padding_mask` (b, t).

    Returns:
        (b, t) int32, at least 0.

    Example:

    ```python
    import numpy as np
    from highnoon.experts.document_positions import document_positions

    rows = {"token_ids": np.ones((1, 5), "int32"), "segment_ids": np.array([[1, 1, 2, 2, 2]])}
    assert np.array_equal(document_positions(rows), [[0, 1, 0, 1, 2]])
    ```
    """
    token_ids = ops.convert_to_tensor(inputs["token_ids"])
    slots = ops.cumsum(ops.ones_like(token_ids, dtype="int32"), axis=1) - 1
    if inputs.get("positions") is not None:
        positions = ops.cast(inputs["positions"], "int32")
        return ops.zeros_like(slots) + (positions if len(positions.shape) == 2 else positions[None])
    if inputs.get("segment_ids") is not None:
        segments = ops.cast(inputs["segment_ids"], "int32")
        is_first = ops.concatenate(
            [ops.ones_like(segments[:, :1], dtype="bool"), segments[:, 1:] != segments[:, :-1]], axis=1
        )
        return slots - ops.associative_scan(ops.maximum, ops.where(is_first, slots, 0), axis=1)
    if inputs.get("padding_mask") is not None:
        is_token = ops.cast(ops.cast(inputs["padding_mask"], "int32") > 0, "int32")
        return ops.maximum(ops.cumsum(is_token, axis=1) - 1, 0)
    return slots
