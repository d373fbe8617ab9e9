"""Scaling the learning rate with the global batch size."""

from __future__ import annotations

import math

from highnoon.config import ConfigError

_FACTORS = {"none": lambda num_replicas: 1.0, "linear": float, "sqrt": math.sqrt}


def scaled_learning_rate(rate: float, num_replicas: int, rule: str = "none") -> float:
    """Scales a learning rate that was chosen for one replica to `num_replicas` times its batch.

    `linear`: `rate * num_replicas` (Goyal et al. 2017, arXiv:1706.02677, section 2.1: SGD, with warm-up).
    `sqrt`: `rate * sqrt(num_replicas)` (Malladi et al. 2022, arXiv:2205.10287: Adam).
    `none`: `rate`, for an unchanged global batch.

    Args:
        rate: Learning rate for the batch of one replica, above 0.
        num_replicas: Number of synchronous replicas, at least 1.
        rule: `"none"`, `"linear"` or `"sqrt"`.

    Raises:
        ConfigError: The rule is unknown, the rate is not above 0, or there are fewer than one replica.

    Example:

    ```python
    assert scaled_learning_rate(1e-3, 4, rule="sqrt") == 2e-3
    ```
    """
    if rule not in _FACTORS:
        raise ConfigError(f"learning-rate rule must be one of {', '.join(_FACTORS)}; received {rule!r}")
    if not rate > 0 or num_replicas < 1:
        raise ConfigError(
            f"rate must be above 0 and num_replicas at least 1; received {rate} and {num_replicas}"
        )
    return rate * _FACTORS[rule](num_replicas)
