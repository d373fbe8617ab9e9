"""How the kernels of a reasoning block start."""

from __future__ import annotations

import math

import keras

from highnoon.config import ModelConfig
from highnoon.models.pattern_text import split_pattern


def initializers(config: ModelConfig) -> dict[str, keras.initializers.Initializer]:
    """Normal of variance 2 / (5 d), or of the deviation `initializer_range`; for kernels that write into the
    residual stream divided by the number of residual branches, so that its variance does not grow with depth.

    Nguyen & Salazar 2019 (arXiv:1910.05895), section 3.2; Radford et al. 2019 (GPT-2), section 2.3.
    """
    stddev = config.initializer_range
    if stddev is None:
        stddev = math.sqrt(2 / (5 * config.embedding_dim))
    branches = [part for pair in split_pattern(config.block_pattern) for part in pair]
    num_branches = config.num_reasoning_blocks * len(branches)
    return {
        "kernel_initializer": keras.initializers.RandomNormal(stddev=stddev),
        "output_initializer": keras.initializers.RandomNormal(stddev=stddev / math.sqrt(num_branches)),
    }
