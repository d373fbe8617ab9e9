"""Token ids to hidden states."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
from keras import ops
from keras_hub.models import Backbone

from highnoon.config import ModelConfig
from highnoon.models.block_calls import BlockCalls
from highnoon.models.initializers import initializers
from highnoon.models.lora_factors import freeze_others
from highnoon.models.lora_targets import lora_targets
from highnoon.models.norms import built_norm
from highnoon.models.patterns import bind_pattern
from highnoon.models.reasoning_block import ReasoningBlock
from highnoon.models.retracing import retraces_when_changed


@keras.saving.register_keras_serializable(package="highnoon")
@retraces_when_changed
class ReasoningBackbone(Backbone):
    """An embedding, `num_reasoning_blocks` reasoning blocks and a norm.

    The embedding of a token is a row of the embedding matrix, times the square root of the width with
    `scale_embeddings`, plus a learned vector of its position with `position_embedding="learned"`, normalized
    with `embedding_norm="layer"`. With `share_blocks` all reasoning blocks are one, with one set of weights;
    without `final_norm` there is no norm at the end.

    Args:
        dtype: A dtype policy, such as `"mixed_bfloat16"`; None for Keras's own.
        name: The model's name.
        trainable: Whether the weights are trained.
        config: A `ModelConfig`, in place of its fields.
        **fields: The fields of `highnoon.config.ModelConfig`.

    Inputs:
        Token ids (b, t), or a dict of `token_ids` and, where there are any, `padding_mask` (b, t),
        `segment_ids` (b, t; 0 at padding), `positions` (t,) or (b, t), and `block_ids` (b, t) for block
        diffusion, see `highnoon.layers.attention.block_mask`.

    Returns:
        Hidden states (b, t, d). With `return_aux=True` also the layers' losses and a dict of metrics, each
        the mean over the layers that report it.

    Raises:
        ConfigError: a field that cannot be used.
        ValueError: inputs of another form.

    Example:

    ```python
    import numpy as np
    from highnoon.models import ReasoningBackbone

    backbone = ReasoningBackbone(vocab_size=50, embedding_dim=32, num_reasoning_blocks=1)
    hidden = backbone(np.array([[2, 7, 9]]))
    ```
    """

    def __init__(
        self,
        dtype=None,
        name: str | None = None,
        trainable: bool = True,
        *,
        config: ModelConfig | None = None,
        **fields,
    ) -> None:
        if config is None:
            config = ModelConfig(**fields)
        elif fields:
            raise ValueError(f"give `config` or its fields; received `config` and {', '.join(fields)}")
        embedding_initializer = initializers(config)["kernel_initializer"]
        self.token_embedding = keras.layers.ReversibleEmbedding(
            config.vocab_size,
            config.embedding_dim,
            tie_weights=config.tie_embeddings,
            embeddings_initializer=embedding_initializer,
            reverse_dtype="float32",
            dtype=dtype,
            name="token_embedding",
        )
        # Built here and not inside this model's own scope: a path then starts at the layer's name.
        self.token_embedding.build((None, None))
        self.learned_positions = None
        if config.position_embedding == "learned":
            self.learned_positions = keras.layers.Embedding(
                config.max_seq_length,
                config.embedding_dim,
                embeddings_initializer=initializers(config)["kernel_initializer"],
                dtype=dtype,
                name="learned_positions",
            )
            self.learned_positions.build((None, None))
        width = (None, None, config.embedding_dim)
        self.embedding_norm = None
        if config.embedding_norm == "layer":
            self.embedding_norm = keras.layers.LayerNormalization(
                epsilon=1e-5, center=False, scale=False, dtype=dtype, name="embedding_norm"
            )
            self.embedding_norm.build(width)
        self.reasoning_blocks = []
        for index in range(1 if config.share_blocks else config.num_reasoning_blocks):
            block = ReasoningBlock(config, dtype=dtype, name=f"reasoning_block_{index}")
            block.build(width)
            self.reasoning_blocks.append(block)
        self.final_norm = built_norm(config, "final_norm", dtype) if config.final_norm else None
        self.config = config
        self._scale = config.embedding_dim**0.5 if config.scale_embeddings else None
        # Functional like KerasHub's own models: Keras gives `Backbone` one base class for all of a process.
        inputs = {key: keras.Input((None,), dtype="int32", name=key) for key in ("token_ids", "padding_mask")}
        super().__init__(
            inputs=inputs, outputs=self._symbolic_hidden(inputs), dtype=dtype, name=name, trainable=trainable
        )
        self.lora: dict[str, Any] | None = None
        self.gradient_checkpointing = False
        self.compiles_parts = False
        self.input_spec = None  # an array of token ids is an input too

    def _symbolic_hidden(self, inputs):
        """What `summary` shows; `call` accepts more kinds of inputs and returns the layers' losses too."""
        token_ids, positions = inputs["token_ids"], None
        if self.learned_positions is not None:
            positions = ops.cumsum(ops.ones_like(token_ids), axis=1) - 1
        x = self._embed(token_ids, positions)
        for _, block, level in self._applications():
            x = block(x, segment_ids=inputs["padding_mask"], **level)[0]
        return self._normalized(x)

    def call(self, inputs, training=None, return_aux=False):
        token_ids, segment_ids, positions = read_inputs(inputs)
        block_ids = inputs.get("block_ids") if isinstance(inputs, dict) else None
        of_blocks = {} if block_ids is None else {"block_ids": ops.cast(block_ids, "int32")}
        x = self._embed(token_ids, positions)
        aux_loss, metrics = ops.zeros((), "float32"), []
        run = self._block_runner(training)
        for _, block, level in self._applications():
            options = {"segment_ids": segment_ids, "positions": positions, "training": training, **of_blocks}
            x, block_loss, block_metrics = run(block, x, **options, **level)
            aux_loss = aux_loss + block_loss
            metrics += block_metrics
        hidden = self._normalized(x)
        if return_aux:
            return hidden, aux_loss, _mean_metrics(metrics) | _activation_metrics(x, segment_ids)
        return hidden

    def _applications(self) -> Iterator[tuple[str, ReasoningBlock, dict[str, Any]]]:
        """Yields each application of a block, first to last: its name in caches, the block, and its index for
        blocks that depend on it."""
        for level in range(self.config.num_reasoning_blocks):
            block = self.reasoning_blocks[0 if self.config.share_blocks else level]
            yield f"reasoning_block_{level}", block, {"level": level} if block.takes_level else {}

    def _normalized(self, x):
        return x if self.final_norm is None else self.final_norm(x)

    def _embed(self, token_ids, positions):
        x = self._position(token_ids, positions)
        return x if self.embedding_norm is None else self.embedding_norm(x)

    def _position(self, token_ids, positions):
        x = self.token_embedding(token_ids)
        if self._scale is not None:
            x = x * ops.cast(self._scale, x.dtype)  # rounded to the compute dtype first
        if self.learned_positions is None:
            return x
        if positions is None:
            length, most = token_ids.shape[1], self.learned_positions.input_dim
            if length is not None and length > most:
                raise ValueError(
                    f"a row must have at most max_seq_length={most} tokens, since a learned vector for each "
                    f"position is added; received {length}; cut the row"
                )
            positions = ops.arange(ops.shape(token_ids)[1])
        return x + self.learned_positions(positions)

    def _block_runner(self, training) -> Callable[..., Any]:
        recomputes = bool(training and self.gradient_checkpointing)
        if not (recomputes or self.compiles_parts):
            return lambda block, x, **options: block(x, **options)
        return BlockCalls(compiles=self.compiles_parts, recomputes=recomputes)

    @property
    def is_causal(self) -> bool:
        """Whether no hidden state depends on a later token."""
        return all(block.is_causal for block in self.reasoning_blocks)

    @property
    def takes_blocks(self) -> bool:
        """Whether the model can be one of block diffusion: attention alone, with rotary positions."""
        return self.learned_positions is None and all(block.takes_blocks for block in self.reasoning_blocks)

    @contextmanager
    def compiled_parts(self) -> Iterator[None]:
        """Within it, a graph made from this model has its mixers and its loss compiled by XLA."""
        self.compiles_parts = True
        try:
            yield
        finally:
            self.compiles_parts = False

    def initial_cache(self, batch_size: int, max_length: int, dtype=None) -> dict[str, Any]:
        """Returns the decoding state of every block, of static shape, under the block's name; with
        `share_blocks` that of each application of the one block, under the name it would have alone."""
        return {
            name: block.initial_cache(batch_size, max_length, dtype)
            for name, block, _ in self._applications()
        }

    def step(self, token_ids, cache, index, padding=None, blocks=None):
        """Takes new tokens (b, t) at positions from `index`; returns hidden states and the new cache.

        `blocks` is a `BlockStep` for block diffusion, or None.
        """
        positions = None
        if self.learned_positions is not None:
            positions = ops.cast(index, "int32") + ops.arange(token_ids.shape[1], dtype="int32")
            if padding is not None:  # the positions of padding are below 0; what they give is not used
                positions = ops.maximum(positions[None, :] - ops.cast(padding, "int32")[:, None], 0)
        x = self._embed(token_ids, positions)
        new_cache = {}
        for name, block, options in self._applications():
            options |= {} if blocks is None else {"blocks": blocks}
            x, new_cache[name] = block.step(x, cache[name], index, padding, **options)
        return self._normalized(x), new_cache

    def compute_output_spec(self, inputs, training=None, return_aux=False):
        token_ids = inputs["token_ids"] if isinstance(inputs, dict) else inputs
        hidden = keras.KerasTensor((*token_ids.shape, self.config.embedding_dim), dtype=self.compute_dtype)
        if not return_aux:
            return hidden
        return super().compute_output_spec(inputs, training=training, return_aux=True)

    def enable_lora(
        self, rank: int, target_layer_names: str | Sequence[str] | None = None, alpha: float | None = None
    ) -> None:
        """Freezes the model and trains LoRA factors of `rank` on the named layers.

        Args:
            rank: Rank of the factors, at least 1.
            target_layer_names: Names of layers. None takes the input projections of each mixer: query and
                value of attention, their projections in latent attention, and the input projections of
                the recurrent mixers.
            alpha: The product of the factors is multiplied by `alpha / rank`; None for `alpha = rank`.

        Raises:
            ValueError: `rank` is no integer of at least 1, `alpha` no number above 0, a name fits no layer
                that can have factors, or LoRA is enabled already. The model is unchanged.
        """
        names = lora_targets(self, rank, target_layer_names, alpha)
        super().enable_lora(int(rank), names)
        for layer in self._flatten_layers(include_self=False):
            if getattr(layer, "lora_enabled", False):
                layer.lora_alpha = layer.lora_alpha if alpha is None else alpha
                freeze_others(layer)
        self.lora = {"rank": int(rank), "target_layer_names": None if target_layer_names is None else names}

    def default_lora_layer_names(self) -> list[str]:
        """Returns the names of the layers that `enable_lora` gives factors by default."""
        bound = [part for pair in bind_pattern(self.config) for part in pair if part is not None]
        return list(dict.fromkeys(name for part in bound for name in part.part.lora_layers))

    def get_config(self):
        return {**super().get_config(), **self.config.to_dict()}


def read_inputs(inputs):
    """Returns (token_ids, segment_ids or None, positions or None) of an array or a KerasHub dict."""
    if not isinstance(inputs, dict):
        inputs = {"token_ids": inputs}
    if "token_ids" not in inputs:
        raise ValueError(f"the model's inputs must hold `token_ids`; received {', '.join(inputs)}")
    token_ids = ops.cast(inputs["token_ids"], "int32")
    if len(token_ids.shape) != 2:
        raise ValueError(
            f"`token_ids` must have shape (rows, tokens); received {tuple(token_ids.shape)}. "
            "Put a single sequence into a list."
        )
    segment_ids = inputs.get("segment_ids")
    if segment_ids is None and inputs.get("padding_mask") is not None:
        segment_ids = ops.cast(inputs["padding_mask"], "int32")
    return token_ids, segment_ids, inputs.get("positions")


def _mean_metrics(metrics: list[dict[str, Any]]) -> dict[str, Any]:
    """The mean of each metric over the layers that report it."""
    values: dict[str, list[Any]] = {}
    for of_layer in metrics:
        for name, value in of_layer.items():
            values.setdefault(name, []).append(value)
    return {name: sum(given) / len(given) for name, given in values.items()}


def _activation_metrics(x, segment_ids) -> dict[str, Any]:
    """Mean and standard deviation of the last block's output (b, t, d) over tokens that are not padding."""
    x = ops.cast(ops.stop_gradient(x), "float32")
    mean, square = ops.mean(x, axis=-1), ops.mean(ops.square(x), axis=-1)
    if segment_ids is None:
        is_token = ops.ones_like(mean)
    else:
        is_token = ops.cast(ops.cast(segment_ids, "int32") > 0, "float32")
    num_tokens = ops.maximum(ops.sum(is_token), 1.0)
    mean, square = (ops.sum(part * is_token) / num_tokens for part in (mean, square))
    return {"activation/mean": mean, "activation/std": ops.sqrt(ops.maximum(square - mean**2, 0.0))}
