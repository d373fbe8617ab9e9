"""The presets: named model configurations."""

from __future__ import annotations

from typing import Any

from highnoon.config.config import Config, override
from highnoon.config.config_error import ConfigError
from highnoon.config.model_config import ModelConfig
from highnoon.config.ranges import require_text
from highnoon.files.nearest_name import nearest_name
from highnoon.files.shown import shown

_TWO_PAIRS = "attention+moe, attention+moe"

PRESETS: dict[str, dict[str, Any]] = {
    "highnoon-nano": {
        "vocab_size": 512,
        "embedding_dim": 128,
        "num_reasoning_blocks": 2,
        "max_seq_length": 256,
        "num_moe_experts": 4,
        "num_heads": 2,
        "expert_dim": 256,
    },
    "highnoon-tiny": {
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
        "vocab_size": 32000,
        "embedding_dim": 4096,
        "num_reasoning_blocks": 24,
        "num_moe_experts": 12,
        "block_pattern": _TWO_PAIRS,
        "num_heads": 32,
        "num_kv_heads": 8,
        "expert_dim": 2496,
    },
}


def get_preset_config(name: str, **overrides: Any) -> Config:
    """Returns the configuration of a preset, with model or training fields overridden by keyword.

    Raises:
        ConfigError: an unknown preset or override, naming the nearest known one.
    """
    require_text("preset", name)
    canonical = name if name in PRESETS else f"highnoon-{name}"
    if canonical not in PRESETS:
        near = nearest_name(canonical, PRESETS)
        hint = f"; did you mean `{near}`?" if near is not None else ""
        raise ConfigError(f"no preset {shown(name)}{hint} (presets: {', '.join(PRESETS)})")
    return override(Config(model=ModelConfig(**PRESETS[canonical])), **overrides)
