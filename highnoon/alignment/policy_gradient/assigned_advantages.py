"""From the rewards of sampled completions to the columns that a policy gradient trains on (NumPy)."""

from __future__ import annotations

import dataclasses

import numpy as np

from highnoon.alignment.policy_gradient.advantages import (
    GroupAdvantages,
    generalized_advantages,
    group_advantages,
    leave_one_out_advantages,
    whiten,
)
from highnoon.alignment.policy_gradient.presets import PolicyGradientConfig
from highnoon.config import ConfigError


@dataclasses.dataclass(frozen=True)
class AssignedAdvantages:
    """What each sampled token is credited with.

    Args:
        advantages: (rows, t) float64, 0 at tokens that were not sampled.
        returns: (rows, t) float64, the targets of the value function; None without one.
        weights: (rows, t) float64: the weights that were given, 0 in rows that were skipped.
        num_constant_rows: Rows of groups whose rewards are all equal.
    """

    advantages: np.ndarray
    returns: np.ndarray | None
    weights: np.ndarray
    num_constant_rows: int


def assign_advantages(
    config: PolicyGradientConfig,
    rewards: np.ndarray,
    weights: np.ndarray,
    groups: np.ndarray | None = None,
    log_probs: np.ndarray | None = None,
    reference_log_probs: np.ndarray | None = None,
    values: np.ndarray | None = None,
) -> AssignedAdvantages:
    """Returns the advantages of an iteration's completions.

    The reward of a completion is at its last token. With `kl="reward"` each token also costs
    `kl_weight * (log_probs - reference_log_probs)`. Generalized advantages credit a token with what follows;
    the other estimators credit all tokens of a completion with its whole reward, minus their baseline.

    Args:
        config: The axes.
        rewards: (rows,), one for each completion.
        weights: (rows, t): 0 where a token was not sampled, else how often the row counts, usually 1. The
            sampled tokens of a row are consecutive, up to and including the end token.
        groups: (rows,) integers, the same for completions of one prompt; needed for groups.
        log_probs: (rows, t), of the sampled tokens in the rollout; needed for `kl="reward"`.
        reference_log_probs: (rows, t), the reference's; needed for `kl="reward"`.
        values: (rows, t), of the state before each token; needed for `"gae"`.

    Raises:
        ConfigError: an array that the axes need is missing, a reward is not finite, or a row has no token.

    Example:

    ```python
    from highnoon.alignment.policy_gradient import assign_advantages, policy_gradient_config

    config = policy_gradient_config("dr_grpo")
    found = assign_advantages(config, rewards=[1.0, 0.0], weights=[[0, 1, 1], [0, 1, 0]], groups=[0, 0])
    assert found.advantages.tolist() == [[0.0, 0.5, 0.5], [0.0, -0.5, 0.0]]
    ```
    """
    weights, rewards = np.asarray(weights, np.float64), np.asarray(rewards, np.float64)
    is_sampled = weights > 0
    _require_rewards(rewards, is_sampled)
    token_rewards = np.zeros(weights.shape)
    if config.kl == "reward":
        of_policy = _needed("log_probs", log_probs, "kl='reward'")
        of_reference = _needed("reference_log_probs", reference_log_probs, "kl='reward'")
        token_rewards = np.where(is_sampled, -config.kl_weight * (of_policy - of_reference), 0.0)
    last = weights.shape[1] - 1 - np.argmax(is_sampled[:, ::-1], axis=1)
    token_rewards[np.arange(len(rewards)), last] += rewards
    if config.has_values:
        of_rollout = _needed("values", values, "advantage='gae'")
        advantages, returns = _of_values(config, token_rewards, of_rollout, is_sampled, last)
        has_spread = np.ones(len(rewards), bool)
    else:
        of_rows = _of_rows(config, token_rewards.sum(axis=1), weights, groups)
        advantages, returns = is_sampled * of_rows.advantages[:, None], None
        has_spread = of_rows.has_spread
    if config.skip_constant_groups:
        weights = weights * has_spread[:, None]
    if config.whiten:
        advantages = whiten(advantages, weights)
    return AssignedAdvantages(advantages, returns, weights, int(np.sum(~has_spread)))


def _of_values(
    config: PolicyGradientConfig,
    token_rewards: np.ndarray,
    values: np.ndarray,
    is_sampled: np.ndarray,
    last: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns advantages and returns, over the sampled tokens alone."""
    values = np.where(is_sampled, np.asarray(values, np.float64), 0.0)
    following = np.concatenate([values[:, 1:], np.zeros((len(values), 1))], axis=1)
    is_last = np.arange(values.shape[1]) == last[:, None]
    advantages = generalized_advantages(
        token_rewards, values, following, is_last, is_last, config.discount, config.gae_lambda
    )
    advantages = np.where(is_sampled, advantages, 0.0)
    return advantages, advantages + values


def _of_rows(
    config: PolicyGradientConfig, totals: np.ndarray, weights: np.ndarray, groups: np.ndarray | None
) -> GroupAdvantages:
    """Returns one advantage for each completion."""
    if not config.has_groups:
        return GroupAdvantages(totals, np.ones(len(totals), bool))
    groups, counts = _needed("groups", groups, f"advantage={config.advantage!r}"), weights.max(axis=1)
    if config.advantage == "leave_one_out":
        return leave_one_out_advantages(totals, groups, counts)
    return group_advantages(totals, groups, counts, scale_rewards=config.scale_rewards)


def _require_rewards(rewards: np.ndarray, is_sampled: np.ndarray) -> None:
    if rewards.shape != is_sampled.shape[:1]:
        raise ConfigError(
            f"there must be one reward for each of {len(is_sampled)} completions; received {rewards.size}"
        )
    if not np.all(np.isfinite(rewards)):
        row = int(np.argmin(np.isfinite(rewards)))
        raise ConfigError(f"rewards must be finite; received {rewards[row]} for completion {row}")
    if not np.all(is_sampled.any(axis=1)):
        row = int(np.argmin(is_sampled.any(axis=1)))
        raise ConfigError(
            f"a completion must have at least one sampled token; completion {row} has none; leave it out"
        )


def _needed(name: str, array: np.ndarray | None, by: str) -> np.ndarray:
    if array is None:
        raise ConfigError(f"{by} needs `{name}`; received None")
    return np.asarray(array)
