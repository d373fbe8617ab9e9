"""From logits to the next token: pure functions of tensors, in `keras.ops`."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

_LARGEST = 3.4028234663852886e38  # of float32


def penalize_repetition(logits: Any, seen: Any, penalty: Any) -> Any:
    """Makes tokens that occurred before less likely.

    `logits / penalty` where such a token's logit is positive, `logits * penalty` otherwise.

    Args:
        logits: (b, v).
        seen: (b, v) bool, the tokens of the prompt and of what was generated.
        penalty: Scalar above 0; 1 changes nothing, below 1 favors repetition.

    Keskar et al. 2019, "CTRL: A conditional transformer language model", section 4.1, with the
    sign handled so that a penalty above 1 always lowers the logit.
    """
    penalized = ops.where(logits > 0, logits / penalty, logits * penalty)
    # An extreme penalty overflows; only -inf means that a token is impossible.
    penalized = ops.where(logits > float("-inf"), ops.clip(penalized, -_LARGEST, _LARGEST), logits)
    return ops.where(seen, penalized, logits)


def divide_by_temperature(logits: Any, temperature: Any) -> Any:
    """Returns (b, v) logits over the temperature, with the same softmax where the division overflows.

    Args:
        logits: (b, v), finite, or -inf for tokens that are impossible and +inf for those that are certain.
        temperature: Scalar above 0, a normal float32.
    """
    scaled = logits / temperature
    largest = ops.max(scaled, axis=-1, keepdims=True)
    logits = ops.minimum(logits, _LARGEST)
    shifted = (logits - ops.max(logits, axis=-1, keepdims=True)) / temperature
    return ops.where(ops.isfinite(largest), scaled, shifted)


def top_k_candidates(logits: Any, top_k: int) -> tuple[Any, Any]:
    """Returns the `top_k` largest logits of each row, largest first, and their token ids.

    Of equal logits the lower id comes first.

    Args:
        logits: (b, v).
        top_k: At least 1; more than v takes v.

    Returns:
        (b, k) logits and (b, k) int32 ids.
    """
    values, ids = ops.top_k(logits, min(top_k, logits.shape[-1]), sorted=True)
    return values, ops.cast(ids, "int32")


def keep_top_p(sorted_logits: Any, top_p: Any) -> Any:
    """Drops the tokens outside the nucleus, which is the fewest most likely tokens with mass `top_p`.

    The most likely token is always kept.

    Args:
        sorted_logits: (b, k), largest first.
        top_p: Scalar in (0, 1].

    Returns:
        (b, k), -inf outside the nucleus.

    Holtzman et al. 2020, "The curious case of neural text degeneration", section 3.1.
    """
    probabilities = ops.softmax(sorted_logits, axis=-1)
    mass_before = ops.cumsum(probabilities, axis=-1) - probabilities
    return ops.where(mass_before < top_p, sorted_logits, float("-inf"))


def draw(logits: Any, uniforms: Any) -> Any:
    """Draws one index a row from `softmax(logits)`, by inverting the distribution function.

    `index = #{i : sum(p[: i + 1]) <= u}`: one uniform number decides each row, independent of the
    other rows.

    Args:
        logits: (b, k), -inf for tokens that cannot be drawn.
        uniforms: (b,) in [0, 1).

    Returns:
        (b,) int32; -1 where the logits are NaN or all -inf.
    """
    mass = ops.cumsum(ops.softmax(logits, axis=-1), axis=-1)
    # The last mass is 1 up to rounding; the factor keeps a uniform near 1 inside.
    is_below = mass <= uniforms[:, None] * mass[:, -1:]
    return ops.where(ops.isnan(mass[:, -1]), -1, ops.sum(ops.cast(is_below, "int32"), axis=-1))


def normal_float32(value: float) -> np.ndarray:
    """Returns a float32 whose reciprocal is a normal number too: processors flush smaller ones to 0."""
    return np.clip(value, np.finfo(np.float32).tiny, 1e37).astype(np.float32)
