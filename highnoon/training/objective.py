"""The loss of any Keras model on a batch, as sums that add up over micro-batches."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


def loss_terms(model: keras.Model, batch: dict[str, Any], training: bool) -> dict[str, Any]:
    """Returns the sums from which a batch's loss is made.

    A model with a `loss_terms` method says them itself. Any other model is called with
    `token_ids` and `padding_mask` and must return logits.

    Args:
        model: Maps token ids to logits (b, t, v).
        batch: `token_ids`, `labels`, `segment_ids`, `positions` (b, t) int32; `loss_weights` (b, t) float32.
        training: Whether dropout acts.

    Returns:
        `loss_sum`, the scalar sum of weighted cross entropies in nats; `aux_loss`, a scalar mean over the
        tokens that are not padding; `metrics`, a dict of scalars, also token means.
    """
    if hasattr(model, "loss_terms"):
        return model.loss_terms(batch, training=training)
    inputs = {"token_ids": batch["token_ids"], "padding_mask": batch["segment_ids"] > 0}
    logits = ops.cast(model(inputs, training=training), "float32")
    losses = keras.losses.sparse_categorical_crossentropy(batch["labels"], logits, from_logits=True)
    aux_loss = sum(model.losses) if model.losses else ops.zeros(())
    return {"loss_sum": ops.sum(losses * batch["loss_weights"]), "aux_loss": aux_loss, "metrics": {}}
