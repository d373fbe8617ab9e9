"""Frequencies of rotary positions, and their scaling for contexts longer than those of the training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from highnoon.files.shown import shown

_MAY_BE_ZERO = ("mscale", "mscale_all_dim")
_LISTS = ("short_factor", "long_factor")
_LONGEST_LIST = 4096
_KEYS = {
    "linear": ({"factor"}, set()),
    "llama3": ({"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"}, set()),
    "yarn": (
        {"factor", "original_max_position_embeddings"},
        {"beta_fast", "beta_slow", "mscale", "mscale_all_dim", "attention_factor"},
    ),
    "longrope": (
        {"factor", "short_factor", "long_factor", "original_max_position_embeddings"},
        {"attention_factor"},
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
    longrope: frequency[i] / short_factor[i], for sequences of at most original tokens; cosines and sines
             times sqrt(1 + ln(factor) / ln(original))
    ```

    Args:
        size: Size of the rotary part of a head, even.
        theta: Base wavelength, above 0; for `"yarn"` not 1.
        scaling: `rope_type` (`"linear"`, `"llama3"`, `"yarn"` or `"longrope"`) and its numbers, under the
            names of published configurations; None for none.

    Raises:
        ValueError: the type is unknown, or a number is missing, unknown or out of its range.

    Peng et al. 2023, YaRN (arXiv:2309.00071), section 3; llama3: Grattafiori et al. 2024
    (arXiv:2407.21783), section 3.4.1, with the numbers of the published configurations; longrope: Ding et al.
    2024 (arXiv:2402.13753), eq. 3.
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
    if kind == "longrope":
        short = np.asarray(numbers["short_factor"])
        if len(short) != size // 2:
            raise ValueError(
                f"`rope_scaling` needs a `short_factor` of {size // 2} numbers, one for each pair of "
                f"features of a head; received {len(short)}"
            )
        return (frequencies / short).astype("float32"), _longrope_magnitude(numbers)
    if kind == "llama3":
        kept = _kept_by_wavelength(frequencies, numbers)
        magnitude = 1.0
    else:
        kept = _kept_by_rotations(size, theta, numbers)
        magnitude = _magnitude(numbers)
    scaled = frequencies / factor * (1 - kept) + frequencies * kept
    return scaled.astype("float32"), magnitude


def check_rope_scaling(theta: float, scaling: Mapping[str, Any] | None) -> None:
    """Checks what does not depend on the size of a head.

    Raises:
        ValueError: as `rope_frequencies`.
    """
    kind, numbers = (None, {}) if scaling is None else _read(scaling)
    if kind == "longrope":
        _longrope_magnitude(numbers)
        scaling = None
    rope_frequencies(2, theta, scaling)


def longest_sequence(scaling: Mapping[str, Any] | None) -> int | None:
    """Returns the longest sequence to which the frequencies apply; None for no limit."""
    if scaling is None or scaling.get("rope_type", scaling.get("type")) != "longrope":
        return None
    return int(scaling["original_max_position_embeddings"])


def yarn_softmax_factor(scaling: Mapping[str, Any] | None) -> float:
    """Returns DeepSeek's factor on the scale of the softmax: (0.1 mscale_all_dim ln(factor) + 1)^2."""
    if scaling is None or scaling.get("rope_type", scaling.get("type")) != "yarn":
        return 1.0
    return _mscale(float(scaling["factor"]), float(scaling.get("mscale_all_dim") or 0.0)) ** 2


def _read(scaling: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
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
    numbers: dict[str, Any] = {
        key: _numbers(key, value) if key in _LISTS else _number(key, value) for key, value in given.items()
    }
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


def _numbers(key: str, values: Any) -> list[float]:
    if not isinstance(values, (list, tuple)) or not 0 < len(values) <= _LONGEST_LIST:
        raise ValueError(
            f"`rope_scaling` needs a `{key}` of numbers, one for each pair of features of a head; received "
            f"{shown(values)}"
        )
    return [_number(key, value) for value in values]


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


def _longrope_magnitude(numbers: dict[str, Any]) -> float:
    if "attention_factor" in numbers:
        return float(numbers["attention_factor"])
    factor, context = numbers["factor"], numbers["original_max_position_embeddings"]
    if context < 2:
        raise ValueError(
            f"`rope_scaling` needs an `original_max_position_embeddings` of at least 2; received {context}"
        )
    return 1.0 if factor <= 1 else math.sqrt(1 + math.log(factor) / math.log(context))


def _mscale(factor: float, mscale: float) -> float:
    return 1.0 if factor <= 1 else 0.1 * mscale * math.log(factor) + 1.0
