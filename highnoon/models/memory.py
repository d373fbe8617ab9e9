"""What a model of a configuration holds, and whether this machine has room for it."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import psutil

from highnoon.config import PRESETS, ModelConfig
from highnoon.models.patterns import MAX_LAYERS, parse_pattern

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
    total = d v (twice where untied) + blocks * (sum of the pairs' parts, each with a norm of d) + d
    ```

    Args:
        config: The model's configuration.
        active: Count only what one token passes: `num_experts_per_tok` experts in place of all.
    """
    parts = part_parameters(config, active)
    block = sum(count for _, count in parts["block"])
    return parts["embedding"] + config.num_reasoning_blocks * block + parts["head"]


def part_parameters(config: ModelConfig, active: bool = False) -> dict[str, Any]:
    """Returns the parameters of `embedding`, of the parts of one `block` as pairs of name and count, each
    with the norm before it, and of the last norm with the `head`."""
    width = config.embedding_dim
    block: list[tuple[str, int]] = []
    for mixer, feed_forward in parse_pattern(config.block_pattern):
        block.append((mixer, _MIXER_PARAMETERS[mixer](config) + width))
        if feed_forward is not None:
            block.append((feed_forward, _feed_forward_parameters(config, feed_forward, active) + width))
    embedding = config.vocab_size * width
    head = width if config.tie_embeddings else width + embedding
    return {"embedding": embedding, "block": block, "head": head}


def _feed_forward_parameters(config: ModelConfig, kind: str, active: bool) -> int:
    width = config.embedding_dim
    if kind == "mlp":
        return 3 * width * config.resolved_ffn_dim
    experts = config.num_experts_per_tok if active else config.num_moe_experts
    has_bias = config.router_type in ("sigmoid", "causal_expert_choice")
    return (width + has_bias) * config.num_moe_experts + 3 * width * config.resolved_expert_dim * (
        experts + config.num_shared_experts
    )


def _attention_parameters(config: ModelConfig) -> int:
    """(2 h + 2 g) k d, and two norms of k."""
    heads, kv_heads, size = config.resolved_num_heads, config.resolved_num_kv_heads, config.resolved_head_dim
    norms = 2 * size if config.qk_norm else 0
    return 2 * config.embedding_dim * size * (heads + kv_heads) + norms


def _latent_attention_parameters(config: ModelConfig) -> int:
    width, heads = config.embedding_dim, config.resolved_num_heads
    latent, unturned, turned, value = config.resolved_latent_dims
    query = heads * (unturned + turned)
    rank = config.q_lora_rank
    queries = width * query if rank is None else width * rank + rank + rank * query
    sources = width * (latent + turned) + latent + latent * heads * (unturned + value)
    return queries + sources + heads * value * width


def _mamba_parameters(config: ModelConfig) -> int:
    width, inner, state = config.embedding_dim, config.ssm_inner_dim, config.state_dim or 16
    rank = config.ssm_time_step_rank or -(-width // 16)
    convolution = (config.conv_kernel_size + 1) * inner
    step = inner * (rank + 2 * state) + rank * inner + inner
    return 3 * width * inner + convolution + step + inner * state + inner


def _mamba2_parameters(config: ModelConfig) -> int:
    width, inner = config.embedding_dim, config.ssm_inner_dim
    heads, channels = inner // config.resolved_ssm_head_dim, _mamba2_channels(config)
    return (
        width * (inner + channels + heads)
        + (config.conv_kernel_size + 1) * channels
        + 3 * heads
        + inner
        + inner * width
    )


def _mamba2_channels(config: ModelConfig) -> int:
    return config.ssm_inner_dim + 2 * config.ssm_num_groups * (config.state_dim or 64)


def _gated_delta_parameters(config: ModelConfig) -> int:
    width, heads, size = config.embedding_dim, config.resolved_num_heads, config.resolved_head_dim
    keys, values = config.resolved_num_kv_heads * size, heads * size
    inputs = width * 2 * (keys + values) + width * 2 * heads
    return inputs + config.conv_kernel_size * (2 * keys + values) + 2 * heads + size + values * width


_MIXER_PARAMETERS: dict[str, Callable[[ModelConfig], int]] = {
    "attention": _attention_parameters,
    "sliding_attention": _attention_parameters,
    "latent_attention": _latent_attention_parameters,
    "mamba": _mamba_parameters,
    "mamba2": _mamba2_parameters,
    "gated_delta_rule": _gated_delta_parameters,
}


def _cache_numbers(config: ModelConfig, mixer: str) -> int:
    """Numbers in one sequence's cache of full length."""
    kv_dim = config.resolved_num_kv_heads * config.resolved_head_dim
    window = config.conv_kernel_size - 1
    if mixer in ("attention", "sliding_attention"):
        return 2 * kv_dim * config.max_seq_length
    if mixer == "latent_attention":
        latent, _, turned, _ = config.resolved_latent_dims
        return (latent + turned) * config.max_seq_length
    if mixer == "mamba":
        return config.ssm_inner_dim * (window + (config.state_dim or 16))
    if mixer == "mamba2":
        return window * _mamba2_channels(config) + config.ssm_inner_dim * (config.state_dim or 64)
    values = config.resolved_num_heads * config.resolved_head_dim
    return window * (2 * kv_dim + values) + values * config.resolved_head_dim


def bytes_to_run(config: ModelConfig) -> int:
    """Returns the bytes of the weights and of one full-length sequence's cache, in float32."""
    cache = sum(_cache_numbers(config, mixer) for mixer, _ in parse_pattern(config.block_pattern))
    return _WEIGHT_BYTES * (count_parameters(config) + config.num_reasoning_blocks * cache)


def bytes_to_train(config: ModelConfig) -> int:
    """Returns the bytes of weights, gradients and AdamW's moments; activations come on top."""
    return _WEIGHT_BYTES * _TRAINING_COPIES * count_parameters(config)


def model_size(name: str, config: ModelConfig) -> ModelSize:
    """Returns the row of one configuration."""
    return ModelSize(
        name,
        count_parameters(config),
        count_parameters(config, active=True),
        bytes_to_run(config),
        bytes_to_train(config),
    )


def model_table() -> list[ModelSize]:
    """Returns one row a preset, smallest first."""
    return sorted(
        (model_size(name, ModelConfig(**fields)) for name, fields in PRESETS.items()),
        key=lambda row: row.total,
    )


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
        LimitExceededError: running the model needs more memory than is available, or the stack has more than
            `MAX_LAYERS` layers.
    """
    layers = config.num_reasoning_blocks * len(parse_pattern(config.block_pattern))
    if layers > MAX_LAYERS and not allow_oversize:
        raise LimitExceededError(
            f"a stack of {layers:,} layers takes too long to build; expected at most {MAX_LAYERS:,}; lower "
            "`num_reasoning_blocks`, or pass allow_oversize=True"
        )
    needed, available = bytes_to_run(config), available_memory()
    if needed > available and not allow_oversize:
        raise LimitExceededError(
            f"a model of {count_parameters(config):,} parameters needs {needed / 2**30:.1f} GiB to run "
            f"(and {bytes_to_train(config) / 2**30:.1f} GiB to train) and {available / 2**30:.1f} GiB are "
            "available; choose a smaller preset, or pass allow_oversize=True"
        )
