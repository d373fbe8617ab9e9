"""The cosine schedule of Gaussian diffusion, and deterministic sampling along it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from keras import ops

from highnoon.config import ConfigError, require_count

_OFFSET = 0.008
_LARGEST_BETA = 0.999


def alpha_bars(num_steps: int) -> npt.NDArray[np.float64]:
    """Returns the fraction of the signal's variance that is left after each step of noise.

    ```
    f(t)         = cos((t / num_steps + 0.008) / 1.008 * pi / 2) ** 2
    beta[t]      = min(1 - f(t) / f(t - 1), 0.999)
    alpha_bar[t] = product over s <= t of (1 - beta[s])              f(t) / f(0), but above 0 at the end
    ```

    Args:
        num_steps: Steps of noise, at least 1.

    Returns:
        (num_steps + 1,) float64, from 1 at step 0, without noise, to nearly 0.

    Example:

    ```python
    from highnoon.experts.diffuser.noise_schedule import alpha_bars

    levels = alpha_bars(100)
    assert levels[0] == 1 and abs(levels[50] - 0.4938) < 1e-4 and 0 < levels[100] < 1e-6
    ```

    Nichol & Dhariwal 2021, Improved Denoising Diffusion Probabilistic Models (arXiv:2102.09672), eq. 17.
    """
    steps = np.arange(require_count("num_steps", num_steps) + 1)
    signal = np.cos((steps / num_steps + _OFFSET) / (1 + _OFFSET) * np.pi / 2) ** 2
    betas = np.minimum(1 - signal[1:] / signal[:-1], _LARGEST_BETA)
    return np.concatenate([[1.0], np.cumprod(1 - betas)])


def sampling_steps(num_steps: int, count: int) -> npt.NDArray[np.int32]:
    """Returns the steps at which sampling evaluates the model, evenly spaced from `num_steps` down.

    Args:
        num_steps: Steps of noise of the schedule.
        count: How many steps, in [1, num_steps].

    Returns:
        (count,) int32, decreasing; the step after the last one is 0.

    Raises:
        ConfigError: `count` is out of its range.
    """
    if require_count("sampling_steps", count) > num_steps:
        raise ConfigError(
            f"`sampling_steps` must be at most training_steps={num_steps}; received {count}; lower it"
        )
    return np.round(num_steps * np.arange(count, 0, -1) / count).astype(np.int32)


def sample_ddim(
    velocity: Callable[[Any, Any], Any], noise: Any, levels: npt.NDArray[np.float64], count: int
) -> Any:
    """Returns a sample of DDIM, without noise of its own: a function of the noise that it starts from.

    ```
    v = velocity(x, step)
    clean, eps = sqrt(a) x - sqrt(1 - a) v,  sqrt(a) v + sqrt(1 - a) x          a = alpha_bar[step]
    x = sqrt(a') clean + sqrt(1 - a') eps                                       a' = alpha_bar[next step]
    ```

    The first step is that of the most noise, since x starts as noise alone; the last one ends at step 0,
    where a' is 1. The clean value needs no division by sqrt(a), which is near 0 at the start.

    Args:
        velocity: From x and a step, an int32 scalar, to v, of the shape of x.
        noise: The start, float32.
        levels: Of `alpha_bars`.
        count: As in `sampling_steps`.

    Returns:
        Of the shape of `noise`.

    Song et al. 2021, Denoising Diffusion Implicit Models (arXiv:2010.02502), eq. 12 with sigma = 0; v:
    Salimans & Ho 2022 (arXiv:2202.00512), appendix D.
    """
    steps = sampling_steps(len(levels) - 1, count)
    now, following = levels[steps], levels[np.append(steps[1:], 0)]
    parts = (now, 1 - now, following, 1 - following)
    roots = [ops.convert_to_tensor(np.sqrt(part), "float32") for part in parts]
    steps = ops.convert_to_tensor(steps)

    def advance(number: Any, x: Any) -> Any:
        signal, noisiness, next_signal, next_noisiness = (ops.take(root, number) for root in roots)
        found = velocity(x, ops.take(steps, number))
        clean, eps = signal * x - noisiness * found, signal * found + noisiness * x
        return next_signal * clean + next_noisiness * eps

    return ops.fori_loop(0, count, advance, noise)
