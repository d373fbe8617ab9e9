"""Losses of a router: an even load and small logits."""

from __future__ import annotations

from typing import NamedTuple

from keras import ops


class LossWeights(NamedTuple):
    """Weights of the router's losses; one at 0 is not computed.

    Args:
        balance: Of the balance loss.
        z: Of the z loss.
        load_entropy: Of the loss on uneven mean probabilities.
    """

    balance: float = 0.0
    z: float = 0.0
    load_entropy: float = 0.0


def router_losses(logits, probabilities, counts, is_token, top_k: int, weights: LossWeights):
    """Weighted losses of a router, a scalar that is a mean over tokens.

    ```
    balance      = sum over rows of tokens_row * e * sum_e f_e P_e / tokens
    z            = mean over tokens of logsumexp(logits) ** 2
    load_entropy = sum over rows of tokens_row * (log e + sum_e P_e log P_e) / tokens
    ```

    f_e is the fraction of a row's choices that fell on expert e, P_e its mean probability. Computed row by
    row, the loss of a batch is the token-weighted mean of its parts' losses. The entropy is that of the mean
    over tokens, which is high where the load is even; a single token's distribution may be peaked.

    Args:
        logits: (b, t, e) float32.
        probabilities: (b, t, e) float32, adding up to 1.
        counts: (b, e) float32, choices of a row that fell on each expert, no gradient.
        is_token: (b, t) float32, 0 at padding.
        top_k: Choices of one token.
        weights: The losses' weights.

    Fedus et al. 2021, Switch Transformers (arXiv:2101.03961), eq. 4, within each row; z loss:
    Zoph et al. 2022, ST-MoE (arXiv:2202.08906), eq. 5; entropy of the mean load: Mustafa et al. 2022,
    LIMoE (arXiv:2206.02770), the global entropy loss.
    """
    num_experts = logits.shape[-1]
    row_tokens = ops.sum(is_token, axis=1)
    tokens = ops.maximum(ops.sum(row_tokens), 1.0)
    mass = ops.sum(probabilities * is_token[..., None], axis=1)  # (b, e)
    loss = ops.zeros((), "float32")
    if weights.balance:
        by_row = ops.sum(counts * mass, axis=-1) / ops.maximum(row_tokens, 1.0)
        loss = loss + weights.balance * num_experts * ops.sum(by_row) / (top_k * tokens)
    if weights.z:
        z = ops.sum(ops.square(ops.logsumexp(logits, axis=-1)) * is_token) / tokens
        loss = loss + weights.z * z
    if weights.load_entropy:
        missing = ops.log(float(num_experts)) - entropy(mass / ops.maximum(row_tokens, 1.0)[:, None])
        loss = loss + weights.load_entropy * ops.sum(row_tokens * missing) / tokens
    return loss


def entropy(probabilities):
    """Entropy over the last axis, in nats; 0 log 0 is 0."""
    return -ops.sum(probabilities * ops.log(ops.maximum(probabilities, 1e-9)), axis=-1)
