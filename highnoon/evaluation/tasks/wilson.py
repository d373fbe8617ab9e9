"""The Wilson interval of a mean in [0, 1]."""

from __future__ import annotations

import math


def wilson_interval(mean: float, count: float, z: float = 1.959964) -> tuple[float, float]:
    """Returns the ends of the Wilson interval.

    ```
    center = (mean + z^2 / 2n) / (1 + z^2 / n)
    half   = z / (1 + z^2 / n) * sqrt(mean (1 - mean) / n + z^2 / 4n^2)
    ```

    For a fraction of cases it covers the true fraction with 95 percent probability. For a mean of scores
    between 0 and 1 it is wider than needed, since their variance is at most `mean (1 - mean)`.

    Args:
        mean: Of the scores, in [0, 1].
        count: How many cases, n; 0 gives (0, 1).
        z: Quantile of the normal distribution; the default is that of 95 percent.

    Raises:
        ValueError: `mean` is outside [0, 1] or `count` is negative.

    Example:

    ```python
    from highnoon.evaluation.tasks.wilson import wilson_interval

    low, high = wilson_interval(0.9, 100)
    assert round(low, 3) == 0.826 and round(high, 3) == 0.945
    ```

    Wilson 1927, Journal of the American Statistical Association 22, pages 209 to 212.
    """
    if not (-1e-9 <= mean <= 1 + 1e-9 and count >= 0):
        raise ValueError(f"`mean` must be in [0, 1] and `count` at least 0; received {mean} and {count}")
    if not count:
        return 0.0, 1.0
    scale = 1.0 + z * z / count
    center = (mean + z * z / (2 * count)) / scale
    variance = max(0.0, mean * (1.0 - mean)) / count + z * z / (4 * count * count)
    half = z / scale * math.sqrt(variance)
    return max(0.0, center - half), min(1.0, center + half)
