"""What a model of block diffusion reads: a noisy copy of a sequence, followed by the sequence itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from keras import ops

from highnoon.layers.attention.block_mask import block_ids


def masked_inputs(batch: Mapping[str, Any], mask_id: int) -> dict[str, Any]:
    """Returns the inputs whose first t logits are those of each next token, exactly.

    The noisy copy is a mask in the position of each label. With blocks of one token, a mask sees the tokens
    before it and nothing else.

    Args:
        batch: `token_ids` (b, t), and `segment_ids` and `positions` (b, t) where there are any.
        mask_id: The id of the mask.

    Returns:
        `token_ids`, `segment_ids`, `positions` and `block_ids`, each (b, 2 t).
    """
    ids = ops.cast(batch["token_ids"], "int32")
    segments = batch.get("segment_ids")
    segments = ops.ones_like(ids) if segments is None else ops.cast(segments, "int32")
    positions = batch.get("positions")
    positions = ops.cumsum(ops.ones_like(ids), axis=1) - 1 if positions is None else positions
    positions = ops.cast(positions, "int32")
    noisy = _Half(ops.full_like(ids, mask_id), segments, positions + 1)
    return _joined(noisy, _Half(ids, segments, positions), 1)


def noisy_inputs(batch: Mapping[str, Any], mask_id: int) -> dict[str, Any]:
    """Returns the inputs whose first n logits are those of the noisy tokens.

    Args:
        batch: `token_ids`, `segment_ids` and `positions` (b, t); `noisy_labels`, `noisy_segment_ids`,
            `noisy_positions` and `is_masked` (b, n); `block_lengths` (b,).
        mask_id: The id of the mask.

    Returns:
        `token_ids`, `segment_ids`, `positions` and `block_ids`, each (b, n + t).
    """
    names = ("noisy_labels", "noisy_segment_ids", "noisy_positions", "token_ids", "segment_ids", "positions")
    arrays = [ops.cast(batch[name], "int32") for name in names]
    noisy, clean = _Half(*arrays[:3]), _Half(*arrays[3:])
    noisy = noisy._replace(ids=ops.where(ops.cast(batch["is_masked"], "bool"), mask_id, noisy.ids))
    return _joined(noisy, clean, ops.cast(batch["block_lengths"], "int32")[:, None])


class _Half(NamedTuple):
    """The tokens of one half of a row, each (b, t)."""

    ids: Any
    segments: Any
    positions: Any


def _joined(noisy: _Half, clean: _Half, block_length: Any) -> dict[str, Any]:
    """Both halves as the inputs of a model; `block_length` is a scalar or (b, 1)."""
    blocks = [block_ids(half.positions, block_length, is_noisy=half is noisy) for half in (noisy, clean)]
    return {
        "token_ids": ops.concatenate([noisy.ids, clean.ids], axis=1),
        "segment_ids": ops.concatenate([noisy.segments, clean.segments], axis=1),
        "positions": ops.concatenate([noisy.positions, clean.positions], axis=1),
        "block_ids": ops.concatenate(blocks, axis=1),
    }
