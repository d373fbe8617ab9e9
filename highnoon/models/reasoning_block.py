"""One reasoning block: a short list of residual pairs."""

from __future__ import annotations

import inspect
from typing import Any

import keras
from keras import ops

from highnoon.config import ConfigError, ModelConfig
from highnoon.layers.report import Report, split_report
from highnoon.models.parts import BoundPart
from highnoon.models.patterns import bind_pattern, parse_pattern


@keras.saving.register_keras_serializable(package="highnoon")
class ReasoningBlock(keras.layers.Layer):
    """Adds to the residual stream the output of each mixer and each feed-forward.

    ```
    for mixer, feed_forward in pairs:
        x = x + dropout(mixer(rms_norm(x)))
        x = x + dropout(feed_forward(rms_norm(x)))            where the pair has one
    ```

    A layer may return `(y, Report)` in place of `y`, see `highnoon.layers.Report`.

    Args:
        config: The model's configuration, or its dict; `block_pattern` names the pairs.

    Inputs:
        x (b, t, d); segment_ids (b, t), 0 at padding; positions (t,) or (b, t); run_mixer, a function that
        is given the layers of a mixer, `function` and x, and returns `function(x)`; None calls it directly.

    Returns:
        x (b, t, d), aux_loss (the layers' losses, summed) and a list with the metrics of each layer that
        reports some.

    Raises:
        ConfigError: a pattern with a layer that does not exist.

    Example:

    ```python
    import numpy as np
    from highnoon.config import ConfigError, ModelConfig
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
        self._feed_forward_inputs = []
        for index, (mixer, feed_forward) in enumerate(bind_pattern(self.config)):
            self.mixer_norms.append(self._norm(f"pair_{index}_{mixer.name}_norm", x_shape))
            self.mixers.append(self._layer(mixer, index, x_shape))
            if feed_forward is None:
                continue
            self.feed_forward_norms.append(self._norm(f"pair_{index}_{feed_forward.name}_norm", x_shape))
            layer = self._layer(feed_forward, index, x_shape)
            self.feed_forwards.append(layer)
            taken = inspect.signature(layer.call).parameters
            self._feed_forward_inputs.append([name for name in ("segment_ids", "training") if name in taken])
        if self.config.dropout:
            self.seed_generator = keras.random.SeedGenerator(name="dropout")

    @property
    def is_causal(self) -> bool:
        """Whether no output depends on a later token."""
        return all(getattr(mixer, "is_causal", True) for mixer in self.mixers)

    def _norm(self, name: str, x_shape):
        norm = keras.layers.RMSNormalization(
            epsilon=self.config.norm_epsilon, dtype=self.dtype_policy, name=name
        )
        norm.build(x_shape)
        return norm

    def _layer(self, bound: BoundPart, index: int, x_shape):
        name = f"pair_{index}_{bound.name}"
        layer = bound.part.build(bound.config, dtype=self.dtype_policy, name=name)
        if getattr(layer, "is_causal", True) != getattr(bound.part, "is_causal", True):
            raise ConfigError(
                f"the part `{bound.name}` and its layer {type(layer).__name__} must have the same "
                f"`is_causal`; received {bound.part.is_causal} and {layer.is_causal}"
            )
        layer.build(x_shape)
        return layer

    def call(self, x, segment_ids=None, positions=None, training=None, run_mixer=None):
        def mix(mixer, x):
            return mixer(x, segment_ids=segment_ids, positions=positions, training=training)

        return self._run(x, segment_ids, training, mix, run_mixer or _run_plainly)

    def initial_cache(self, batch_size: int, max_length: int, dtype=None) -> dict[str, Any]:
        """Returns the cache of each mixer under its name."""
        return {mixer.name: mixer.initial_cache(batch_size, max_length, dtype) for mixer in self.mixers}

    def step(self, x, cache, index, padding=None):
        """Takes new tokens (b, t, d) at positions index .. index+t-1; returns x and the new cache."""
        new_cache = {}
        segment_ids = None
        if padding is not None:
            positions = index + ops.arange(x.shape[1])
            segment_ids = ops.cast(positions[None, :] >= ops.cast(padding, positions.dtype)[:, None], "int32")

        def mix(mixer, x):
            y, new_cache[mixer.name] = mixer.step(x, cache[mixer.name], index, padding)
            return y

        x, _, _ = self._run(x, segment_ids, False, mix, _run_plainly)
        return x, new_cache

    def _run(self, x, segment_ids, training, mix, run_mixer):
        reports: list[Report | None] = []
        options = {"segment_ids": segment_ids, "training": training}
        feed_forwards = zip(
            self.feed_forward_norms, self.feed_forwards, self._feed_forward_inputs, strict=True
        )
        for mixer, norm, (_, kind) in zip(self.mixers, self.mixer_norms, self.pairs, strict=True):
            y = run_mixer([norm, mixer], lambda x, norm=norm, mixer=mixer: mix(mixer, norm(x)), x)
            y, report = split_report(y)
            reports.append(report)
            x = x + y
            if kind is None:
                continue
            norm, feed_forward, inputs = next(feed_forwards)
            y, report = split_report(feed_forward(norm(x), **{name: options[name] for name in inputs}))
            reports.append(report)
            if training and self.config.dropout:
                y = keras.random.dropout(y, self.config.dropout, seed=self.seed_generator)
            x = x + y
        aux_loss, metrics = ops.zeros((), "float32"), []
        for report in filter(None, reports):
            aux_loss = aux_loss + report.aux_loss
            metrics.append(dict(report.metrics))
        return x, aux_loss, metrics

    def compute_output_spec(self, x, segment_ids=None, positions=None, training=None, run_mixer=None):
        output = keras.KerasTensor(x.shape, dtype=self.compute_dtype)
        feed_forwards = iter(self.feed_forwards)
        layers = [
            layer
            for mixer, (_, kind) in zip(self.mixers, self.pairs, strict=True)
            for layer in ([mixer] if kind is None else [mixer, next(feed_forwards)])
        ]
        reports = [split_report(layer.compute_output_spec(output))[1] for layer in layers]
        metrics = [dict(report.metrics) for report in reports if report is not None]
        return output, keras.KerasTensor((), dtype="float32"), metrics

    def get_config(self):
        return {**super().get_config(), "config": self.config.to_dict()}


def _run_plainly(layers, function, x):
    return function(x)
