"""The presets: named model configurations, each with the learning rate that trains it.

Small models learn with large rates. Those of the two smallest presets are measured, see
`benchmarks/preset_learning_rates.py`. Those of the larger `highnoon-*` follow what was published for
dense models of their size: Brown et al. 2020, "Language models are few-shot learners" (arXiv:2005.14165),
table 2.1, from 6e-4 at 125 million parameters to 1.2e-4 at 6.7 billion, and Touvron et al. 2023, "Llama 2"
(arXiv:2307.09288), 3e-4 to 1.5e-4, with larger batches.

`hatching-*` are BDH, the Dragon Hatchling (Kosowski et al. 2025, arXiv:2509.26507), over bytes, with the
learning rate and the weight decay of its published training.
"""

from __future__ import annotations

from typing import Any

from highnoon.config.config import Config, override
from highnoon.config.config_error import ConfigError
from highnoon.config.defaults import default
from highnoon.config.model_config import ModelConfig
from highnoon.config.ranges import require_text
from highnoon.config.training_config import TrainingConfig
from highnoon.files.nearest_name import nearest_name
from highnoon.files.shown import shown

_TWO_PAIRS = "attention+moe, attention+moe"
_HATCHING: dict[str, Any] = {
    "learning_rate": 1e-3,
    "weight_decay": 0.1,
    "vocab_size": 263,
    "num_heads": 4,
    "block_pattern": "bdh",
    "share_blocks": True,
    "embedding_norm": "layer",
    "final_norm": False,
    "tie_embeddings": False,
    "initializer_range": 0.02,
    "dropout": 0.1,
}
_OF_TRAINING = ("batch_size", "weight_decay")

PRESETS: dict[str, dict[str, Any]] = {
    "highnoon-nano": {
        "learning_rate": 3e-3,
        "vocab_size": 512,
        "embedding_dim": 128,
        "num_reasoning_blocks": 2,
        "max_seq_length": 256,
        "num_moe_experts": 4,
        "num_heads": 2,
        "expert_dim": 256,
    },
    "highnoon-tiny": {
        "learning_rate": 3e-3,
        "vocab_size": 4096,
        "embedding_dim": 192,
        "num_reasoning_blocks": 2,
        "max_seq_length": 1024,
        "num_moe_experts": 8,
        "block_pattern": _TWO_PAIRS,
        "num_heads": 3,
        "expert_dim": 256,
    },
    "highnoon-small": {
        "learning_rate": 6e-4,
        "vocab_size": 32000,
        "embedding_dim": 512,
        "num_reasoning_blocks": 4,
        "num_moe_experts": 4,
        "block_pattern": _TWO_PAIRS,
        "num_heads": 8,
        "num_kv_heads": 4,
        "expert_dim": 2048,
    },
    "highnoon-base": {
        "learning_rate": 3e-4,
        "vocab_size": 32000,
        "embedding_dim": 768,
        "num_reasoning_blocks": 6,
        "num_moe_experts": 8,
        "block_pattern": _TWO_PAIRS,
        "num_heads": 12,
        "num_kv_heads": 4,
        "expert_dim": 1408,
    },
    "highnoon-large": {
        "learning_rate": 2.5e-4,
        "vocab_size": 32000,
        "embedding_dim": 1280,
        "num_reasoning_blocks": 8,
        "num_moe_experts": 8,
        "block_pattern": _TWO_PAIRS,
        "num_heads": 20,
        "num_kv_heads": 4,
        "expert_dim": 1824,
    },
    "highnoon-3b": {
        "learning_rate": 2e-4,
        "vocab_size": 32000,
        "embedding_dim": 2048,
        "num_reasoning_blocks": 12,
        "num_moe_experts": 8,
        "block_pattern": _TWO_PAIRS,
        "num_heads": 16,
        "num_kv_heads": 4,
        "expert_dim": 2304,
    },
    "highnoon-7b": {
        "learning_rate": 1.5e-4,
        "vocab_size": 32000,
        "embedding_dim": 3072,
        "num_reasoning_blocks": 16,
        "num_moe_experts": 12,
        "block_pattern": _TWO_PAIRS,
        "num_heads": 24,
        "num_kv_heads": 6,
        "expert_dim": 1728,
    },
    "highnoon-13b": {
        "learning_rate": 1.5e-4,
        "vocab_size": 32000,
        "embedding_dim": 4096,
        "num_reasoning_blocks": 20,
        "num_moe_experts": 12,
        "block_pattern": _TWO_PAIRS,
        "num_heads": 32,
        "num_kv_heads": 8,
        "expert_dim": 1920,
    },
    "highnoon-20b": {
        "learning_rate": 1.5e-4,
        "vocab_size": 32000,
        "embedding_dim": 4096,
        "num_reasoning_blocks": 24,
        "num_moe_experts": 12,
        "block_pattern": _TWO_PAIRS,
        "num_heads": 32,
        "num_kv_heads": 8,
        "expert_dim": 2496,
    },
    "hatching-nano": {
        **_HATCHING,
        "block_pattern": "bdh(multiplier=32)",
        "embedding_dim": 128,
        "num_reasoning_blocks": 6,
        "max_seq_length": 256,
        "batch_size": 8,
    },
    "hatching-small": {
        **_HATCHING,
        "embedding_dim": 128,
        "num_reasoning_blocks": 4,
        "max_seq_length": 256,
        "batch_size": 16,
    },
    "hatching-medium": {
        **_HATCHING,
        "embedding_dim": 256,
        "num_reasoning_blocks": 6,
        "max_seq_length": 512,
        "batch_size": 32,
    },
    "hatching-large": {
        **_HATCHING,
        "embedding_dim": 512,
        "num_reasoning_blocks": 12,
        "max_seq_length": 1024,
        "batch_size": 64,
    },
}
GENERAL_PRESETS = tuple(name for name in PRESETS if name.startswith("highnoon-"))
"""The presets from which a run that names none chooses."""


def get_preset_config(name: str, **overrides: Any) -> Config:
    """Returns the configuration of a preset, with model or training fields overridden by keyword.

    Its learning rate is that of the preset. It counts as not given (see `is_given`), so that one that is
    given anywhere takes precedence.

    Raises:
        ConfigError: an unknown preset or override, naming the nearest known one.
    """
    require_text("preset", name)
    canonical = name if name in PRESETS else f"highnoon-{name}"
    if canonical not in PRESETS:
        near = nearest_name(canonical, PRESETS)
        hint = f"; did you mean `{near}`?" if near is not None else ""
        raise ConfigError(f"no preset {shown(name)}{hint} (presets: {', '.join(PRESETS)})")
    fields = dict(PRESETS[canonical])
    of_training = {name: fields.pop(name) for name in _OF_TRAINING if name in fields}
    training = TrainingConfig(learning_rate=default(fields.pop("learning_rate")), **of_training)
    return override(Config(model=ModelConfig(**fields), training=training), **overrides)
