"""Experts of block diffusion: blocks of one token give the exact distribution of the next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from highnoon.experts.expert_kinds import ExpertKind, register_expert_kind
from highnoon.inference.block_diffusion.diffusion_outputs import mask_id_of
from highnoon.inference.block_diffusion.next_token_model import next_token_model, without_mask
from highnoon.training.objectives.block_diffusion.block_inputs import masked_inputs


@register_expert_kind
class BlockDiffusionKind(ExpertKind):
    """A model of block diffusion, read in blocks of one token: no bound, and no token sees a later one.

    One pass over a mask in the position of each label and the tokens themselves gives the log-probabilities
    of all labels. In decoding each new token is stored, and the mask after it is not.
    """

    name = "block_diffusion"

    def token_log_probs(self, model: keras.Model, batch: Mapping[str, Any]) -> Any:
        mask_id = mask_id_of(model)
        arrays = _with_segments(batch)
        inputs = masked_inputs(arrays, mask_id)
        inputs |= {"labels": arrays["labels"], "loss_weights": arrays["loss_weights"]}
        terms = model.loss_terms(inputs, training=False, token_losses=True, excluded_id=mask_id)
        return ops.where(arrays["loss_weights"] > 0, -ops.cast(terms["token_losses"], "float32"), 0.0)

    def initial_cache(self, model: keras.Model, batch_size: int, max_length: int) -> Any:
        return next_token_model(model).initial_cache(batch_size, max_length)

    def decode(
        self, model: keras.Model, token_ids: Any, cache: Any, index: Any, padding: Any = None
    ) -> tuple[Any, Any]:
        return next_token_model(model).decode(token_ids, cache, index, padding)

    def logits(self, model: keras.Model, inputs: Mapping[str, Any]) -> Any:
        mask_id, arrays = mask_id_of(model), _with_segments(inputs)
        logits = model(masked_inputs(arrays, mask_id), training=False)
        return without_mask(ops.cast(logits[:, : arrays["token_ids"].shape[1]], "float32"), mask_id)


def _with_segments(batch: Mapping[str, Any]) -> dict[str, Any]:
    """The arrays as tensors, with `segment_ids` where there is a `padding_mask` alone."""
    arrays = {name: ops.convert_to_tensor(array) for name, array in batch.items() if array is not None}
    if "segment_ids" not in arrays and "padding_mask" in arrays:
        arrays["segment_ids"] = ops.cast(arrays["padding_mask"], "int32")
    return arrays
