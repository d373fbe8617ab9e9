"""A diffusion model of the hidden states of a frozen transformer, one state after the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from highnoon.config import ModelConfig, require_count
from highnoon.experts.diffuser.noise_schedule import alpha_bars, sample_ddim
from highnoon.experts.diffuser.state_denoiser import StateDenoiser
from highnoon.models.costs import activation_bytes, flops_per_token


class GaussianDiffuser(keras.Model):
    """Denoises the hidden states of a transformer, given the clean states before each.

    ```
    noisy[t] = sqrt(alpha_bar[step]) h[t] + sqrt(1 - alpha_bar[step]) noise[t]
    v        = W norm(blocks([noisy; h] Win + time(step)))           step 0 for the clean half
    eps[t]   = sqrt(alpha_bar) v[t] + sqrt(1 - alpha_bar) noisy[t]   a function of h[< t] and noisy[t]
    ```

    h are the states that the transformer's head reads, after its last norm. Attention has rotary positions
    and the mask of block diffusion with blocks of one: a noisy state sees the clean states before it and
    itself, so no output depends on a later token. The network's output is a velocity, which is well
    conditioned at every step; what is returned, and trained by `objective="gaussian_diffusion"`, is the
    noise. The first state of a document is given.

    `denoised` and `step` sample states from noise by DDIM. The start is one fixed draw, a weight that is
    saved and not trained, so that a state is a function of the tokens.

    Args:
        state_dim: Width of the transformer's states.
        embedding_dim: Width of the denoiser; None takes `state_dim`.
        num_reasoning_blocks: Blocks of attention and gated MLP.
        max_seq_length: Longest sequence, in tokens.
        training_steps: Steps of noise of the cosine schedule.
        num_heads: Heads of attention; None takes about one per 64 dimensions.
        ffn_dim: Inner width of the MLP; None takes 8/3 of the width.
        dropout: Rate on each residual branch, in [0, 1).
        tokenizer: The transformer's tokenizer, which is saved with the model.
        dtype: A dtype policy; None for Keras's own. The output is float32 under each.
        name: The model's name.
        trainable: Whether the weights are trained.

    Inputs:
        A dict of `states` and `noisy_states` (b, t, state_dim), `steps` (b, t) int32 in [1, training_steps],
        and where there are any `segment_ids` (b, t) and `positions` (b, t), from 0 in each document.

    Returns:
        The predicted noise (b, t, state_dim), float32.

    Raises:
        ConfigError: an argument out of its range.

    Example:

    ```python
    import numpy as np
    from highnoon.experts import GaussianDiffuser

    diffuser = GaussianDiffuser(state_dim=16, embedding_dim=32, num_reasoning_blocks=1)
    states = np.ones((2, 5, 16), "float32")
    assert diffuser.denoised(states, num_steps=4).shape == (2, 5, 16)
    ```

    Noise: Ho et al. 2020 (arXiv:2006.11239), eq. 14. One vector at a time, given those before it: Li et al.
    2024 (arXiv:2406.11838), section 3.2, here with attention as the denoiser.
    """

    separates_segments = True
    not_a_language_model = (
        "a diffuser guesses states; give a fusion of `highnoon experts train-router --fusion hidden`"
    )

    def __init__(
        self,
        state_dim: int,
        embedding_dim: int | None = None,
        num_reasoning_blocks: int = 4,
        max_seq_length: int = 4096,
        *,
        training_steps: int = 100,
        num_heads: int | None = None,
        ffn_dim: int | None = None,
        dropout: float = 0.0,
        tokenizer: Any = None,
        dtype: Any = None,
        name: str | None = None,
        trainable: bool = True,
    ) -> None:
        super().__init__(dtype=dtype, name=name, trainable=trainable)
        self.state_dim = require_count("state_dim", state_dim)
        self.training_steps = require_count("training_steps", training_steps)
        self._fields: dict[str, Any] = {
            "embedding_dim": state_dim if embedding_dim is None else embedding_dim,
            "num_reasoning_blocks": num_reasoning_blocks,
            "max_seq_length": max_seq_length,
            "num_heads": num_heads,
            "ffn_dim": ffn_dim,
            "dropout": dropout,
        }
        # The head of the priced model is as wide as a state.
        self.config = ModelConfig(vocab_size=state_dim, block_pattern="attention+mlp", **self._fields)
        self.alpha_bars = alpha_bars(training_steps)
        self.denoiser = StateDenoiser(
            state_dim, training_steps, self.config, dtype=self.dtype_policy, name="denoiser"
        )
        self.start_noise = self.add_weight(
            shape=(state_dim,),
            initializer=keras.initializers.RandomNormal(stddev=1.0),
            trainable=False,
            dtype="float32",
            name="start_noise",
        )
        self.tokenizer = tokenizer
        self.built = True

    @property
    def max_seq_length(self) -> int:
        return self.config.max_seq_length

    def call(self, inputs: Mapping[str, Any], training: bool | None = None) -> Any:
        noisy = ops.cast(inputs["noisy_states"], "float32")
        steps, positions = ops.cast(inputs["steps"], "int32"), inputs.get("positions")
        positions = _counted(noisy) if positions is None else positions
        segment_ids = inputs.get("segment_ids")
        velocity = self.denoiser(noisy, inputs["states"], steps, positions, segment_ids, training=training)
        level = ops.take(ops.convert_to_tensor(self.alpha_bars, "float32"), steps)[..., None]
        return ops.sqrt(level) * velocity + ops.sqrt(1.0 - level) * noisy

    def denoised(
        self, states: Any, num_steps: int = 10, segment_ids: Any = None, positions: Any = None
    ) -> Any:
        """Samples every state given the ones before it, which are clean.

        Args:
            states: (b, t, state_dim), those of the transformer.
            num_steps: Steps of DDIM, in [1, training_steps].
            segment_ids: (b, t), 0 at padding; None for one document a row.
            positions: (b, t), from 0 in each document; None counts from the start of the row.

        Returns:
            (b, t, state_dim) float32. The first state of a document, which has none before it, is its own.
        """
        states = ops.cast(states, "float32")
        positions = _counted(states) if positions is None else positions

        def velocity(noisy: Any, step: Any) -> Any:
            steps = ops.broadcast_to(step, ops.shape(states)[:2])
            return self.denoiser(noisy, states, steps, positions, segment_ids, training=False)

        return self._sampled(velocity, states, positions, num_steps)

    def _sampled(self, velocity: Any, states: Any, positions: Any, num_steps: int) -> Any:
        noise = ops.broadcast_to(ops.convert_to_tensor(self.start_noise), ops.shape(states))
        sample = sample_ddim(velocity, noise, self.alpha_bars, num_steps)
        return ops.where(positions[..., None] <= 0, states, sample)

    def initial_cache(self, batch_size: int, max_length: int, dtype: str | None = None) -> dict[str, Any]:
        """Returns an empty decoding state for `max_length` tokens: a nested dict of static shapes."""
        return self.denoiser.initial_cache(batch_size, max_length, dtype)

    def step(
        self,
        states: Any,
        cache: Mapping[str, Any],
        index: Any,
        padding: Any = None,
        *,
        num_steps: int = 10,
        last_only: bool = False,
    ) -> tuple[Any, dict[str, Any]]:
        """Reads new states (b, t, state_dim) into the cache and samples each given those before it.

        Args:
            states: Those of the transformer at positions index .. index+t-1.
            cache: What `initial_cache` or an earlier step returned.
            index: Position of the first state, a scalar, static or not.
            padding: (b,) how many positions at the front of each row hold padding; None for none.
            num_steps: As in `denoised`.
            last_only: Whether to sample the last state alone.

        Returns:
            (b, t, state_dim) or (b, 1, state_dim), as `denoised`, and the new cache.
        """
        states = ops.cast(states, "float32")
        cache = self.denoiser.read(states, cache, index, padding)
        index = ops.cast(index, "int32")
        if last_only:
            index, states = index + states.shape[1] - 1, states[:, -1:]
        positions = (index + ops.arange(states.shape[1], dtype="int32"))[None, :]
        if padding is not None:
            positions = positions - ops.cast(padding, "int32")[:, None]

        def velocity(noisy: Any, step: Any) -> Any:
            return self.denoiser.step(noisy, ops.reshape(step, (1, 1)), cache, index, padding)

        return self._sampled(velocity, states, positions, num_steps), cache

    def flops_per_token(self, row_length: int) -> float:
        """Returns the operations of forward and backward pass for a token: both halves of a row."""
        return 2 * flops_per_token(self.config, 2 * row_length)

    def activation_bytes(self, rows: int, length: int) -> int | None:
        """Returns about how many bytes a micro-batch stores for the gradient."""
        dtype = keras.backend.standardize_dtype(self.compute_dtype)
        return activation_bytes(self.config, rows, 2 * length, dtype)

    def get_config(self) -> dict[str, Any]:
        own = {"state_dim": self.state_dim, "training_steps": self.training_steps, **self._fields}
        return {**super().get_config(), **own}


def _counted(states: Any) -> Any:
    """Positions (b, t) from the start of each row."""
    return ops.cumsum(ops.ones(ops.shape(states)[:2], "int32"), axis=1) - 1
