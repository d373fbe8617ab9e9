"""The divergence of a policy from its reference: a sum over the vocabulary, or an estimate from samples."""

from __future__ import annotations

from typing import Any

from keras import ops

from highnoon.alignment.policy_gradient.presets import KL_ESTIMATORS
from highnoon.alignment.policy_gradient.surrogate import at_sampled
from highnoon.config import require_choice


def exact_kl(log_probs: Any, reference_log_probs: Any) -> Any:
    """Returns KL(policy || reference) of the next token's distribution at each position.

        kl[t] = sum over v of p[t, v] (log p[t, v] - log reference[t, v])

    Args:
        log_probs: (b, t, v).
        reference_log_probs: (b, t, v).
    """
    return ops.sum(ops.exp(log_probs) * (log_probs - reference_log_probs), axis=-1)


def later_sums(values: Any, mask: Any) -> Any:
    """Returns, at each position, the sum of the values at later positions, without a gradient.

    Args:
        values: (b, t).
        mask: (b, t), above 0 where a value counts.
    """
    counted = ops.stop_gradient(at_sampled(values, mask))
    return ops.flip(ops.cumsum(ops.flip(counted, axis=-1), axis=-1), axis=-1) - counted


def estimated_kl(estimator: str, log_probs: Any, reference_log_probs: Any) -> Any:
    """Returns an estimate of KL(policy || reference) from the sampled tokens.

        d  = log_probs - reference_log_probs
        k1 = d                      unbiased, can be negative
        k2 = d^2 / 2                biased, never negative
        k3 = exp(-d) - 1 + d        unbiased, never negative

    That an estimate is unbiased says nothing of its gradient. As a loss, k1 has an expected gradient of
    zero, k3 has that of KL(reference || policy), and k2 that of KL(policy || reference), the latter two for
    the next token alone: what a token does to the divergence of later ones is missing.

    Args:
        estimator: `"k1"`, `"k2"` or `"k3"`.
        log_probs: (b, t), of the sampled tokens.
        reference_log_probs: (b, t), of the same tokens.

    Schulman 2020, "Approximating KL Divergence"; their gradients: Tang & Munos 2025 (arXiv:2506.09477).
    """
    require_choice("estimator", estimator, KL_ESTIMATORS)
    difference = log_probs - reference_log_probs
    if estimator == "k1":
        return difference
    if estimator == "k2":
        return 0.5 * ops.square(difference)
    return ops.exp(-difference) - 1.0 + difference
