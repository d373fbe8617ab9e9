"""Floating point operations and stored activations of a language model in training, by formula."""

from __future__ import annotations

from highnoon.config import ModelConfig
from highnoon.models.memory import block_parameters, block_parts, count_parameters, is_whole_block

_WIDE = 4  # bytes of float32
_CHUNK_LOGITS = 2**25
_LOGIT_COPIES = 2  # logits, and their softmax
_HEAD_COPIES = 3  # the head's gradient, the sum that it is added to, the labels' part


def flops_per_token(config: ModelConfig, row_length: int) -> float:
    """Returns the operations of forward and backward pass for a token.

    ```
    6 * (parameters that a token passes) + 3 * blocks * (what its mixers add, as attention's scores)
    ```

    Parameters of a shared block count each time that it is applied.

    Recomputation in the backward pass is not counted. Chowdhery et al. 2022, PaLM (arXiv:2204.02311),
    appendix B.

    Args:
        config: The model's configuration.
        row_length: Tokens in a row.
    """
    passed = count_parameters(config, active=True)
    if config.share_blocks:
        passed += (config.num_reasoning_blocks - 1) * block_parameters(config, active=True)
    if not config.tie_embeddings:
        passed -= config.vocab_size * config.embedding_dim  # looking up a row multiplies nothing
    if config.position_embedding == "learned":
        passed -= config.max_seq_length * config.embedding_dim
    mixing = sum(bound.part.flops(bound.config, row_length) for bound in block_parts(config))
    return 6.0 * passed + 3.0 * config.num_reasoning_blocks * mixing


def activation_bytes(
    config: ModelConfig, rows: int, length: int, dtype: str, is_checkpointed: bool = False
) -> int | None:
    """Returns about how many bytes one micro-batch takes on one device besides weights and gradients.

    ```
    stored = blocks * sum over pairs of (norm and mixer + norm and feed-forward) * tokens
    peak   = stored + the larger of (a third of the widest part, while its gradient is computed)
                                and (hidden states, logits and head of one chunk of the loss)
    ```

    Counted are the tensors that the backward passes use, in float32 where a layer computes so under every
    policy, else in the policy's dtype. With gradient checkpointing a block stores its input alone, and one
    block is complete while it is recomputed. benchmarks/training_memory.py measures the same, and finds 1.0
    to 1.3 times less, and for BDH up to 1.3 times more.

    Args:
        config: The model's configuration.
        rows: Rows in the micro-batch.
        length: Tokens in a row.
        dtype: In which the layers compute.
        is_checkpointed: Whether gradient checkpointing is on.

    Returns:
        Bytes, or None where a part of the pattern has no estimate.
    """
    tokens = rows * length
    size = 2 if dtype in ("bfloat16", "float16") else _WIDE
    bound_parts = block_parts(config)
    known = [bound.part.activations(bound.config, length) for bound in bound_parts]
    stored = [part for part in known if part is not None]
    if len(stored) < len(known):
        return None
    dropped = config.embedding_dim if config.dropout else 0  # the mask
    norm = 3 * config.embedding_dim * (2 if config.post_norms else 1)
    around = [0 if is_whole_block(bound) else norm + dropped for bound in bound_parts]
    parts = [
        (_WIDE * (extra + part.wide) + size * part.narrow) * tokens
        for extra, part in zip(around, stored, strict=True)
    ]
    block = sum(parts) + sum(part.copies * size for part in stored)
    if is_checkpointed:
        total = config.num_reasoning_blocks * config.embedding_dim * size * tokens + block
    else:
        total = config.num_reasoning_blocks * block
    return int(total + max(max(parts) / 3, _loss_bytes(config, tokens)))


def _loss_bytes(config: ModelConfig, tokens: int) -> int:
    """Hidden states and their gradient, a chunk's logits, the head's gradient."""
    logits = min(tokens * config.vocab_size, max(_CHUNK_LOGITS, config.vocab_size))
    head = config.vocab_size * config.embedding_dim
    return _WIDE * (4 * tokens * config.embedding_dim + _LOGIT_COPIES * logits + _HEAD_COPIES * head)
