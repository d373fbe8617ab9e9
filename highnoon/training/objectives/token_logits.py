"""A model's logits for each token of a batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from highnoon.inference.block_diffusion.diffusion_outputs import require_next_token
from highnoon.training.model_inputs import model_inputs


def separates_segments(model: keras.Model) -> bool:
    """Whether a model reads `segment_ids`, so that a row may hold several documents.

    Models with `loss_terms` do, unless their attribute `separates_segments` says otherwise; others do if it
    says so.
    """
    return bool(getattr(model, "separates_segments", hasattr(model, "loss_terms")))


def token_logits(model: keras.Model, batch: Mapping[str, Any], training: bool) -> tuple[Any, Any]:
    """Returns logits and the auxiliary loss.

    Args:
        model: A model that separates segments is called with `token_ids`, `segment_ids` and `positions`, any
            other with its own inputs among `token_ids` and `padding_mask`.
        batch: `token_ids` (b, t), and `segment_ids` and `positions`, or `padding_mask`.
        training: Whether dropout acts.

    Returns:
        Logits (b, t, v), float32 (float64 where the model's are), and the sum of the losses that layers
        added, a scalar.

    Raises:
        ConfigError: the model is one of block diffusion, whose logits are those of masked tokens.
    """
    require_next_token(model)
    if separates_segments(model) and "segment_ids" in batch:
        names = ("token_ids", "segment_ids", "positions")
        inputs = {name: ops.convert_to_tensor(batch[name]) for name in names}
    else:
        mask = batch["padding_mask"] if "padding_mask" in batch else batch["segment_ids"]
        is_token = ops.cast(ops.cast(mask, "int32") > 0, "int32")
        inputs = model_inputs(model, {"token_ids": batch["token_ids"], "padding_mask": is_token})
    logits = model(inputs, training=training)
    if keras.backend.standardize_dtype(logits.dtype) != "float64":
        logits = ops.cast(logits, "float32")
    return logits, added_losses(model)


def added_losses(model: keras.Model) -> Any:
    """Returns the sum of the losses that the layers of a model added in its last call, a float32 scalar."""
    total = ops.zeros(())
    for loss in model.losses:
        total = total + ops.cast(loss, "float32")
    return total
