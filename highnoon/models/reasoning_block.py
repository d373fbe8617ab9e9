"""One reasoning block: a short list of residual pairs."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from highnoon.config import ModelConfig
from highnoon.layers.experts.routing import METRICS
from highnoon.models.patterns import FEED_FORWARDS, MIXERS, parse_pattern


@keras.saving.register_keras_serializable(package="highnoon")
class ReasoningBlock(keras.layers.Layer):
    """Adds to the residual stream what each mixer and each feed-forward makes of it.

    ```
    for mixer, feed_forward in pairs:
        x = x + dropout(mixer(rms_norm(x)))
        x = x + dropout(feed_forward(rms_norm(x)))            where the pair has one
    ```

    Args:
        config: The model's configuration, or its dict; `block_pattern` names the pairs.

    Inputs: x (b, t, d); segment_ids (b, t), 0 at padding; positions (t,) or (b, t); run_mixer, what calls
        `function(x)` for each mixer, given the layers that it uses: None calls it plainly.
    Returns: x (b, t, d), aux_loss (the routers' losses, summed) and a list with the metrics of
        each mixture of experts.

    Raises:
        ConfigError: a pattern with a layer that does not exist.

    Example:

    ```python
    import numpy as np
    from highnoon.config import ModelConfig
    from highnoon.models.reasoning_block import ReasoningBlock

    block = ReasoningBlock(ModelConfig(embedding_dim=32, block_pattern="attention+moe, attention+mlp"))
    x, aux_loss, metrics = block(np.ones((2, 5, 32), "float32"))
    ```
    """

    def __init__(self, config: ModelConfig | dict[str, Any], **kwargs) -> None:
        super().__init__(**kwargs)
        self.config = config if isinstance(config, ModelConfig) else ModelConfig(**config)
        self.pairs = parse_pattern(self.config.block_pattern)

    def build(self, x_shape) -> None:
        self.mixer_norms, self.mixers = [], []
        self.feed_forward_norms, self.feed_forwards = [], []
        for place, (mixer, feed_forward) in enumerate(self.pairs):
            self.mixer_norms.append(self._norm(f"pair_{place}_{mixer}_norm", x_shape))
            self.mixers.append(self._part(MIXERS[mixer], f"pair_{place}_{mixer}", x_shape))
            if feed_forward is None:
                continue
            self.feed_forward_norms.append(self._norm(f"pair_{place}_{feed_forward}_norm", x_shape))
            self.feed_forwards.append(
                self._part(FEED_FORWARDS[feed_forward], f"pair_{place}_{feed_forward}", x_shape)
            )
        if self.config.dropout:
            self.seed_generator = keras.random.SeedGenerator(name="dropout")

    def _norm(self, name: str, x_shape):
        norm = keras.layers.RMSNormalization(
            epsilon=self.config.norm_epsilon, dtype=self.dtype_policy, name=name
        )
        norm.build(x_shape)
        return norm

    def _part(self, factory, name: str, x_shape):
        part = factory(self.config, dtype=self.dtype_policy, name=name)
        part.build(x_shape)
        return part

    def call(self, x, segment_ids=None, positions=None, training=None, run_mixer=None):
        def mix(mixer, x):
            return mixer(x, segment_ids=segment_ids, positions=positions, training=training)

        return self._run(x, segment_ids, training, mix, run_mixer or _run_plainly)

    def initial_cache(self, batch_size: int, max_length: int, dtype=None) -> dict[str, Any]:
        """Returns the cache of each mixer under its name."""
        return {mixer.name: mixer.initial_cache(batch_size, max_length, dtype) for mixer in self.mixers}

    def step(self, x, cache, index, padding=None):
        """Takes new tokens (b, t, d) at places index .. index+t-1; returns x and the new cache."""
        new_cache = {}
        segment_ids = None
        if padding is not None:
            places = index + ops.arange(x.shape[1])
            segment_ids = ops.cast(places[None, :] >= ops.cast(padding, places.dtype)[:, None], "int32")

        def mix(mixer, x):
            y, new_cache[mixer.name] = mixer.step(x, cache[mixer.name], index, padding)
            return y

        x, _, _ = self._run(x, segment_ids, False, mix, _run_plainly)
        return x, new_cache

    def _run(self, x, segment_ids, training, mix, run_mixer):
        aux_loss, metrics = ops.zeros((), "float32"), []
        feed_forwards = zip(self.feed_forward_norms, self.feed_forwards, strict=True)
        for mixer, norm, (_, kind) in zip(self.mixers, self.mixer_norms, self.pairs, strict=True):
            x = x + run_mixer([norm, mixer], lambda x, norm=norm, mixer=mixer: mix(mixer, norm(x)), x)
            if kind is None:
                continue
            norm, feed_forward = next(feed_forwards)
            if kind == "moe":
                y, part, load = feed_forward(
                    norm(x), segment_ids=segment_ids, training=training, return_metrics=True
                )
                aux_loss = aux_loss + part
                metrics.append(load)
            else:
                y = feed_forward(norm(x))
            if training and self.config.dropout:
                y = keras.random.dropout(y, self.config.dropout, seed=self.seed_generator)
            x = x + y
        return x, aux_loss, metrics

    def compute_output_spec(self, x, segment_ids=None, positions=None, training=None, run_mixer=None):
        scalar = keras.KerasTensor((), dtype="float32")
        metrics = [dict.fromkeys(METRICS, scalar) for pair in self.pairs if pair[1] == "moe"]
        return keras.KerasTensor(x.shape, dtype=self.compute_dtype), scalar, metrics

    def get_config(self):
        return {**super().get_config(), "config": self.config.to_dict()}


def _run_plainly(layers, function, x):
    return function(x)
