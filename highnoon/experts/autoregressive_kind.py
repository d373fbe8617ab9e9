"""Experts that predict the next token directly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from highnoon.config import ConfigError
from highnoon.experts.expert_kinds import ExpertKind, register_expert_kind
from highnoon.inference.decoding.uncached_model import decoding_model
from highnoon.training.model_inputs import model_inputs
from highnoon.training.objective import loss_terms
from highnoon.training.objectives.token_logits import separates_segments
from highnoon.training.task_losses import gives_token_losses


@register_expert_kind
class Autoregressive(ExpertKind):
    """A causal language model whose logits at position t are those of token t + 1.

    The log-probabilities of a `LanguageModel` come from its hidden states in chunks of tokens, as its loss
    does, so that (tokens x vocabulary) logits are never in memory. Any other causal model is called as in
    training, which returns the logits of the batch.
    """

    name = "autoregressive"

    def token_log_probs(self, model: keras.Model, batch: Mapping[str, Any]) -> Any:
        if not gives_token_losses(model):
            raise ConfigError(
                f"{type(model).__name__}.loss_terms takes no `token_losses`, so the loss of each token is "
                "not known; let it take that argument, as LanguageModel.loss_terms does"
            )
        arrays = {name: ops.convert_to_tensor(array) for name, array in batch.items()}
        if "segment_ids" not in arrays:
            arrays["segment_ids"] = ops.cast(arrays["padding_mask"], "int32")
        losses = loss_terms(model, arrays, training=False, token_losses=True)["token_losses"]
        return ops.where(arrays["loss_weights"] > 0, -ops.cast(losses, "float32"), 0.0)

    def initial_cache(self, model: keras.Model, batch_size: int, max_length: int) -> Any:
        return decoding_model(model).initial_cache(batch_size, max_length)

    def decode(
        self, model: keras.Model, token_ids: Any, cache: Any, index: Any, padding: Any = None
    ) -> tuple[Any, Any]:
        return decoding_model(model).decode(token_ids, cache, index, padding)

    def logits(self, model: keras.Model, inputs: Mapping[str, Any]) -> Any:
        if separates_segments(model):
            return ops.cast(model(dict(inputs), training=False), "float32")
        if inputs.get("segment_ids") is not None:
            raise ConfigError(
                f"a {type(model).__name__} cannot tell the documents of a row apart; received `segment_ids`; "
                "give `padding_mask`"
            )
        mask = inputs.get("padding_mask")
        mask = ops.ones_like(inputs["token_ids"]) if mask is None else mask
        arrays = {"token_ids": inputs["token_ids"], "padding_mask": mask}
        return ops.cast(model(model_inputs(model, arrays), training=False), "float32")
