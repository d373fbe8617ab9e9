"""`mamba`: a selective state space for each channel."""

from __future__ import annotations

from typing import Any

from highnoon.config import ModelConfig
from highnoon.layers import SelectiveStateSpace
from highnoon.models.initializers import initializers
from highnoon.models.parts.part import Activations, MixerPart


class Mamba(MixerPart):
    """`highnoon.layers.SelectiveStateSpace`."""

    fields = ("state_dim", "ssm_expand", "conv_kernel_size", "ssm_time_step_rank")
    lora_layers = ("in_proj",)

    def state_dim(self, config: ModelConfig) -> int:
        """Returns the size of each channel's state."""
        return config.state_dim or 16

    def time_step_rank(self, config: ModelConfig) -> int:
        """Returns the width of the time step's bottleneck."""
        return config.ssm_time_step_rank or -(-config.embedding_dim // 16)

    def build(self, config: ModelConfig, **kwargs: Any) -> SelectiveStateSpace:
        return SelectiveStateSpace(
            state_dim=self.state_dim(config),
            expand=config.ssm_expand,
            conv_kernel_size=config.conv_kernel_size,
            time_step_rank=config.ssm_time_step_rank,
            dropout=config.dropout,
            **initializers(config),
            **kwargs,
        )

    def parameters(self, config: ModelConfig) -> int:
        width, inner, state = config.embedding_dim, config.ssm_inner_dim, self.state_dim(config)
        rank = self.time_step_rank(config)
        convolution = (config.conv_kernel_size + 1) * inner
        step = inner * (rank + 2 * state) + rank * inner + inner
        return 3 * width * inner + convolution + step + inner * state + inner

    def cache_numbers(self, config: ModelConfig) -> int:
        return config.ssm_inner_dim * (config.conv_kernel_size - 1 + self.state_dim(config))

    def activations(self, config: ModelConfig, length: int) -> Activations:
        """Among them the convolution's input, shifted once for each position that its kernel sees."""
        inner = config.ssm_inner_dim
        wide = 20 * inner + 4 * self.state_dim(config)
        return Activations(wide, config.conv_kernel_size * inner + inner + 2 * config.embedding_dim)

    def describe(self, config: ModelConfig) -> str:
        return f"inner {config.ssm_inner_dim}, state {self.state_dim(config)}"

    def meaning(self, config: ModelConfig) -> dict[str, Any]:
        return {
            "state_dim": self.state_dim(config),
            "ssm_time_step_rank": self.time_step_rank(config),
            "ssm_expand": config.ssm_expand,
            "conv_kernel_size": config.conv_kernel_size,
        }
