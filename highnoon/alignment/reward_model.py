"""A reward model: a language model's trunk with a scalar head."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import keras
from keras import ops

from highnoon.alignment.answer_log_probs import segment_sums
from highnoon.config import ConfigError, ModelConfig
from highnoon.layers.built_dense import built_dense
from highnoon.models.backbone import ReasoningBackbone
from highnoon.models.causal_lm import LanguageModel
from highnoon.models.costs import activation_bytes, flops_per_token
from highnoon.models.lora_factors import layers_with_factors


class RewardModel(keras.Model):
    """A causal trunk and a scalar at each token; the reward of a text is the scalar at its last token.

    ```
    h      = trunk(token_ids)
    reward = w . h[last] + b                               w starts normal, of deviation 1 / sqrt(d + 1)
    ```

    Args:
        config: The trunk's configuration, in place of its fields.
        tokenizer: The tokenizer of the language model, which is saved with the model.
        dtype: A dtype policy; None for Keras's own. The head is float32 under each.
        name: The model's name.
        trainable: Whether the weights are trained.
        **fields: Fields of `highnoon.config.ModelConfig`.

    Inputs:
        As those of `LanguageModel`.

    Returns:
        Scalars (b, t), float32, each of the text up to that token.

    Raises:
        ConfigError: a field that cannot be used.

    Example:

    ```python
    import highnoon as hn
    import numpy as np
    from highnoon.alignment import RewardModel

    policy = hn.create_model("highnoon-nano", num_reasoning_blocks=1)
    model = RewardModel.from_language_model(policy)
    assert model(np.array([[2, 7, 9]])).shape == (1, 3)
    ```

    Stiennon et al. 2020 (arXiv:2009.01325), section 3.4.
    """

    separates_segments = True

    def __init__(
        self,
        *,
        config: ModelConfig | None = None,
        tokenizer: Any = None,
        dtype: Any = None,
        name: str | None = None,
        trainable: bool = True,
        **fields: Any,
    ) -> None:
        super().__init__(dtype=dtype, name=name, trainable=trainable)
        self.config = ModelConfig(**fields) if config is None else config
        self.backbone = ReasoningBackbone(dtype=self.dtype_policy, config=self.config, name="trunk")
        width = self.config.embedding_dim
        normal = keras.initializers.RandomNormal(stddev=(width + 1) ** -0.5)
        self.head = built_dense("head", width, 1, normal, "float32", use_bias=True)
        self.tokenizer = tokenizer
        self.built = True

    @classmethod
    def from_language_model(cls, model: LanguageModel) -> RewardModel:
        """Returns a reward model with a copy of a language model's trunk, and a new head.

        Args:
            model: A language model, whose tokenizer the reward model takes over.

        Raises:
            ConfigError: it is no `LanguageModel`, or has factors of LoRA.
        """
        if not isinstance(model, LanguageModel):
            raise ConfigError(f"a reward model is made of a LanguageModel; received {type(model).__name__}")
        if layers_with_factors(model.backbone):
            raise ConfigError(
                "a reward model is made of entire weights; received a model with factors of LoRA; call "
                "model.merge_lora() first"
            )
        made = cls(config=model.config, tokenizer=model.tokenizer, dtype=model.dtype_policy)
        for own, given in zip(made.backbone.weights, model.backbone.weights, strict=True):
            own.assign(given)
        return made

    @property
    def vocab_size(self) -> int:
        return self.config.vocab_size

    @property
    def max_seq_length(self) -> int:
        return self.config.max_seq_length

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        return self._scalars(self.backbone(inputs, training=training))

    def segment_rewards(self, inputs: Mapping[str, Any], training: bool = True) -> dict[str, Any]:
        """Returns the reward of each segment of rows that hold several.

        Args:
            inputs: `token_ids`, `segment_ids` and `positions` (b, t).
            training: Whether dropout and expert capacity are active.

        Returns:
            `rewards` (b, t) and `is_segment` (b, t), of segment k at index k - 1; `aux_loss` and `metrics` as
            those of `LanguageModel.loss_terms`.
        """
        hidden, aux_loss, metrics = self.backbone(dict(inputs), training=training, return_aux=True)
        segment_ids = ops.cast(inputs["segment_ids"], "int32")
        following = ops.pad(segment_ids[:, 1:], [[0, 0], [0, 1]])
        is_last = ops.cast(ops.logical_and(segment_ids > 0, segment_ids != following), "float32")
        rewards = segment_sums(self._scalars(hidden) * is_last, segment_ids)
        is_segment = segment_sums(is_last, segment_ids) > 0
        return {"rewards": rewards, "is_segment": is_segment, "aux_loss": aux_loss, "metrics": metrics}

    def _scalars(self, hidden: Any) -> Any:
        return self.head(ops.cast(hidden, "float32"))[..., 0]

    def compiled_parts(self) -> AbstractContextManager[None]:
        """A context in which graphs of this model have their mixers compiled by XLA."""
        return self.backbone.compiled_parts()

    def flops_per_token(self, row_length: int) -> float:
        """Returns the operations of forward and backward pass for a token of rows of `row_length`."""
        return flops_per_token(self._priced(), row_length)

    def activation_bytes(self, rows: int, length: int) -> int | None:
        """Returns about how many bytes a micro-batch stores for the gradient."""
        dtype = keras.backend.standardize_dtype(self.compute_dtype)
        return activation_bytes(self._priced(), rows, length, dtype)

    def _priced(self) -> ModelConfig:
        """The trunk with a head of one id."""
        return dataclasses.replace(self.config, vocab_size=2)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.config.to_dict()}
