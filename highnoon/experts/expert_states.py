"""The hidden states of a frozen language model, those that its head reads."""

from __future__ import annotations

from typing import Any

from highnoon.config import ConfigError
from highnoon.inference.block_diffusion.diffusion_outputs import is_diffusion


def require_states(model: Any, name: str) -> None:
    """Checks that a model has causal hidden states.

    Args:
        model: The model.
        name: The argument that it was given as, for the message.

    Raises:
        ConfigError: it has no `backbone` with a cache, sees later tokens, or predicts masked tokens.
    """
    if not hasattr(getattr(model, "backbone", None), "step"):
        raise ConfigError(
            f"`{name}` must be a model with a `backbone` that has `step`, such as LanguageModel; received a "
            f"{type(model).__name__}"
        )
    if not model.backbone.is_causal:
        raise ConfigError(
            f"`{name}` must be a causal model, whose states know no later token; received one with mixers "
            "that see later tokens"
        )
    if is_diffusion(model):
        raise ConfigError(
            f"`{name}` must predict the next token from its state; received a model of block diffusion, "
            "which predicts it from that of a mask"
        )


def state_width(model: Any) -> int:
    """Returns the size of the hidden states that a model has, or as a diffuser denoises."""
    width = getattr(model, "state_dim", None)
    return int(model.backbone.config.embedding_dim if width is None else width)
