"""The norms of a backbone, by `norm_type`."""

from __future__ import annotations

from typing import Any

import keras

from highnoon.config import ModelConfig
from highnoon.layers import ZeroCenteredRMSNormalization

_NORMS: dict[str, Any] = {
    "rms": keras.layers.RMSNormalization,
    "zero_centered_rms": ZeroCenteredRMSNormalization,
    "layer": keras.layers.LayerNormalization,
}


def built_norm(config: ModelConfig, name: str, dtype: Any) -> keras.Layer:
    """Returns a norm of the model's width, built."""
    norm = _NORMS[config.norm_type](epsilon=config.norm_epsilon, dtype=dtype, name=name)
    norm.build((None, None, config.embedding_dim))
    return norm


def norm_parameters(config: ModelConfig) -> int:
    """Returns the number of weights of one norm."""
    return (2 if config.norm_type == "layer" else 1) * config.embedding_dim
