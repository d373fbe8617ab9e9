"""One reasoning block: a short list of residual pairs."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any

import keras
from keras import ops

from highnoon.config import ConfigError, ModelConfig
from highnoon.layers.report import Report, split_report
from highnoon.models.norms import built_norm
from highnoon.models.parts import BoundPart
from highnoon.models.patterns import bind_pattern, parse_pattern


@keras.saving.register_keras_serializable(package="highnoon")
class ReasoningBlock(keras.layers.Layer):
    """Adds to the residual stream the output of each mixer and each feed-forward.

    ```
    for mixer, feed_forward in pairs:
        x = x + dropout(mixer(norm(x)))
        x = x + dropout(feed_forward(norm(x)))                where the pair has one
    ```

    With `post_norms` the output of each mixer and feed-forward passes through a norm of its own before it is
    added. A mixer that is a whole block (`MixerPart.is_whole_block`) has norms and the residual itself:
    `x = mixer(x)`.

    A layer may return `(y, Report)` in place of `y`, see `highnoon.layers.Report`.

    Args:
        config: The model's configuration, or its dict; `block_pattern` names the pairs.

    Inputs:
        x (b, t, d); segment_ids (b, t), 0 at padding; positions (t,) or (b, t); run_mixer, a function that
        is given the layers of a mixer, `function` and x, and returns `function(x)`; None calls it directly;
        level, the index of this application in the stack, for mixers whose `call` takes it; block_ids (b, t)
        for block diffusion, see `highnoon.layers.attention.block_mask`.

    Returns:
        x (b, t, d), aux_loss (the layers' losses, summed) and a list with the metrics of each layer that
        reports some.

    Raises:
        ConfigError: a pattern with a layer that does not exist, or blocks for a mixer that takes none.

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
        self.dropout = self.config.dropout
        self.feed_forward_norms, self.feed_forwards = [], []
        self.mixer_post_norms, self.feed_forward_post_norms = [], []
        self._feed_forward_inputs = []
        self._is_whole = []
        for index, (mixer, feed_forward) in enumerate(bind_pattern(self.config)):
            is_whole = getattr(mixer.part, "is_whole_block", False)
            self._is_whole.append(is_whole)
            if not is_whole:
                self.mixer_norms.append(self._norm(f"pair_{index}_{mixer.name}_norm"))
            self.mixers.append(self._layer(mixer, index, x_shape))
            if self.config.post_norms and not is_whole:
                self.mixer_post_norms.append(self._norm(f"pair_{index}_{mixer.name}_post_norm"))
            if feed_forward is None:
                continue
            self.feed_forward_norms.append(self._norm(f"pair_{index}_{feed_forward.name}_norm"))
            if self.config.post_norms:
                self.feed_forward_post_norms.append(self._norm(f"pair_{index}_{feed_forward.name}_post_norm"))
            layer = self._layer(feed_forward, index, x_shape)
            self.feed_forwards.append(layer)
            taken = inspect.signature(layer.call).parameters
            self._feed_forward_inputs.append([name for name in ("segment_ids", "training") if name in taken])
        self._takes_level = ["level" in inspect.signature(mixer.call).parameters for mixer in self.mixers]
        if self.dropout:
            self.seed_generator = keras.random.SeedGenerator(name="dropout")

    @property
    def takes_level(self) -> bool:
        """Whether a mixer depends on the index of the block in the stack."""
        return any(self._takes_level)

    @property
    def takes_blocks(self) -> bool:
        """Whether all mixers are attention that takes the blocks of block diffusion."""
        return all("block_ids" in inspect.signature(mixer.call).parameters for mixer in self.mixers)

    @property
    def is_causal(self) -> bool:
        """Whether no output depends on a later token."""
        return all(getattr(mixer, "is_causal", True) for mixer in self.mixers)

    def _norm(self, name: str):
        return built_norm(self.config, name, self.dtype_policy)

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

    def call(
        self,
        x,
        segment_ids=None,
        positions=None,
        training=None,
        run_mixer=None,
        level=0,
        block_ids=None,
    ):
        given = self._of_blocks("block_ids", block_ids)

        def mix(mixer, x, **options):
            options |= given
            return mixer(x, segment_ids=segment_ids, positions=positions, training=training, **options)

        return self._run(x, segment_ids, training, mix, run_mixer or _run_plainly, level)

    def initial_cache(self, batch_size: int, max_length: int, dtype=None) -> dict[str, Any]:
        """Returns the cache of each mixer under its name."""
        return {mixer.name: mixer.initial_cache(batch_size, max_length, dtype) for mixer in self.mixers}

    def step(self, x, cache, index, padding=None, level=0, blocks=None):
        """Takes new tokens (b, t, d) at positions index .. index+t-1; returns x and the new cache.

        `blocks` is a `BlockStep` or None.
        """
        new_cache = {}
        given = self._of_blocks("blocks", blocks)
        segment_ids = None
        if padding is not None:
            positions = index + ops.arange(x.shape[1])
            segment_ids = ops.cast(positions[None, :] >= ops.cast(padding, positions.dtype)[:, None], "int32")

        def mix(mixer, x, **options):
            options |= given
            y, new_cache[mixer.name] = mixer.step(x, cache[mixer.name], index, padding, **options)
            return y

        x, _, _ = self._run(x, segment_ids, False, mix, _run_plainly, level)
        return x, new_cache

    def _of_blocks(self, name: str, value: Any) -> dict[str, Any]:
        """The argument of the mixers for block diffusion, where there is one."""
        if value is None:
            return {}
        if not self.takes_blocks:
            raise ConfigError(
                "block diffusion needs attention as every mixer, which sees a block both ways; received "
                f"block_pattern={self.config.block_pattern!r}; use attention, sliding_attention or "
                "latent_attention"
            )
        return {name: value}

    def _run(self, x, segment_ids, training, mix, run_mixer, level):
        reports: list[Report | None] = []
        options = {"segment_ids": segment_ids, "training": training}
        feed_forwards = zip(
            self.feed_forward_norms, self.feed_forwards, self._feed_forward_inputs, strict=True
        )
        mixer_post_norms, feed_forward_post_norms = (
            iter(self.mixer_post_norms),
            iter(self.feed_forward_post_norms),
        )
        mixer_norms = iter(self.mixer_norms)
        mixers = zip(self.mixers, self._is_whole, self._takes_level, self.pairs, strict=True)
        for mixer, is_whole, takes_level, (_, kind) in mixers:
            mix_one = partial(mix, mixer, **({"level": level} if takes_level else {}))
            if is_whole:
                x, report = split_report(run_mixer([mixer], mix_one, x))
                reports.append(report)
                continue
            norm = next(mixer_norms)
            y = run_mixer([norm, mixer], lambda x, norm=norm, mix_one=mix_one: mix_one(norm(x)), x)
            y, report = split_report(y)
            reports.append(report)
            x = x + next(mixer_post_norms, _same)(y)
            if kind is None:
                continue
            norm, feed_forward, inputs = next(feed_forwards)
            y, report = split_report(feed_forward(norm(x), **{name: options[name] for name in inputs}))
            reports.append(report)
            y = next(feed_forward_post_norms, _same)(y)
            if training and self.dropout:
                y = keras.random.dropout(y, self.dropout, seed=self.seed_generator)
            x = x + y
        aux_loss, metrics = ops.zeros((), "float32"), []
        for report in filter(None, reports):
            aux_loss = aux_loss + report.aux_loss
            metrics.append(dict(report.metrics))
        return x, aux_loss, metrics

    def compute_output_spec(
        self,
        x,
        segment_ids=None,
        positions=None,
        training=None,
        run_mixer=None,
        level=0,
        block_ids=None,
    ):
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


def _same(x):
    return x


def _run_plainly(layers, function, x):
    return function(x)
