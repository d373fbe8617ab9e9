"""A family of published models: its settings and its tensors."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from highnoon.config import ModelConfig
from highnoon.models.causal_lm import LanguageModel
from highnoon.models.hugging_face.settings import Settings
from highnoon.models.hugging_face.tensor_rules import Weight
from highnoon.models.patterns import parse_pattern


@dataclasses.dataclass(frozen=True)
class Family:
    """One `model_type`.

    Args:
        model_type: As in `config.json`.
        architecture: The class of `transformers`.
        patterns: The block patterns that it supports, in words.
        read: From settings to fields of `ModelConfig`.
        write: From a configuration to settings; what they cannot express is found when they are read back.
        weights: The published tensors of every variable.
        is_left_out: Whether a published tensor, by its name, does not belong to the language model.
        prefix: What the names of the base model's tensors start with.
        computed: Ends of the names of tensors that old files hold and that follow from `config.json`.
    """

    model_type: str
    architecture: str
    patterns: str
    read: Callable[[Settings], dict[str, Any]]
    write: Callable[[ModelConfig], dict[str, Any]]
    weights: Callable[[LanguageModel], Iterator[Weight]]
    is_left_out: Callable[[str, ModelConfig], bool] = lambda name, config: False
    prefix: str = "model."
    computed: tuple[str, ...] = (".rotary_emb.inv_freq",)


def layer_kinds(config: ModelConfig) -> list[str]:
    """Returns the entry of every layer of the stack, `"attention+mlp"`, first to last."""
    pairs = parse_pattern(config.block_pattern)
    return ["+".join(filter(None, pair)) for pair in pairs] * config.num_reasoning_blocks


def repeated_pattern(kinds: Sequence[str]) -> dict[str, Any]:
    """Returns the shortest `block_pattern` whose repetition is the given stack, and how often it repeats.

    Example:

    ```python
    from highnoon.models.hugging_face.family import repeated_pattern

    fields = repeated_pattern(["attention+mlp", "attention+moe"] * 3)
    assert fields == {"block_pattern": "attention+mlp, attention+moe", "num_reasoning_blocks": 3}
    ```
    """
    kinds, total = list(kinds), len(kinds)
    size = next(n for n in range(1, total + 1) if total % n == 0 and kinds == kinds[:n] * (total // n))
    return {"block_pattern": ", ".join(kinds[:size]), "num_reasoning_blocks": total // size}
