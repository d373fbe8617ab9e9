"""What a micro-batch keeps for the backward pass, by formula."""

from __future__ import annotations

from collections.abc import Callable

import keras

from highnoon.config import ModelConfig
from highnoon.models import LanguageModel
from highnoon.models.patterns import parse_pattern

_WIDE = 4  # bytes of float32
_CHUNK_LOGITS = 2**25
_LOGIT_COPIES = 2  # logits, and their softmax
_HEAD_COPIES = 3  # the head's gradient, the sum it is made in, the labels' part
_CHUNK = 64  # places in a chunk of the recurrent mixers
_TARGETS = 128  # targets in a chunk of attention over rows that keep its weights
_ATTENTION_KEEPS = 1024  # longer rows make attention's weights again


def activation_bytes(model: keras.Model, rows: int, length: int) -> int | None:
    """Returns about how many bytes one micro-batch takes on one device beside weights and gradients.

    ```
    kept = blocks * sum over pairs of (norm and mixer + norm and feed-forward) * tokens
    peak = kept + the larger of (a third of the widest part, while its gradient is made)
                            and (hidden states, logits and head of one chunk of the loss)
    ```

    Counted are the tensors that the backward passes take over, float32 where a layer computes so under every
    policy, else of the policy's size. With gradient checkpointing a block keeps its input alone, and one
    block is kept whole while it is run again. benchmarks/training_memory.py measures the same, and finds
    1.0 to 1.3 times less.

    Args:
        model: Any model; this says nothing of one that is not a `LanguageModel`.
        rows: Rows in the micro-batch.
        length: Tokens in a row.

    Returns: Bytes, or None where the model's layers are not known.
    """
    if not isinstance(model, LanguageModel):
        return None
    config, tokens = model.config, rows * length
    narrow = keras.backend.standardize_dtype(model.backbone.compute_dtype)
    size = 2 if narrow in ("bfloat16", "float16") else _WIDE
    parts = [part * tokens for part in _parts(config, length, size)]
    kernels = [_expert_copies(config) * size if kind == "moe" else 0 for _, kind in _pairs(config)]
    block = sum(parts) + sum(kernels)
    if model.backbone.gradient_checkpointing:
        kept = config.num_reasoning_blocks * config.embedding_dim * size * tokens + block
    else:
        kept = config.num_reasoning_blocks * block
    return int(kept + max(max(parts) / 3, _loss_bytes(config, tokens)))


def _pairs(config: ModelConfig) -> list[tuple[str, str | None]]:
    return parse_pattern(config.block_pattern)


def _parts(config: ModelConfig, length: int, size: int) -> list[float]:
    """Bytes a token of each mixer and each feed-forward of a block, its norm among them."""
    numbers = []
    for mixer, feed_forward in _pairs(config):
        numbers.append(_MIXERS[mixer](config, length))
        if feed_forward is not None:
            numbers.append(_FEED_FORWARDS[feed_forward](config))
    dropped = config.embedding_dim if config.dropout else 0  # the mask
    norm = 3 * config.embedding_dim
    return [_WIDE * (norm + wide + dropped) + size * narrow for wide, narrow in numbers]


def _loss_bytes(config: ModelConfig, tokens: int) -> int:
    """Hidden states and their gradient, a chunk's logits, the head's gradient."""
    logits = min(tokens * config.vocab_size, max(_CHUNK_LOGITS, config.vocab_size))
    head = config.vocab_size * config.embedding_dim
    return _WIDE * (4 * tokens * config.embedding_dim + _LOGIT_COPIES * logits + _HEAD_COPIES * head)


# Each of these returns how many numbers of a token a layer keeps: in float32, and of the policy's size.


def _attention(config: ModelConfig, length: int, window: int | None = None) -> tuple[float, float]:
    """Query and key before, while and after they are turned, value, output, and the weights."""
    heads, size = config.resolved_num_heads, config.resolved_head_dim
    query, key = heads * size, config.resolved_num_kv_heads * size
    turned = 5 * query + 5 * key + 2 * size
    return turned + heads * _sources(length, window), 2 * config.embedding_dim + 4 * query + 4 * key


def _sources(length: int, window: int | None) -> float:
    """Mean number of keys whose weights are kept for a query; see `blockwise_attention`."""
    if length > _ATTENTION_KEEPS:
        return 1.0
    kept, window = 0, window or length
    for start in range(0, length, _TARGETS):
        end = min(start + _TARGETS, length)
        kept += (end - start) * (end - max(0, start - window + 1))
    return kept / length


def _sliding_attention(config: ModelConfig, length: int) -> tuple[float, float]:
    return _attention(config, length, config.resolved_sliding_window)


def _latent_attention(config: ModelConfig, length: int) -> tuple[float, float]:
    heads, width = config.resolved_num_heads, config.embedding_dim
    latent, unturned, turned, value = config.resolved_latent_dims
    rank = config.q_lora_rank or 0
    wide = 3 * latent + 3 * rank + (5 * heads + 6) * turned + heads * _sources(length, None)
    joined, expanded = 8 * (unturned + turned) + 4 * turned, unturned + 6 * value
    return wide, 2 * width + latent + turned + 2 * rank + heads * (joined + expanded)


def _convolution(config: ModelConfig, channels: int) -> int:
    """The input, shifted once for each place that the kernel sees."""
    return config.conv_kernel_size * channels


def _mamba(config: ModelConfig, length: int) -> tuple[float, float]:
    inner, width = config.ssm_inner_dim, config.embedding_dim
    return 20 * inner + 4 * (config.state_dim or 16), _convolution(config, inner) + inner + 2 * width


def _mamba2(config: ModelConfig, length: int) -> tuple[float, float]:
    inner, state, width = config.ssm_inner_dim, config.state_dim or 64, config.embedding_dim
    groups = config.ssm_num_groups * state
    channels = inner + 2 * groups
    states = inner * state / min(_CHUNK, length)
    return 14 * inner + states + channels + 4 * groups, (
        _convolution(config, channels) + 2 * channels + inner + 2 * width
    )


def _gated_delta_rule(config: ModelConfig, length: int) -> tuple[float, float]:
    heads, size = config.resolved_num_heads, config.resolved_head_dim
    groups, chunk = config.resolved_num_kv_heads, min(_CHUNK, length)
    keys, values = groups * size, heads * size
    channels = 2 * keys + values
    squares = 9 * heads * chunk + 2 * groups * chunk  # within a chunk, with the inverse's levels
    wide = squares + channels + 11 * keys + 22 * values + 2 * values * size / chunk
    return wide, _convolution(config, channels) + 4 * config.embedding_dim + 2 * (keys + values)


def _mlp(config: ModelConfig) -> tuple[float, float]:
    """The input; gate, its activation, up, and the product of both."""
    return 0, config.embedding_dim + 4 * config.resolved_ffn_dim


def _moe(config: ModelConfig) -> tuple[float, float]:
    """Of each choice what `_mlp` keeps, gathered, and what the expert made of it, twice."""
    inner, choices = config.resolved_expert_dim, config.num_experts_per_tok
    shared = config.num_shared_experts * 4 * inner
    return 0, choices * (3 * config.embedding_dim + 4 * inner) + shared


def _expert_copies(config: ModelConfig) -> int:
    """Numbers in the kernels of a mixture, which are unstacked for their products."""
    return 3 * config.num_moe_experts * config.embedding_dim * config.resolved_expert_dim


_MIXERS: dict[str, Callable[[ModelConfig, int], tuple[float, float]]] = {
    "attention": _attention,
    "sliding_attention": _sliding_attention,
    "latent_attention": _latent_attention,
    "mamba": _mamba,
    "mamba2": _mamba2,
    "gated_delta_rule": _gated_delta_rule,
}
_FEED_FORWARDS: dict[str, Callable[[ModelConfig], tuple[float, float]]] = {"mlp": _mlp, "moe": _moe}
