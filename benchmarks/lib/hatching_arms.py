"""The models that benchmarks of BDH compare: itself, its spiking form, and two transformers of equal cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import highnoon as hn
from highnoon.config import get_preset_config
from highnoon.models.costs import flops_per_token
from highnoon.models.memory import count_parameters

_STEP = 8  # of widths and of feed-forwards
_BLOCKS = {"transformer_of_equal_parameters": 4, "transformer_of_equal_flops": 6}


def hatching_arms(
    width: int = 128, multiplier: int = 32, levels: int = 6, length: int = 256
) -> dict[str, hn.ModelConfig]:
    """Returns the configurations by name; the default is the size of `hatching-nano`.

    The transformers are `attention+mlp` of 4 heads with tied embeddings, whose feed-forward is as near 8/3 of
    the width as the cost allows: one has the parameters of BDH, in 4 blocks, the other its operations of
    training on a token, in 6.

    Args:
        width: Features of BDH.
        multiplier: Neurons for each of them.
        levels: Applications of its block.
        length: Tokens in a row.
    """
    preset = get_preset_config("hatching-nano").model
    bdh = dataclasses.replace(
        preset,
        embedding_dim=width,
        num_reasoning_blocks=levels,
        max_seq_length=length,
        block_pattern=f"bdh(multiplier={multiplier})",
    )
    costs: dict[str, Callable[[hn.ModelConfig], float]] = {
        "transformer_of_equal_parameters": count_parameters,
        "transformer_of_equal_flops": lambda config: flops_per_token(config, length),
    }
    return {
        "bdh": bdh,
        "spiking_bdh": dataclasses.replace(bdh, block_pattern=f"spiking_bdh(multiplier={multiplier})"),
        **{name: _transformer(bdh, _BLOCKS[name], cost) for name, cost in costs.items()},
    }


def _transformer(
    like: hn.ModelConfig, num_blocks: int, cost: Callable[[hn.ModelConfig], float]
) -> hn.ModelConfig:
    """Returns the transformer whose cost is nearest to that of `like`."""

    def config(width: int, ffn_dim: int) -> hn.ModelConfig:
        return hn.ModelConfig(
            vocab_size=like.vocab_size,
            embedding_dim=width,
            num_reasoning_blocks=num_blocks,
            max_seq_length=like.max_seq_length,
            num_heads=4,
            ffn_dim=ffn_dim,
            block_pattern="attention+mlp",
            dropout=like.dropout,
        )

    def distance(width: int, ffn_dim: int) -> float:
        return abs(cost(config(width, ffn_dim)) - cost(like))

    widths = range(2 * _STEP, 8 * like.embedding_dim, _STEP)
    width = min(widths, key=lambda width: distance(width, _rounded(width * 8 / 3)))
    near = _rounded(width * 8 / 3)
    choices = range(max(_STEP, near - 20 * _STEP), near + 20 * _STEP, _STEP)
    return config(width, min(choices, key=lambda ffn_dim: distance(width, ffn_dim)))


def _rounded(value: float) -> int:
    return max(_STEP, round(value / _STEP) * _STEP)
