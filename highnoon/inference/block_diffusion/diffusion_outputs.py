"""What a model of block diffusion says of itself: that it is one, and the id of its mask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from highnoon.config import ConfigError

EXPERT_KIND = "block_diffusion"
"""`outputs_description["expert_kind"]` of these models."""

_MASK_TOKEN = "<|mask|>"


def describe_diffusion(mask_id: int | None, block_sizes: Sequence[int]) -> dict[str, Any]:
    """Returns the `outputs_description` of a model of block diffusion.

    Args:
        mask_id: The id of the mask; None while it is not known.
        block_sizes: The block lengths of its training.
    """
    return {"expert_kind": EXPERT_KIND, "mask_id": mask_id, "block_sizes": list(block_sizes)}


def is_diffusion(model: Any) -> bool:
    """Whether a model was trained by block diffusion, so that its logits are those of masked tokens."""
    description = getattr(model, "outputs_description", None) or {}
    return description.get("expert_kind") == EXPERT_KIND


def require_next_token(model: Any) -> None:
    """Checks that the logits of a model are those of the next token.

    Raises:
        ConfigError: the model is one of block diffusion.
    """
    if is_diffusion(model):
        raise ConfigError(
            "expected a model with logits of the next token; received one of block diffusion, whose logits "
            "are those of masked tokens; give another model"
        )


def mask_id_of(model: Any) -> int:
    """Returns the id of the mask of a model of block diffusion.

    Raises:
        ConfigError: the model is none, or has no mask.
    """
    if not is_diffusion(model):
        raise ConfigError(
            f"expected a model that was trained with objective={EXPERT_KIND!r}; received a "
            f"{type(model).__name__} without that description; train it so, or use `generate`"
        )
    return find_mask_id(model.outputs_description.get("mask_id"), getattr(model, "tokenizer", None))


def find_mask_id(mask_id: int | None, tokenizer: Any) -> int:
    """Returns a given id, or the tokenizer's `<|mask|>`.

    Raises:
        ConfigError: there is neither.
    """
    if mask_id is not None:
        return int(mask_id)
    names = getattr(tokenizer, "ids_of_special_tokens", {})
    if _MASK_TOKEN not in names:
        what = "there is no tokenizer" if tokenizer is None else f"{type(tokenizer).__name__} has none"
        raise ConfigError(
            f"block diffusion needs an id for the mask ({_MASK_TOKEN}), and {what}; "
            "create the model with vocab_size=tokenizer.vocab_size + 1 and give that id as `mask_id`"
        )
    return int(names[_MASK_TOKEN])
