"""`bdh`: the Dragon Hatchling's block, sparse positive neurons that attend linearly to earlier tokens."""

from __future__ import annotations

from typing import Any

import keras

from highnoon.config import ModelConfig
from highnoon.layers.hatching import BDHLayer
from highnoon.models.parts.part import Activations, MixerPart

INITIALIZER_RANGE = 0.02
"""Standard deviation of the kernels where the model gives none, as published."""


class Bdh(MixerPart):
    """`highnoon.layers.hatching.BDHLayer`, a complete block with norms and a residual of its own.

    The heads and the dropout are the model's. A model as published applies one block several times
    (`share_blocks`) to normalized embeddings (`embedding_norm="layer"`), without a norm at the end
    (`final_norm=False`) and with a head of its own (`tie_embeddings=False`); the presets `hatching-*` are
    such models.

    Args:
        multiplier: Neurons for each feature of the model, over all heads.
        form: How training computes attention: `"quadratic"`, `"chunked"` or `"auto"`.
        chunk_length: Tokens in one chunk.
    """

    is_whole_block = True

    def __init__(self, multiplier: int = 128, form: str = "auto", chunk_length: int = 128) -> None:
        self.multiplier, self.form, self.chunk_length = multiplier, form, chunk_length

    def build(self, config: ModelConfig, **kwargs: Any) -> BDHLayer:
        deviation = config.initializer_range or INITIALIZER_RANGE
        return BDHLayer(
            num_heads=config.resolved_num_heads,
            multiplier=self.multiplier,
            dropout=config.dropout,
            form=self.form,
            chunk_length=self.chunk_length,
            kernel_initializer=keras.initializers.RandomNormal(stddev=deviation),
            **kwargs,
        )

    def neurons(self, config: ModelConfig) -> int:
        """Returns the number of neurons of all heads."""
        return self.multiplier * config.embedding_dim

    def parameters(self, config: ModelConfig) -> int:
        return 3 * self.neurons(config) * config.embedding_dim

    def cache_numbers(self, config: ModelConfig) -> int:
        """The state, or the list of tokens where that is shorter, as `BDHLayer.initial_cache` chooses."""
        tokens, width = config.max_seq_length, config.embedding_dim
        if tokens < width:
            return tokens * (self.neurons(config) + width)
        return self.neurons(config) * width

    def activations(self, config: ModelConfig, length: int) -> Activations:
        """In float32 the pairs that the rotation multiplies with their sines and cosines, and the rotated
        neurons as queries and, transposed, as keys; in the compute dtype the neurons, what they recall and
        the product of both, as the decoder reads it."""
        neurons, heads, width = self.neurons(config), config.resolved_num_heads, config.embedding_dim
        products = heads * length if self.is_quadratic(config, length) else 0
        dropped = 2 * neurons if config.dropout else 0
        wide = 3 * neurons + neurons / heads + products + (3 * heads + 8) * width
        return Activations(wide, 3 * neurons + dropped + (heads + 2) * width)

    def flops(self, config: ModelConfig, length: int) -> float:
        """Products with half of the row, or with one chunk and the state of each head."""
        neurons, heads, width = self.neurons(config), config.resolved_num_heads, config.embedding_dim
        if self.is_quadratic(config, length):
            return length * (neurons + heads * width)
        return self.chunk_length * (neurons + heads * width) + 4.0 * neurons * width

    def is_quadratic(self, config: ModelConfig, length: int) -> bool:
        """Whether training computes all products of a row of `length` tokens."""
        return self.form == "quadratic" or (self.form == "auto" and length <= 2 * config.embedding_dim)

    def describe(self, config: ModelConfig) -> str:
        heads = config.resolved_num_heads
        return f"{heads} heads of {self.neurons(config) // heads:,} neurons"

    def meaning(self, config: ModelConfig) -> dict[str, Any]:
        return {"num_heads": config.resolved_num_heads, "bdh_multiplier": self.multiplier}
