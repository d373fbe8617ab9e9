"""Frequencies of rotary positions, and their scaling for contexts longer than those of the training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from highnoon.files.shown import shown

_MAY_BE_ZERO = ("mscale", "mscale_all_dim")
_KEYS = {
    "linear": ({"factor"}, set()),
    "llama3": ({"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"}, set()),
    "yarn": (
        {"factor", "original_max_position_embeddings"},
        {"beta_fast", "beta_slow", "mscale", "mscale_all_dim", "attention_factor"},
    ),
}


def rope_frequencies(
    size: int, theta: float, scaling: Mapping[str, Any] | None = None
) -> tuple[np.ndarray, float]:
    """Returns the angle per position of each pair of features, and a factor on cosines and sines.

    ```
    frequency[i] = theta ** (-2 i / size)
    linear:  frequency / factor
    llama3:  frequency / factor for wavelengths above original / low_freq_factor, unchanged for those
             below original / high_freq_factor, interpolated between the two
    yarn:    the same by the number of rotations within original, from beta_fast down to beta_slow;
             cosines and sines times 0.1 mscale ln(factor) + 1
    ```

    Args:
        size: Size of the rotary part of a head, even.
        theta: Base wavelength, above 0; for `"yarn"` not 1.
        scaling: `rope_type` (`"linear"`, `"llama3"` or `"yarn"`) and its numbers, under the names of
            published configurations; None for none.

    Raises:
        ValueError: the type is unknown, or a number is missing, unknown or out of its range.

    Peng et al. 2023, YaRN (arXiv:2309.00071), section 3; llama3: Grattafiori et al. 2024
    (arXiv:2407.21783), section 3.4.1, with the numbers of the published configurations.
    """
    if not 0 < theta < math.inf:
        raise ValueError(f"`rope_theta` must be a finite number above 0; received {shown(theta)}")
    frequencies = theta ** (-np.arange(size // 2, dtype="float64") * 2 / size)
    if scaling is None:
        return frequencies.astype("float32"), 1.0
    kind, numbers = _read(scaling)
    factor = numbers["factor"]
    if kind == "linear":
        return (frequencies / factor).astype("float32"), 1.0
    if kind == "llama3":
        kept = _kept_by_wavelength(frequencies, numbers)
        magnitude = 1.0
    else:
        kept = _kept_by_rotations(size, theta, numbers)
        magnitude = _magnitude(numbers)
    scaled = frequencies / factor * (1 - kept) + frequencies * kept
    return scaled.astype("float32"), magnitude


def yarn_softmax_factor(scaling: Mapping[str, Any] | None) -> float:
    """Returns DeepSeek's factor on the scale of the softmax: (0.1 mscale_all_dim ln(factor) + 1)^2."""
    if scaling is None or scaling.get("rope_type", scaling.get("type")) != "yarn":
        return 1.0
    return _mscale(float(scaling["factor"]), float(scaling.get("mscale_all_dim") or 0.0)) ** 2


def _read(scaling: Mapping[str, Any]) -> tuple[str, dict[str, float]]:
    if not isinstance(scaling, Mapping):
        raise ValueError(f"`rope_scaling` must be a mapping; received {shown(scaling)}")
    kind = scaling.get("rope_type", scaling.get("type"))
    if not isinstance(kind, str) or kind not in _KEYS:
        raise ValueError(f"`rope_scaling` needs a `rope_type` of {', '.join(_KEYS)}; received {shown(kind)}")
    needed, optional = _KEYS[kind]
    given = {
        key: value
        for key, value in scaling.items()
        if key not in ("rope_type", "type", "rope_theta") and value is not None
    }
    missing, unknown = needed - given.keys(), given.keys() - needed - optional
    if missing or unknown:
        raise ValueError(
            f"`rope_scaling` of type {kind!r} takes {', '.join(sorted(needed | optional))}; "
            f"missing: {', '.join(sorted(missing)) or 'none'}; "
            f"unknown: {', '.join(sorted(map(_name, unknown))[:8]) or 'none'}"
        )
    numbers = {key: _number(key, value) for key, value in given.items()}
    if numbers["factor"] < 1:
        raise ValueError(f"`rope_scaling` needs a factor of at least 1; received {numbers['factor']}")
    if kind == "llama3" and not numbers["low_freq_factor"] < numbers["high_freq_factor"]:
        raise ValueError(
            "`rope_scaling` needs a high_freq_factor above its low_freq_factor="
            f"{numbers['low_freq_factor']}; received {numbers['high_freq_factor']}"
        )
    return kind, numbers


def _name(key: Any) -> str:
    return shown(key)[1:-1] if isinstance(key, str) else shown(key)


def _number(key: str, value: Any) -> float:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    low = 0.0 if key in _MAY_BE_ZERO else 1e-30
    if not is_number or not low <= value <= 1e30:
        raise ValueError(f"`rope_scaling` needs a finite `{key}` above 0; received {shown(value)}")
    return float(value)


def _kept_by_wavelength(frequencies: np.ndarray, numbers: dict[str, float]) -> np.ndarray:
    low, high = numbers["low_freq_factor"], numbers["high_freq_factor"]
    waves = numbers["original_max_position_embeddings"] * frequencies / (2 * math.pi)
    return np.clip((waves - low) / (high - low), 0.0, 1.0)


def _kept_by_rotations(size: int, theta: float, numbers: dict[str, float]) -> np.ndarray:
    if theta == 1:
        raise ValueError('`rope_scaling` of type "yarn" needs a `rope_theta` other than 1; received 1')

    def pair_with(rotations: float) -> float:
        context = numbers["original_max_position_embeddings"]
        return size * math.log(context / (rotations * 2 * math.pi)) / (2 * math.log(theta))

    first = max(math.floor(pair_with(numbers.get("beta_fast", 32.0))), 0)
    last = min(math.ceil(pair_with(numbers.get("beta_slow", 1.0))), size - 1)
    span = max(last - first, 0.001)
    return 1 - np.clip((np.arange(size // 2) - first) / span, 0.0, 1.0)


def _magnitude(numbers: dict[str, float]) -> float:
    if "attention_factor" in numbers:
        return numbers["attention_factor"]
    factor = numbers["factor"]
    if numbers.get("mscale") and numbers.get("mscale_all_dim"):
        return _mscale(factor, numbers["mscale"]) / _mscale(factor, numbers["mscale_all_dim"])
    return _mscale(factor, 1.0)


def _mscale(factor: float, mscale: float) -> float:
    return 1.0 if factor <= 1 else 0.1 * mscale * math.log(factor) + 1.0
