"""Advantages of sampled sequences and of steps in an environment (NumPy).

They are computed once for all rows of an iteration, before the first micro-batch, so that no split of the
rows changes them. All functions compute in float64.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from highnoon.config import ConfigError

GROUP_EPSILON = 1e-4
"""Added to a group's standard deviation before it divides."""
_WHITEN_EPSILON = 1e-8


def generalized_advantages(
    rewards: np.ndarray,
    values: np.ndarray,
    next_values: np.ndarray,
    is_terminal: np.ndarray,
    is_end: np.ndarray,
    discount: float,
    gae_lambda: float,
) -> np.ndarray:
    """Generalized advantage estimation.

        delta[t] = rewards[t] + discount * next_values[t] * (1 - is_terminal[t]) - values[t]
        A[t]     = delta[t] + discount * gae_lambda * (1 - is_end[t]) * A[t + 1]

    A terminal step has no future reward, so nothing is bootstrapped after it. A trajectory that was only cut
    (a time limit) ends without being terminal: the value of the state where it stopped is its future reward.

    Args:
        rewards: (..., t), the reward after each step.
        values: (..., t), the value of the state before each step.
        next_values: (..., t), the value of the state after each step.
        is_terminal: (..., t), whether the state after the step has no future.
        is_end: (..., t), whether the trajectory ends with the step; True wherever `is_terminal` is.
        discount: Of future rewards, in [0, 1].
        gae_lambda: 0 looks one step ahead, 1 sums all rewards.

    Returns:
        (..., t) float64. The returns that the value function learns are `advantages + values`.

    Example:

    ```python
    from highnoon.alignment.policy_gradient import generalized_advantages

    is_last = [[False, True]]
    found = generalized_advantages([[0.0, 1.0]], [[0.5, 0.5]], [[0.5, 0.0]], is_last, is_last, 1.0, 1.0)
    assert found.tolist() == [[0.5, 0.5]]  # returns of 1 minus values of 0.5
    ```

    Schulman et al. 2015, "High-Dimensional Continuous Control Using Generalized Advantage Estimation"
    (arXiv:1506.02438), equation 16.
    """
    rewards, values = np.asarray(rewards, np.float64), np.asarray(values, np.float64)
    continues = 1.0 - np.asarray(is_end, np.float64)
    future = np.asarray(next_values, np.float64) * (1.0 - np.asarray(is_terminal, np.float64))
    deltas = rewards + discount * future - values
    advantages = np.zeros_like(deltas)
    following = np.zeros(deltas.shape[:-1])
    for step in reversed(range(deltas.shape[-1])):
        following = deltas[..., step] + discount * gae_lambda * continues[..., step] * following
        advantages[..., step] = following
    return advantages


class GroupAdvantages(NamedTuple):
    """Advantages of rows in groups.

    Args:
        advantages: (rows,) float64.
        has_spread: (rows,), whether the rewards of the row's group differ. Where they do not, all advantages
            of the group are 0.
    """

    advantages: np.ndarray
    has_spread: np.ndarray


def group_advantages(
    rewards: np.ndarray,
    groups: np.ndarray,
    counts: np.ndarray | None = None,
    *,
    scale_rewards: bool = False,
) -> GroupAdvantages:
    """Rewards minus the mean of their group, optionally over the group's unbiased standard deviation.

        A[i] = (rewards[i] - mean(group)) / (std(group) + 1e-4)         with `scale_rewards`
        A[i] = rewards[i] - mean(group)                                 without

    The mean holds the row's own reward, so the expected gradient of a group of n rows is (n - 1) / n times
    that of `leave_one_out_advantages`. With `scale_rewards` the objective is another one: a group whose
    rewards differ little weighs as much as one whose rewards differ a lot.

    Args:
        rewards: (rows,).
        groups: (rows,) integers; rows of one prompt have the same.
        counts: (rows,), how often each row was sampled; None for once each.
        scale_rewards: Whether to divide.

    Raises:
        ConfigError: a group has fewer than two samples.

    Example:

    ```python
    from highnoon.alignment.policy_gradient import group_advantages

    found = group_advantages([1.0, 0.0, 5.0, 5.0], groups=[0, 0, 1, 1])
    assert found.advantages.tolist() == [0.5, -0.5, 0.0, 0.0]
    assert found.has_spread.tolist() == [True, True, False, False]
    ```

    Shao et al. 2024, DeepSeekMath (arXiv:2402.03300), section 4.1.2; without the division: Liu et al. 2025
    (arXiv:2503.20783).
    """
    stats = _group_statistics(rewards, groups, counts)
    centered = np.where(stats.has_spread, stats.rewards - stats.means, 0.0)
    if scale_rewards:
        centered = centered / (stats.deviations + GROUP_EPSILON)
    return GroupAdvantages(centered, stats.has_spread)


def leave_one_out_advantages(
    rewards: np.ndarray, groups: np.ndarray, counts: np.ndarray | None = None
) -> GroupAdvantages:
    """Rewards minus the mean of the other rewards of their group.

        A[i] = rewards[i] - mean of rewards[j] over the group's j other than i
             = n / (n - 1) * (rewards[i] - mean(group))

    The baseline does not depend on the row itself, so the expected gradient is exact.

    Args:
        rewards: (rows,).
        groups: (rows,) integers; rows of one prompt have the same.
        counts: (rows,), how often each row was sampled; None for once each.

    Raises:
        ConfigError: a group has fewer than two samples.

    Example:

    ```python
    from highnoon.alignment.policy_gradient import leave_one_out_advantages

    found = leave_one_out_advantages([1.0, 0.0, 0.5], groups=[0, 0, 0])
    assert found.advantages.tolist() == [0.75, -0.75, 0.0]
    ```

    Kool et al. 2019, "Buy 4 REINFORCE Samples, Get a Baseline for Free!"; for language models: Ahmadian et
    al. 2024 (arXiv:2402.14740), equation 6.
    """
    stats = _group_statistics(rewards, groups, counts)
    centered = stats.sizes / (stats.sizes - 1.0) * (stats.rewards - stats.means)
    return GroupAdvantages(np.where(stats.has_spread, centered, 0.0), stats.has_spread)


def whiten(values: np.ndarray, weights: np.ndarray, *, shift_mean: bool = True) -> np.ndarray:
    """Scales values to variance 1 over all positions that count, once for the global batch.

        whitened = (values - mean) / (std + 1e-8),   std^2 = sum w (values - mean)^2 / (sum w - 1)

    Args:
        values: Any shape.
        weights: Of the same shape: 0 where a value does not count, else how often it was sampled.
        shift_mean: Whether the mean becomes 0; else it stays.

    Returns:
        The same shape, float64; 0 where the weight is 0. Fewer than two values are returned as they are.

    Example:

    ```python
    import numpy as np

    from highnoon.alignment.policy_gradient import whiten

    found = whiten([[1.0, 3.0, 99.0]], weights=[[1, 1, 0]])
    np.testing.assert_allclose(found, [[-0.7071068, 0.7071068, 0.0]], rtol=1e-6)
    ```
    """
    values, weights = np.asarray(values, np.float64), np.asarray(weights, np.float64)
    total = weights.sum()
    counted = np.where(weights > 0, values, 0.0)
    if total <= 1.0:
        return counted
    mean = float(np.sum(weights * counted) / total)
    deviation = float(np.sqrt(np.sum(weights * (counted - mean) ** 2) / (total - 1.0)))
    whitened = (counted - mean) / (deviation + _WHITEN_EPSILON) + (0.0 if shift_mean else mean)
    return np.where(weights > 0, whitened, 0.0)


class _GroupStatistics(NamedTuple):
    """Of each row: its reward, and the size, mean, deviation and spread of its group."""

    rewards: np.ndarray
    sizes: np.ndarray
    means: np.ndarray
    deviations: np.ndarray
    has_spread: np.ndarray


def _group_statistics(rewards: np.ndarray, groups: np.ndarray, counts: np.ndarray | None) -> _GroupStatistics:
    rewards = np.asarray(rewards, np.float64)
    counts = np.ones_like(rewards) if counts is None else np.asarray(counts, np.float64)
    _, index = np.unique(groups, return_inverse=True)
    sizes = np.bincount(index, counts)
    if np.any(sizes <= 1.0):
        raise ConfigError(
            f"a group must have at least 2 samples of a prompt; received one of {sizes.min():g}; sample more "
            "completions for each prompt, or use `advantage='plain'`"
        )
    means = np.bincount(index, counts * rewards) / sizes
    squares = np.bincount(index, counts * (rewards - means[index]) ** 2)
    lowest = np.full(len(sizes), np.inf)
    highest = np.full(len(sizes), -np.inf)
    np.minimum.at(lowest, index, rewards)
    np.maximum.at(highest, index, rewards)
    deviations = np.sqrt(squares / (sizes - 1.0))
    return _GroupStatistics(rewards, sizes[index], means[index], deviations[index], (highest > lowest)[index])
