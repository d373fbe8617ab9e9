"""The language model: a backbone, a head, a loss and a cache."""

from __future__ import annotations

import dataclasses
import pathlib
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import keras
from keras import ops

from highnoon.config import Config, ConfigError, ModelConfig, TrainingConfig, default, override
from highnoon.config.known_arguments import known_arguments, require_known_arguments
from highnoon.files.expand_home import expand_home
from highnoon.inference.block_diffusion.diffusion_outputs import is_diffusion
from highnoon.inference.generation_hints import GENERATION_HINTS
from highnoon.layers import token_cross_entropy, token_log_probs
from highnoon.layers.attention.block_mask import BlockStep
from highnoon.models import costs
from highnoon.models.backbone import ReasoningBackbone, read_inputs
from highnoon.models.block_calls import xla_function
from highnoon.models.quantize_model import quantize_model, refuses_first
from highnoon.models.retracing import retraces_when_changed
from highnoon.models.text_task import TextTask


@keras.saving.register_keras_serializable(package="highnoon")
@retraces_when_changed
class LanguageModel(TextTask):
    """A causal language model of reasoning blocks. It is built when it is constructed.

    Args:
        vocab_size: Number of token ids.
        embedding_dim: Width of the residual stream.
        max_seq_length: Longest sequence, in tokens, that the model supports.
        num_reasoning_blocks: Number of times that `block_pattern` is repeated.
        block_pattern: The residual pairs of one block, see `highnoon.models.patterns`.
        backbone: A `ReasoningBackbone` to wrap, in place of its fields.
        config: A `ModelConfig`, in place of its fields.
        preprocessor: What turns texts into rows in `fit`; None makes a `LanguageModelPreprocessor` of the
            tokenizer.
        training_config: The `TrainingConfig` that is saved with the model.
        tokenizer: The tokenizer that is saved with the model.
        dtype: A dtype policy; None for Keras's own.
        name: The model's name.
        **fields: The other fields of `highnoon.config.ModelConfig`.

    `fit`, `evaluate` and `predict` take texts as in KerasHub where there is a tokenizer. `generate` and
    `generate_batch` are HighNoon's: `max_length` counts new tokens, and `compile` takes no sampler.

    Attributes:
        published_as: The `model_type` of the Hugging Face folder that the model was loaded from, in which
            `export_model` writes it again; None for a model made here.

    Inputs:
        Token ids (b, t), or a dict of `token_ids` and, where there are any, `padding_mask`, `segment_ids`,
        `positions`, and `block_ids` of block diffusion. Nothing passes between different segments.

    Returns:
        Logits (b, t, v), float32.

    Raises:
        ConfigError: a field that cannot be used.
        ValueError: a tokenizer with more ids than `vocab_size`.

    Example:

    ```python
    import numpy as np
    from highnoon import LanguageModel

    model = LanguageModel(vocab_size=50, embedding_dim=32, num_reasoning_blocks=1)
    logits = model(np.array([[2, 7, 9]]), training=False)
    ```
    """

    backbone_cls = ReasoningBackbone

    def __init__(
        self,
        vocab_size: int | None = None,
        embedding_dim: int | None = None,
        max_seq_length: int | None = None,
        num_reasoning_blocks: int | None = None,
        block_pattern: str | None = None,
        *,
        backbone: ReasoningBackbone | None = None,
        config: ModelConfig | None = None,
        preprocessor: Any = None,
        training_config: TrainingConfig | None = None,
        tokenizer: Any = None,
        dtype: Any = None,
        name: str | None = None,
        **fields: Any,
    ) -> None:
        require_known_arguments(LanguageModel.__init__, fields, _FIELDS)
        given = {
            "vocab_size": vocab_size,
            "embedding_dim": embedding_dim,
            "max_seq_length": max_seq_length,
            "num_reasoning_blocks": num_reasoning_blocks,
            "block_pattern": block_pattern,
        }
        given = {key: value for key, value in given.items() if value is not None}
        given_as = "backbone" if backbone is not None else "config"
        if (backbone is not None or config is not None) and (given or fields):
            raise ValueError(
                f"a {given_as} has its own {', '.join([*given, *fields])}; give a {given_as} or its fields"
            )
        if backbone is None:
            if config is None:
                config = override(Config(model=_DEFAULTS), **given, **fields).model
            backbone = ReasoningBackbone(dtype=dtype, config=config)
        elif config is not None:
            raise ValueError("a backbone has its own configuration; give a backbone or `config`")
        self.backbone = backbone
        self.training_config = (
            TrainingConfig.of_model(training_config) if isinstance(training_config, dict) else training_config
        )
        self.published_as: str | None = None
        self._set_first_preprocessor(preprocessor)
        super().__init__(inputs=backbone.input, outputs=self._logits(backbone.output), name=name)
        self.input_spec = None  # an array of token ids is an input too
        if tokenizer is not None:
            self.tokenizer = tokenizer
        self.quantize = refuses_first(self.quantize)

    @property
    def config(self) -> ModelConfig:
        return self.backbone.config

    @property
    def vocab_size(self) -> int:
        return self.config.vocab_size

    @property
    def embedding_dim(self) -> int:
        return self.config.embedding_dim

    @property
    def num_blocks(self) -> int:
        return self.config.num_reasoning_blocks

    @property
    def max_seq_length(self) -> int:
        return self.config.max_seq_length

    def _require_fitting(self, tokenizer: Any) -> None:
        if tokenizer is not None and tokenizer.vocab_size > self.vocab_size:
            raise ValueError(
                f"the tokenizer has {tokenizer.vocab_size:,} ids and the model takes {self.vocab_size:,}; "
                f"create the model with vocab_size={tokenizer.vocab_size} or train a smaller tokenizer"
            )

    def call(self, inputs, training=None):
        hidden, aux_loss, _ = self.backbone(inputs, training=training, return_aux=True)
        if training:
            # `fit` adds this to the cross entropy. A functional model's own method rejects it, since its
            # graph cannot hold a loss; this model's `call` is not that graph.
            keras.layers.Layer.add_loss(self, aux_loss)
        return self._logits(hidden)

    def _logits(self, hidden):
        logits = ops.cast(self.backbone.token_embedding(hidden, reverse=True), "float32")
        cap = self.config.logit_softcap
        return logits if cap is None else cap * ops.tanh(logits / cap)

    def loss_terms(
        self,
        batch: dict[str, Any],
        training: bool = True,
        token_losses: bool = False,
        excluded_id: int | None = None,
    ) -> dict[str, Any]:
        """Returns the sums that a training step needs of one batch.

        Args:
            batch: `token_ids` (b, t), `labels` and `loss_weights` (b, n) of the first n <= t tokens, and
                where there are any `padding_mask`, `segment_ids`, `positions` and `block_ids` (b, t).
            training: Whether dropout and expert capacity are active, and a gradient will be computed.
            token_losses: Whether to return the cross entropy of each token too.
            excluded_id: An id that is never text and has probability 0, such as a mask; None for none.

        Returns:
            `loss_sum`, the sum of `loss_weights * cross entropy`; `aux_loss`, the losses that layers report,
            a mean over the tokens that are not padding, summed over layers; `metrics`, a dict of token means
            of activations and of what layers report (routers, for instance). All float32 scalars. With
            `token_losses` also those, (b, t), unweighted and without a gradient.

        Raises:
            ConfigError: a mixer is not causal, so that the next token could be seen, or the model is one of
                block diffusion and `block_ids` are missing.
        """
        self._require_next_token(batch)
        inputs = {key: batch[key] for key in _INPUTS if batch.get(key) is not None}
        hidden, aux_loss, metrics = self.backbone(inputs, training=training, return_aux=True)
        labels, weights = (ops.reshape(batch[key], (-1,)) for key in ("labels", "loss_weights"))
        hidden = ops.reshape(hidden[:, : batch["labels"].shape[1]], (-1, self.embedding_dim))
        options = {"return_losses": True} if token_losses else {}
        options |= {} if excluded_id is None else {"excluded_id": excluded_id}
        head_loss = partial(
            token_cross_entropy, training=training, softcap=self.config.logit_softcap, **options
        )
        if self.backbone.compiles_parts:
            head_loss = xla_function(head_loss)
        found = head_loss(hidden, self._head_kernel(), labels, weights)
        if not token_losses:
            return {"loss_sum": found, "aux_loss": aux_loss, "metrics": metrics}
        losses = ops.reshape(found[1], ops.shape(batch["labels"]))
        return {"loss_sum": found[0], "aux_loss": aux_loss, "metrics": metrics, "token_losses": losses}

    def token_log_probs(self, batch: dict[str, Any], training: bool = True) -> dict[str, Any]:
        """Returns the log-probability of each label, with a gradient.

        Args:
            batch: `token_ids` and `labels` (b, t), and where there are any `padding_mask`, `segment_ids` and
                `positions` (b, t).
            training: Whether dropout and expert capacity are active.

        Returns:
            `log_probs` (b, t), float32, also where a label is padding; `aux_loss` and `metrics` as those of
            `loss_terms`.

        Raises:
            ConfigError: as `loss_terms`.
        """
        self._require_next_token(batch)
        inputs = {key: batch[key] for key in _INPUTS if batch.get(key) is not None}
        hidden, aux_loss, metrics = self.backbone(inputs, training=training, return_aux=True)
        head = partial(token_log_probs, softcap=self.config.logit_softcap)
        if self.backbone.compiles_parts:
            head = xla_function(head)
        hidden = ops.reshape(hidden, (-1, self.embedding_dim))
        log_probs = head(hidden, self._head_kernel(), ops.reshape(batch["labels"], (-1,)))
        log_probs = ops.reshape(log_probs, ops.shape(batch["labels"]))
        return {"log_probs": log_probs, "aux_loss": aux_loss, "metrics": metrics}

    def _require_next_token(self, batch: dict[str, Any]) -> None:
        self._require_causal("learn to predict the next token")
        if is_diffusion(self) and batch.get("block_ids") is None:
            raise ConfigError(
                "the next token of a model of block diffusion is that of a mask; use "
                'objective="block_diffusion", or set model.outputs_description = {} to train it otherwise'
            )

    def _require_causal(self, verb: str) -> None:
        if not self.is_causal:
            raise ConfigError(
                f"a model whose mixers see later tokens cannot {verb} (block_pattern="
                f"{self.config.block_pattern!r}); use it for classification, embedding or block diffusion"
            )

    def _head_kernel(self):
        """The head as (v, d), in float32."""
        embedding = self.backbone.token_embedding
        if embedding.quantization_mode is not None:
            # The reverse call applies the scales of a quantized head.
            return ops.transpose(embedding(ops.eye(self.embedding_dim), reverse=True))
        if self.config.tie_embeddings:
            return ops.copy(embedding.embeddings)  # as a tensor: XLA functions take no variables
        return ops.transpose(embedding.reverse_embeddings)

    def gradient_checkpointing_enable(self) -> None:
        """Makes training store each block's input alone and recompute the rest for the gradient.

        Call it before the training step is compiled. The weights do not change by it; memory for activations
        falls to about one block's, and a step takes about a third longer.
        """
        self.backbone.gradient_checkpointing = True

    def gradient_checkpointing_disable(self) -> None:
        """Makes training store every value that the gradient needs."""
        self.backbone.gradient_checkpointing = False

    def quantize(self, mode=None, config=None, filters=None, **kwargs) -> None:
        """Stores kernels and embeddings in fewer bits, in place.

        That saves memory, not time: on a CPU, Keras decodes a single row more slowly in int8 than in float32;
        several rows at once may be faster or slower. `benchmarks/quantized_decoding.py` measures both.

        Args:
            mode: `"int8"`, `"int4"` or `"float8"`; None takes that of `config`.
            config: A configuration of `keras.quantizers`, such as `Int8QuantizationConfig`.
            filters: Which layers: a regular expression, a list of them, or a function of a layer.
            **kwargs: Further arguments of Keras.

        Raises:
            ConfigError: another mode (`gptq` and `awq` need data), experts in another mode than int8, or a
                model that is quantized already.
        """
        quantize_model(super().quantize, self, mode, config, filters, **kwargs)

    def merge_lora(self) -> int:
        """Adds LoRA factors into their kernels, in place; see `highnoon.models.adapters.merge_lora`."""
        from highnoon.models.adapters.merge_lora import merge_lora

        return merge_lora(self)

    @property
    def is_causal(self) -> bool:
        """Whether no logit depends on a later token."""
        return self.backbone.is_causal

    @property
    def takes_blocks(self) -> bool:
        """Whether the model can be one of block diffusion: attention alone, with rotary positions."""
        return self.backbone.takes_blocks

    def flops_per_token(self, row_length: int) -> float:
        """Returns the operations of forward and backward pass for a token of rows of `row_length`."""
        return costs.flops_per_token(self.config, row_length)

    def activation_bytes(self, rows: int, length: int) -> int | None:
        """Returns about how many bytes a micro-batch stores for the gradient; None where it is not known."""
        dtype = keras.backend.standardize_dtype(self.backbone.compute_dtype)
        return costs.activation_bytes(self.config, rows, length, dtype, self.backbone.gradient_checkpointing)

    def compiled_parts(self) -> AbstractContextManager[None]:
        """A context in which graphs of this model have their mixers and their loss compiled by XLA."""
        return self.backbone.compiled_parts()

    def initial_cache(self, batch_size: int, max_length: int, dtype: str | None = None) -> dict[str, Any]:
        """Returns an empty decoding state for `max_length` tokens: a nested dict of static shapes."""
        self._require_causal("generate")
        return self.backbone.initial_cache(batch_size, max_length, dtype)

    def decode(
        self,
        token_ids,
        cache: dict[str, Any],
        index,
        padding=None,
        *,
        last_only: bool = False,
        blocks: BlockStep | None = None,
    ):
        """Reads new tokens into the cache.

        Args:
            token_ids: (b, t) ids at positions index .. index+t-1: a prompt, or the next token.
            cache: What `initial_cache` or an earlier call returned.
            index: Position of the first new token, a scalar, static or not.
            padding: (b,) how many positions at the front of each row hold padding; None for none. Rotary
                positions count from the end of the padding.
            last_only: Whether to return the logits of the last token alone, (b, 1, v).
            blocks: For block diffusion how the tokens are decoded in blocks; a noisy copy is not stored.

        Returns:
            Logits (b, t, v) of the given tokens, float32, and the new cache. The logits at padding are
            undefined.
        """
        token_ids, _, _ = read_inputs(token_ids)
        hidden, cache = self.backbone.step(token_ids, cache, index, padding, blocks)
        return self._logits(hidden[:, -1:] if last_only else hidden), cache

    @known_arguments(hints=GENERATION_HINTS)
    def generate(
        self,
        prompt,
        max_length: int = default(256),
        temperature: float = 1.0,
        top_k: int | None = 50,
        top_p: float = 1.0,
        repetition_penalty: float = 1.0,
        stop_sequences=None,
        tokenizer=None,
        seed: int | None = None,
        logits_processors=None,
        max_new_tokens: int | None = None,
    ):
        """Continues a prompt; see `highnoon.inference.generation.generate`."""
        from highnoon.inference.generation import generate

        return generate(
            self,
            prompt,
            max_length=max_length,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            repetition_penalty=repetition_penalty,
            stop_sequences=stop_sequences,
            tokenizer=tokenizer,
            seed=seed,
            logits_processors=logits_processors,
            max_new_tokens=max_new_tokens,
        )

    def generate_batch(
        self, prompts, max_length: int = default(256), batch_size: int = 8, **options: Any
    ) -> Any:
        """Continues many prompts; see `highnoon.inference.batch_generation.generate_batch`."""
        from highnoon.inference.batch_generation import generate_batch

        return generate_batch(self, prompts, max_length=max_length, batch_size=batch_size, **options)

    def save_weights(self, filepath, overwrite: bool = True, **kwargs) -> None:
        """Writes the weights into a file whose name ends with `.weights.h5`, as Keras requires.

        Args:
            filepath: The file; `.weights.h5` is added to a name without it, and a missing folder is created.
                `load_weights` finds the file under either name.
            overwrite: Whether to replace a file without asking.
            **kwargs: As in Keras.
        """
        path = _weights_path(filepath)
        path.parent.mkdir(parents=True, exist_ok=True)
        super().save_weights(path, overwrite=overwrite, **kwargs)

    def load_weights(self, filepath, **kwargs) -> None:
        """Reads the weights that `save_weights` wrote under the same name; every weight must fit."""
        path = _weights_path(filepath)
        if not path.exists():
            raise FileNotFoundError(f"no weights at {path}")
        try:
            super().load_weights(path, **kwargs)
        except ValueError as error:
            reason = " ".join(str(error).split("\n\n")[:2]).replace("\n", " ")
            raise ValueError(
                f"{path} holds the weights of another model: {reason} Some may have been read; create the "
                "model again, with the configuration that the weights were saved from."
            ) from error


_DEFAULTS = ModelConfig(vocab_size=32000, embedding_dim=768, num_reasoning_blocks=4)
_FIELDS = frozenset(field.name for field in dataclasses.fields(ModelConfig))
_INPUTS = ("token_ids", "padding_mask", "segment_ids", "positions", "block_ids")
_WEIGHTS_SUFFIX = ".weights.h5"


def _weights_path(filepath: str | pathlib.Path) -> pathlib.Path:
    name = str(expand_home(filepath))
    if not name.endswith((_WEIGHTS_SUFFIX, ".weights.json")):
        name += _WEIGHTS_SUFFIX
    return pathlib.Path(name)
