"""The settings of a configuration on which the function of its model depends."""

from __future__ import annotations

from typing import Any

from highnoon.config import ModelConfig
from highnoon.models.hugging_face.family import layer_kinds
from highnoon.models.hugging_face.rope_settings import same_rope
from highnoon.models.memory import block_parts

TRAINING_ALONE = frozenset(
    {
        "capacity_factor",
        "aux_loss_weight",
        "router_z_loss_weight",
        "bias_update_rate",
        "load_entropy_weight",
        "dropout",
        "initializer_range",
    }
)
"""Fields that no logit of inference depends on."""

_OF_THE_FRAME = (
    "vocab_size",
    "embedding_dim",
    "max_seq_length",
    "norm_type",
    "norm_epsilon",
    "post_norms",
    "position_embedding",
    "scale_embeddings",
    "logit_softcap",
    "tie_embeddings",
    "share_blocks",
    "embedding_norm",
    "final_norm",
)


def meaning(config: ModelConfig) -> dict[str, Any]:
    """Returns the settings that a model of `config` uses, defaults written out; equal where functions are.

    Example:

    ```python
    from highnoon.config import ModelConfig
    from highnoon.models.hugging_face.meaning import meaning

    shape = {"embedding_dim": 64, "block_pattern": "attention+mlp"}
    assert meaning(ModelConfig(num_heads=1, **shape)) == meaning(ModelConfig(num_moe_experts=3, **shape))
    ```
    """
    used: dict[str, Any] = {"layers": layer_kinds(config)}
    for name in _OF_THE_FRAME:
        used[name] = getattr(config, name)
    for bound in block_parts(config):
        for name, value in bound.part.meaning(bound.config).items():
            value = same_rope(value) if name == "rope_scaling" else value
            # Parts that differ in a setting, by options in the pattern, equal no published model.
            used[name] = value if used.get(name, value) == value else (used[name], value)
    return used
