"""The clipped surrogate of a policy gradient, and the weight that each token has in the loss."""

from __future__ import annotations

from typing import Any

from keras import ops


def at_sampled(values: Any, mask: Any) -> Any:
    """Returns values where the mask is above 0, and 0 elsewhere, even where a value is not finite.

    Args:
        values: (b, t).
        mask: (b, t).
    """
    return ops.where(mask > 0, values, ops.zeros_like(values))


def log_ratios(log_probs: Any, old_log_probs: Any, mask: Any, level: str) -> Any:
    """Returns the logarithm of the ratio of the policy to that of the rollout, for each token.

        token      log r[t] = log_probs[t] - old_log_probs[t]
        sequence   log r[t] = mean over the tokens of the row, the same at each of them

    Args:
        log_probs: (b, t), of the sampled tokens, with a gradient.
        old_log_probs: (b, t), when they were sampled.
        mask: (b, t), above 0 at sampled tokens. Others are 0 in the result.
        level: `"token"` or `"sequence"`.

    Sequence: Zheng et al. 2025, GSPO (arXiv:2507.18071), equation 7.
    """
    is_sampled = ops.cast(mask > 0, log_probs.dtype)
    differences = at_sampled(log_probs - old_log_probs, mask)
    if level == "token":
        return differences
    lengths = ops.maximum(ops.sum(is_sampled, axis=-1, keepdims=True), 1.0)
    return is_sampled * ops.sum(differences, axis=-1, keepdims=True) / lengths


def clipped_surrogate(
    ratios: Any, advantages: Any, clip_low: float | None, clip_high: float | None
) -> tuple[Any, Any]:
    """Returns the surrogate of each token, to be maximized, and where it is clipped.

        surrogate = min(r A, clip(r, 1 - clip_low, 1 + clip_high) A)

    Where it is clipped its gradient is zero: the policy gains nothing by moving further.

    Args:
        ratios: (b, t).
        advantages: (b, t).
        clip_low: None for no lower bound.
        clip_high: None for no upper bound.

    Returns:
        The surrogate (b, t), and (b, t) floats that are 1 where it is clipped.

    Schulman et al. 2017 (arXiv:1707.06347), equation 7; two bounds: Yu et al. 2025 (arXiv:2503.14476).
    """
    bounded = ratios
    if clip_low is not None:
        bounded = ops.maximum(bounded, 1.0 - clip_low)
    if clip_high is not None:
        bounded = ops.minimum(bounded, 1.0 + clip_high)
    unclipped, clipped = ratios * advantages, bounded * advantages
    return ops.minimum(unclipped, clipped), ops.cast(clipped < unclipped, ratios.dtype)


def token_weights(weights: Any, normalizer: str, constant_length: float) -> Any:
    """Returns the weight (b, t) that each token's loss has in the sum.

        tokens      w[t]
        sequences   w[t] / tokens of the row
        constant    w[t] / constant_length

    Args:
        weights: (b, t): 0 where a token was not sampled, else how often its row counts, usually 1.
        normalizer: One of `NORMALIZERS`.
        constant_length: Tokens.
    """
    if normalizer == "tokens":
        return weights
    if normalizer == "constant":
        return weights / constant_length
    lengths = ops.sum(ops.cast(weights > 0, weights.dtype), axis=-1, keepdims=True)
    return weights / ops.maximum(lengths, 1.0)


def loss_count(weights: Any, normalizer: str) -> Any:
    """Returns what divides the sum of a batch: its tokens, or its rows that have any.

    Args:
        weights: As of `token_weights`.
        normalizer: One of `NORMALIZERS`.
    """
    return ops.sum(weights) if normalizer == "tokens" else ops.sum(ops.max(weights, axis=-1))


def value_losses(values: Any, returns: Any, old_values: Any, clip: float | None) -> Any:
    """Returns half the squared error of each value; with `clip` the larger one of it and of the clipped one.

    Args:
        values: (b, t), with a gradient.
        returns: (b, t), the targets.
        old_values: (b, t), of the rollout.
        clip: How far a value may move from that of the rollout; None for any distance.
    """
    losses = ops.square(values - returns)
    if clip is not None:
        near = old_values + ops.clip(values - old_values, -clip, clip)
        losses = ops.maximum(losses, ops.square(near - returns))
    return 0.5 * losses
