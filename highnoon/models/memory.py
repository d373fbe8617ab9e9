"""Parameters and memory of a configuration's model, and whether it fits into this machine."""

from __future__ import annotations

import pathlib
from typing import Any, NamedTuple

import psutil

from highnoon.config import PRESETS, ModelConfig, get_preset_config
from highnoon.models.norms import norm_parameters
from highnoon.models.parts import BoundPart
from highnoon.models.patterns import MAX_LAYERS, bind_pattern, parse_pattern

_CGROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)
_WEIGHT_BYTES = 4  # variables are float32 under every policy that trains
_COUNTER_COPIES = 3  # between steps, at the beginning of a step, and what it adds to
_TRAINING_COPIES = 4  # weights, gradients, and AdamW's two moments


class LimitExceededError(ValueError):
    """A model that does not fit into this machine's memory."""


class ModelSize(NamedTuple):
    """Parameters and bytes of one configuration.

    Args:
        name: Of the preset.
        total: Parameters.
        active: Parameters that one token passes, without the experts that it does not choose. Each counts
            once, however often a shared block applies it.
        bytes_to_run: Weights and the cache of one sequence of `max_seq_length`.
        bytes_to_train: Weights, gradients and AdamW's moments; activations are not included.
    """

    name: str
    total: int
    active: int
    bytes_to_run: int
    bytes_to_train: int


def count_parameters(config: ModelConfig, active: bool = False) -> int:
    """Returns the number of parameters without building the model.

    ```
    total = d v (twice where untied) + blocks * (sum of the pairs' parts, each with its norms) + a norm
            + d max_seq_length with learned positions
    ```

    With `share_blocks` there is one block, however often it is applied.

    Args:
        config: The model's configuration.
        active: Count only what one token passes: `num_experts_per_tok` experts instead of all.
    """
    parts = part_parameters(config, active)
    num_blocks = 1 if config.share_blocks else config.num_reasoning_blocks
    return parts["embedding"] + num_blocks * block_parameters(config, active) + parts["head"]


def block_parameters(config: ModelConfig, active: bool = False) -> int:
    """Returns the number of parameters of one reasoning block."""
    return sum(count for _, count in part_parameters(config, active)["block"])


def part_parameters(config: ModelConfig, active: bool = False) -> dict[str, Any]:
    """Returns the parameters of `embedding` with learned positions, of the parts of one `block` as pairs of
    name and count, each with its norms, and of the last norm with the `head`."""
    width, norm = config.embedding_dim, norm_parameters(config)
    norms = norm * (2 if config.post_norms else 1)
    block = []
    for bound in block_parts(config):
        count = bound.part.active_parameters if active else bound.part.parameters
        block.append((bound.text, count(bound.config) + (0 if is_whole_block(bound) else norms)))
    embedding = config.vocab_size * width
    head = (norm if config.final_norm else 0) + (0 if config.tie_embeddings else embedding)
    if config.position_embedding == "learned":
        embedding += config.max_seq_length * width
    return {"embedding": embedding, "block": block, "head": head}


def block_parts(config: ModelConfig) -> list[BoundPart]:
    """Returns the mixers and feed-forwards of one block, in order."""
    return [bound for pair in bind_pattern(config) for bound in pair if bound is not None]


def is_whole_block(bound: BoundPart) -> bool:
    """Whether a part has norms and a residual of its own."""
    return getattr(bound.part, "is_whole_block", False)


def bytes_to_run(config: ModelConfig) -> int:
    """Returns the bytes of the weights and of one full-length sequence's cache, in float32."""
    return _WEIGHT_BYTES * count_parameters(config) + cache_bytes(config)


def cache_bytes(config: ModelConfig) -> int:
    """Returns the bytes of the cache of one sequence of `max_seq_length` tokens, in float32."""
    cache = sum(mixer.part.cache_numbers(mixer.config) for mixer, _ in bind_pattern(config))
    return _WEIGHT_BYTES * config.num_reasoning_blocks * cache


def bytes_to_train(config: ModelConfig) -> int:
    """Returns the bytes of weights, gradients, AdamW's moments and what layers sum up during a step;
    activations are not included."""
    num_blocks = 1 if config.share_blocks else config.num_reasoning_blocks
    counters = num_blocks * sum(bound.part.counter_numbers(bound.config) for bound in block_parts(config))
    return _WEIGHT_BYTES * (_TRAINING_COPIES * count_parameters(config) + _COUNTER_COPIES * counters)


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
        (model_size(name, get_preset_config(name).model) for name in PRESETS),
        key=lambda row: row.total,
    )


def available_memory() -> int:
    """Returns the bytes that this process can still allocate, in the machine or its control group."""
    free = [psutil.virtual_memory().available]
    for limit_path, used_path in _CGROUPS:
        limit, used = _read_number(limit_path), _read_number(used_path)
        if limit is not None and used is not None:
            free.append(max(0, limit - used))
    return min(free)


def total_memory() -> int:
    """Returns all bytes of the machine, or those that its control group may use."""
    limits = [_read_number(limit_path) for limit_path, _ in _CGROUPS]
    return min([psutil.virtual_memory().total, *(limit for limit in limits if limit is not None)])


def _read_number(path: str) -> int | None:
    file = pathlib.Path(path)
    text = file.read_text(encoding="ascii").strip() if file.is_file() else ""
    return int(text) if text.isdigit() else None


def require_memory(config: ModelConfig, allow_oversize: bool = False) -> None:
    """Checks that a model fits into memory, before anything is allocated.

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
