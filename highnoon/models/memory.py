"""What a model of a configuration holds, and whether this machine has room for it."""

from __future__ import annotations

import pathlib
from typing import NamedTuple

import psutil

from highnoon.config import PRESETS, ModelConfig
from highnoon.models.patterns import parse_pattern

_CGROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)
_WEIGHT_BYTES = 4  # variables are float32 under every policy that trains
_TRAINING_COPIES = 4  # weights, gradients, and AdamW's two moments


class LimitExceededError(ValueError):
    """A model that this machine's memory cannot hold."""


class ModelSize(NamedTuple):
    """Parameters and bytes of one configuration.

    Args:
        name: Of the preset.
        total: Parameters.
        active: Parameters that one token passes; an expert that it does not choose is not among them.
        bytes_to_run: Weights and the cache of one sequence of `max_seq_length`.
        bytes_to_train: Weights, gradients and AdamW's moments; activations come on top.
    """

    name: str
    total: int
    active: int
    bytes_to_run: int
    bytes_to_train: int


def count_parameters(config: ModelConfig, active: bool = False) -> int:
    """Returns the number of parameters without building the model.

    ```
    attention = 2 d^2 + 2 d g k                 mlp = 3 d f
    moe       = d e + 3 d f_e (e + shared)      each with a norm of d before it
    total     = d v (twice where untied) + blocks * (sum of pairs) + d
    ```

    Args:
        config: The model's configuration.
        active: Count only what one token passes: `num_experts_per_tok` experts in place of all.
    """
    width = config.embedding_dim
    kv_width = config.resolved_num_kv_heads * (width // config.resolved_num_heads)
    experts = config.num_experts_per_tok if active else config.num_moe_experts
    parts = {
        "attention": 2 * width * width + 2 * width * kv_width,
        "mlp": 3 * width * config.resolved_ffn_dim,
        "moe": width * config.num_moe_experts
        + 3 * width * config.resolved_expert_dim * (experts + config.num_shared_experts),
    }
    block = sum(parts[part] + width for pair in parse_pattern(config.block_pattern) for part in pair)
    embeddings = (1 if config.tie_embeddings else 2) * config.vocab_size * width
    return embeddings + config.num_reasoning_blocks * block + width


def bytes_to_run(config: ModelConfig) -> int:
    """Returns the bytes of the weights and of one full-length sequence's cache, in float32."""
    kv_width = config.resolved_num_kv_heads * (config.embedding_dim // config.resolved_num_heads)
    num_caches = config.num_reasoning_blocks * len(parse_pattern(config.block_pattern))
    cache = 2 * kv_width * config.max_seq_length * num_caches
    return _WEIGHT_BYTES * (count_parameters(config) + cache)


def bytes_to_train(config: ModelConfig) -> int:
    """Returns the bytes of weights, gradients and AdamW's moments; activations come on top."""
    return _WEIGHT_BYTES * _TRAINING_COPIES * count_parameters(config)


def model_size(name: str, config: ModelConfig) -> ModelSize:
    """Returns the row of one configuration."""
    return ModelSize(
        name, count_parameters(config), count_parameters(config, active=True),
        bytes_to_run(config), bytes_to_train(config),
    )


def model_table() -> list[ModelSize]:
    """Returns one row a preset, smallest first."""
    return sorted((model_size(name, ModelConfig(**fields)) for name, fields in PRESETS.items()),
                  key=lambda row: row.total)


def available_memory() -> int:
    """Returns the bytes that this process can still take: the machine's or its control group's."""
    free = [psutil.virtual_memory().available]
    for limit_path, used_path in _CGROUPS:
        limit, used = _read_number(limit_path), _read_number(used_path)
        if limit is not None and used is not None:
            free.append(max(0, limit - used))
    return min(free)


def _read_number(path: str) -> int | None:
    file = pathlib.Path(path)
    text = file.read_text(encoding="ascii").strip() if file.is_file() else ""
    return int(text) if text.isdigit() else None


def require_memory(config: ModelConfig, allow_oversize: bool = False) -> None:
    """Refuses a model that would not fit, before anything is allocated.

    Raises:
        LimitExceededError: running the model needs more memory than is available.
    """
    needed, available = bytes_to_run(config), available_memory()
    if needed > available and not allow_oversize:
        raise LimitExceededError(
            f"a model of {count_parameters(config):,} parameters needs {needed / 2**30:.1f} GiB to run "
            f"(and {bytes_to_train(config) / 2**30:.1f} GiB to train) and {available / 2**30:.1f} GiB are "
            "available; choose a smaller preset, or pass allow_oversize=True"
        )
