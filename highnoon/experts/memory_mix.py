"""How a memory and a model are mixed, and the distributions of the memory."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from highnoon.config import ConfigError, require_count, require_number
from highnoon.vectors.vector_index import MOST_NEIGHBORS

Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class MemoryMix:
    """The weights of a mixture of a model, its memory, and the document's own earlier tokens.

    ```
    p = (1 - weight - cache_weight) p_model + weight p_memory + cache_weight p_cache
    p_memory(v) = sum over neighbors i with value v of  softmax(-distance_i / temperature)
    ```

    A distance is the mean squared difference of two states, so a temperature does not depend on the width of
    the model. Where there is no neighbor, or no earlier token, the model gets the weight.

    Args:
        weight: Weight of the memory, in [0, 1).
        temperature: Above 0; a low one gives the nearest neighbor all the weight.
        cache_weight: Weight of the earlier tokens of the same document, in [0, 1); with `weight` below 1.
        num_neighbors: Neighbors of each state.

    Raises:
        ConfigError: an argument out of its range.

    Khandelwal et al. 2020, "Generalization through memorization" (arXiv:1911.00172), equations 2 and 3; for
    the earlier tokens Grave et al. 2017, "Improving neural language models with a continuous cache"
    (arXiv:1612.04426), equation 3, with distances in place of products.
    """

    weight: float = 0.25
    temperature: float = 0.1
    cache_weight: float = 0.0
    num_neighbors: int = 64

    def __post_init__(self) -> None:
        require_number("weight", self.weight, least=0, below=1)
        require_number("temperature", self.temperature, above=0)
        require_number("cache_weight", self.cache_weight, least=0, below=1)
        require_count("num_neighbors", self.num_neighbors, most=MOST_NEIGHBORS)
        if self.weight + self.cache_weight >= 1:
            raise ConfigError(
                "`weight` and `cache_weight` must be below 1 together; received "
                f"{self.weight} and {self.cache_weight}"
            )


def softmin(distances: npt.NDArray[Any], temperature: float) -> Floats:
    """Returns `softmax(-distances / temperature)` of each row, (..., m); zeros where all are infinite."""
    distances = distances.astype(np.float64)
    nearest = distances.min(axis=-1, keepdims=True, initial=np.inf)
    nearest = np.where(np.isfinite(nearest), nearest, 0.0)
    weights: Floats = np.exp(-(distances - nearest) / temperature)
    total = weights.sum(axis=-1, keepdims=True)
    return weights / np.where(total > 0, total, 1.0)


def mixed_log_probs(
    mix: MemoryMix, model: npt.NDArray[Any], memory: tuple[Floats, Any], cache: tuple[Floats, Any]
) -> Floats:
    """Returns the log probabilities of the mixture.

    Args:
        mix: The weights.
        model: Log probabilities of the model.
        memory: Probabilities of the memory, and whether it has a neighbor.
        cache: Probabilities of the earlier tokens, and whether there is one.
    """
    weight, cache_weight = mix.weight * memory[1], mix.cache_weight * cache[1]
    with np.errstate(divide="ignore"):  # the logarithm of 0 is -inf
        others = np.log(weight * memory[0] + cache_weight * cache[0])
    mixed: Floats = np.logaddexp(model + np.log1p(-(weight + cache_weight)), others)
    return mixed
