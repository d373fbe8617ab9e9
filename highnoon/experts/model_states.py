"""The states that a memory is keyed by, and what a model predicts from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras import ops

from highnoon.config import ConfigError


def state_model(model: Any) -> Any:
    """Returns the model whose weights and states are meant: of a `LazyMixture` its mixture.

    Raises:
        ConfigError: the model has no states for a memory, or is not causal.
    """
    model = getattr(model, "mixture", model)
    if not (hasattr(model, "state_step") or hasattr(getattr(model, "backbone", None), "step")):
        raise ConfigError(
            "a memory needs a model with a `backbone` that has `step`, such as LanguageModel, or a mixture; "
            f"received a {type(model).__name__}"
        )
    if not model.is_causal:
        raise ConfigError(
            "a memory needs a causal model, whose states know no later token; received one with mixers "
            "that see later tokens"
        )
    return model


def state_width(model: Any) -> int:
    """Returns the size of a state."""
    return int(_trunk(model).config.embedding_dim)


def states(model: Any, inputs: Mapping[str, Any]) -> Any:
    """Returns the states (b, t, d) of complete rows, float32: what the head reads, of a mixture what the
    router's head reads."""
    return ops.cast(_trunk(model)(dict(inputs), training=False), "float32")


def states_and_log_probs(model: Any, inputs: Mapping[str, Any], training: bool = False) -> tuple[Any, Any]:
    """Returns the states (b, t, d) of complete rows and log-probabilities (b, t, v) of each next token."""
    hidden = _trunk(model)(dict(inputs), training=training)
    if hasattr(model, "state_step"):
        return ops.cast(hidden, "float32"), model.log_probs_of(hidden, inputs, training)
    return ops.cast(hidden, "float32"), ops.log_softmax(model._logits(hidden), axis=-1)


def state_step(
    model: Any, token_ids: Any, cache: Any, index: Any, padding: Any, first: int = 0
) -> tuple[Any, Any, Any]:
    """Reads new tokens (b, t) into a model's cache.

    Args:
        model: As in `state_model`, or a `LazyMixture`.
        token_ids: As in `LanguageModel.decode`, as the next three.
        cache: The cache.
        index: Slot of the first new token.
        padding: (b,) or None.
        first: The first new token whose log-probabilities are computed.

    Returns:
        The states (b, t, d) of all new tokens, float32, the log-probabilities (b, t - first, v), and the
        cache.
    """
    if hasattr(model, "state_step"):
        return model.state_step(token_ids, cache, index, padding, first)
    hidden, cache = model.backbone.step(token_ids, cache, index, padding)
    log_probs = ops.log_softmax(model._logits(hidden[:, first:]), axis=-1)
    return ops.cast(hidden, "float32"), log_probs, cache


def _trunk(model: Any) -> Any:
    """What makes the states of a model, of a mixture the trunk of its router."""
    model = getattr(model, "mixture", model)
    return model.router.backbone if hasattr(model, "router") else model.backbone
