"""The network of a diffuser: attention over noisy states and the clean states before each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from highnoon.config import ModelConfig
from highnoon.layers.attention.block_mask import BlockStep, block_ids
from highnoon.layers.built_dense import built_dense
from highnoon.models.initializers import initializers
from highnoon.models.norms import built_norm
from highnoon.models.reasoning_block import ReasoningBlock

_LONGEST_WAVE = 10_000.0
_TIME_SCALE = 1000.0


class StateDenoiser(keras.layers.Layer):
    """Maps noisy states to velocities, each given the clean states before it.

    ```
    x = [noisy; clean] Win + time(step)             step 0 for the clean half
    v = Wout norm(blocks(x))[noisy half]            Wout starts at 0
    ```

    `time` is linear in sines and cosines of the step. The mask is that of block diffusion with blocks of one:
    a noisy state sees the clean states before it and itself, and a clean one those up to it.

    Args:
        state_dim: Size of a state.
        training_steps: Steps of the schedule, which the time is relative to.
        config: The blocks; all mixers are attention.
        dtype: A dtype policy. The output is float32 under each.
        name: The layer's name.

    Inputs:
        noisy and clean (b, t, state_dim); steps (b, t) int32; positions (b, t) int32, from 0 in each
        document; segment_ids (b, t), 0 at padding, or None.

    Returns:
        (b, t, state_dim), float32.
    """

    def __init__(
        self,
        state_dim: int,
        training_steps: int,
        config: ModelConfig,
        *,
        dtype: Any = None,
        name: str | None = None,
    ) -> None:
        super().__init__(dtype=dtype, name=name)
        self.training_steps = training_steps
        self.width = width = config.embedding_dim
        policy, kernel = self.dtype_policy, initializers(config)["kernel_initializer"]
        self.state_input = built_dense("state_input", state_dim, width, kernel, policy)
        self.time_input = built_dense("time_input", 2 * (width // 2), width, kernel, policy, use_bias=True)
        self.reasoning_blocks = []
        for number in range(config.num_reasoning_blocks):
            block = ReasoningBlock(config, dtype=policy, name=f"reasoning_block_{number}")
            block.build((None, None, width))
            self.reasoning_blocks.append(block)
        self.final_norm = built_norm(config, "final_norm", policy)
        zeros = keras.initializers.Zeros()
        self.velocity_output = built_dense("velocity_output", width, state_dim, zeros, "float32")
        self.built = True

    def call(
        self,
        noisy: Any,
        clean: Any,
        steps: Any,
        positions: Any,
        segment_ids: Any = None,
        training: bool | None = None,
    ) -> Any:
        positions, length = ops.cast(positions, "int32"), noisy.shape[1]
        ids = [block_ids(positions, 1, is_noisy=is_noisy) for is_noisy in (True, False)]
        options = {
            "positions": ops.concatenate([positions, positions], axis=1),
            "block_ids": ops.concatenate(ids, axis=1),
            "training": training,
        }
        if segment_ids is not None:
            segment_ids = ops.cast(segment_ids, "int32")
            options["segment_ids"] = ops.concatenate([segment_ids, segment_ids], axis=1)
        halves = [self._embedded(noisy, steps), self._embedded(clean, ops.zeros_like(steps))]
        x = ops.concatenate(halves, axis=1)
        for block in self.reasoning_blocks:
            x = block(x, **options)[0]
        return self._velocity(x[:, :length])

    def initial_cache(self, batch_size: int, max_length: int, dtype: str | None = None) -> dict[str, Any]:
        """Returns an empty decoding state for `max_length` states: a nested dict of static shapes."""
        return {
            block.name: block.initial_cache(batch_size, max_length, dtype) for block in self.reasoning_blocks
        }

    def read(self, clean: Any, cache: Mapping[str, Any], index: Any, padding: Any) -> dict[str, Any]:
        """Returns the cache with the clean states (b, t, state_dim) from `index` on."""
        return self._step(clean, ops.zeros((1, 1), "int32"), cache, index, padding, None)[1]

    def step(self, noisy: Any, steps: Any, cache: Mapping[str, Any], index: Any, padding: Any) -> Any:
        """Returns the velocities of noisy states (b, t, state_dim) from `index` on, which are not stored."""
        return self._velocity(self._step(noisy, steps, cache, index, padding, BlockStep(1, is_noisy=True))[0])

    def _step(
        self, states: Any, steps: Any, cache: Any, index: Any, padding: Any, blocks: BlockStep | None
    ) -> tuple[Any, dict[str, Any]]:
        x, new_cache = self._embedded(states, steps), {}
        for block in self.reasoning_blocks:
            x, new_cache[block.name] = block.step(x, cache[block.name], index, padding, blocks=blocks)
        return x, new_cache

    def _embedded(self, states: Any, steps: Any) -> Any:
        """States (b, t, state_dim) at steps (b, t), as vectors of the network's width."""
        half = self.width // 2
        rates = ops.convert_to_tensor(_LONGEST_WAVE ** (-np.arange(half) / half), "float32")
        angles = ops.cast(steps, "float32")[..., None] * (_TIME_SCALE / self.training_steps) * rates
        waves = ops.concatenate([ops.cos(angles), ops.sin(angles)], axis=-1)
        return self.state_input(states) + self.time_input(waves)

    def _velocity(self, hidden: Any) -> Any:
        return self.velocity_output(ops.cast(self.final_norm(hidden), "float32"))
