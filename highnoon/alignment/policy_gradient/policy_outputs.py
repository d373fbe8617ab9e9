"""Log-probabilities and values that a policy computes for the tokens of a batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from highnoon.alignment.answer_log_probs import without_dropout
from highnoon.config import ConfigError
from highnoon.training.objectives.token_logits import token_logits


@dataclasses.dataclass(frozen=True)
class PolicyOutputs:
    """Log-probabilities of a batch.

    Args:
        all_log_probs: (b, t, v), of all tokens or actions.
        log_probs: (b, t), of those that were sampled.
        entropies: (b, t), of the distributions.
        values: (b, t), of the value function; None where the model has none.
        aux_loss: A scalar: what layers added.
    """

    all_log_probs: Any
    log_probs: Any
    entropies: Any
    values: Any
    aux_loss: Any

    @classmethod
    def of_logits(
        cls, logits: Any, sampled: Any, values: Any = None, aux_loss: Any = None, temperature: float = 1.0
    ) -> PolicyOutputs:
        """Returns the log-probabilities that logits stand for.

        Args:
            logits: (b, t, v).
            sampled: (b, t) ids.
            values: (b, t), or None.
            aux_loss: A scalar, or None for zero.
            temperature: Divides the logits, as in the rollout.
        """
        if temperature != 1.0:
            logits = logits / temperature
        all_log_probs = ops.log_softmax(logits, axis=-1)
        log_probs = ops.take_along_axis(all_log_probs, ops.expand_dims(sampled, -1), axis=-1)[:, :, 0]
        entropies = -ops.sum(ops.exp(all_log_probs) * all_log_probs, axis=-1)
        return cls(
            all_log_probs, log_probs, entropies, values, ops.zeros(()) if aux_loss is None else aux_loss
        )


def text_outputs(
    model: keras.Model,
    batch: Mapping[str, Any],
    training: bool,
    *,
    has_values: bool,
    temperature: float = 1.0,
) -> PolicyOutputs:
    """Returns a model's outputs for sampled tokens, in float32 or the model's float64.

    Dropout is off, in training too: the probability of a token is compared with that of the rollout.

    Args:
        model: A language model, or one with `logits_and_values(batch, training)`, which returns logits
            (b, t, v), values (b, t) and the auxiliary loss.
        batch: `token_ids`, `labels`, `segment_ids` and `positions` (b, t).
        training: Whether a training step asks: layers report their losses, and experts have a capacity.
        has_values: Whether the values are needed.
        temperature: Divides the logits.

    Raises:
        ConfigError: values are needed, and the model has none.
    """
    has_own = hasattr(model, "logits_and_values")
    if has_values and not has_own:
        raise ConfigError(
            f"advantage='gae' needs a model with a value function; received a {type(model).__name__}; wrap "
            "it in PolicyWithValues, or choose another advantage"
        )
    with without_dropout(model):
        if has_own:
            logits, values, aux_loss = model.logits_and_values(batch, training=training)
        else:
            (logits, aux_loss), values = token_logits(model, batch, training), None
    return PolicyOutputs.of_logits(logits, batch["labels"], values, aux_loss, temperature)
