"""The router over frozen language models: weights of a mixture, for each token."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import keras
from keras import ops

from highnoon.config import ModelConfig, require_count
from highnoon.experts.shared_tokenizer import shared_tokenizer
from highnoon.inference.decoding.uncached_model import decoding_model
from highnoon.layers.built_dense import built_dense
from highnoon.models.backbone import ReasoningBackbone
from highnoon.models.costs import activation_bytes, flops_per_token

_PATTERN = "latent_attention+mlp"


class ExpertRouter(keras.Model):
    """A small causal stack of latent attention that weighs frozen experts, token by token.

    ```
    h = trunk(token_ids)                        embedding, blocks of latent attention and gated MLP, a norm
    log_weights = log_softmax(W h + b)          W and b start at 0: equal weights
    ```

    The weights for the token at t + 1 depend on the tokens up to t of the same document alone. The trunk sees
    token ids and nothing of the experts, so training it costs nothing of them: `objective="mixture"` reads
    what they said from a derived column.

    Args:
        num_experts: Experts, at least 2.
        vocab_size: Token ids, those of the experts.
        embedding_dim: Width of the trunk.
        num_reasoning_blocks: Blocks of the trunk.
        max_seq_length: Longest sequence, in tokens.
        num_heads: Heads of latent attention; None takes about one per 64 dimensions.
        kv_lora_rank: Size of the cached latent; None takes twice the head size.
        ffn_dim: Inner width of the MLP; None takes 8/3 of the width.
        dropout: Rate on each residual branch, in [0, 1).
        tokenizer: The experts' tokenizer, which is saved with the router.
        dtype: A dtype policy; None for Keras's own. The head is float32 under each.
        name: The model's name.
        trainable: Whether the weights are trained.

    Inputs:
        As those of `LanguageModel`.

    Returns:
        Log-weights (b, t, num_experts), float32.

    Raises:
        ConfigError: an argument out of its range.

    Example:

    ```python
    import numpy as np
    from highnoon.experts import ExpertRouter

    router = ExpertRouter(num_experts=3, vocab_size=50, embedding_dim=32)
    log_weights = router(np.array([[2, 7, 9]]))
    assert np.allclose(np.exp(log_weights), 1 / 3)
    ```

    Latent attention: DeepSeek-AI 2024, DeepSeek-V2 (arXiv:2405.04434), section 2.1.
    """

    separates_segments = True
    not_a_language_model = "a router weighs experts; run `highnoon experts assemble` and give the mixture"

    def __init__(
        self,
        num_experts: int,
        vocab_size: int,
        embedding_dim: int = 64,
        num_reasoning_blocks: int = 1,
        max_seq_length: int = 4096,
        *,
        num_heads: int | None = None,
        kv_lora_rank: int | None = None,
        ffn_dim: int | None = None,
        dropout: float = 0.0,
        tokenizer: Any = None,
        dtype: Any = None,
        name: str | None = None,
        trainable: bool = True,
    ) -> None:
        super().__init__(dtype=dtype, name=name, trainable=trainable)
        self.num_experts = require_count("num_experts", num_experts, least=2)
        self._fields: dict[str, Any] = {
            "vocab_size": vocab_size,
            "embedding_dim": embedding_dim,
            "num_reasoning_blocks": num_reasoning_blocks,
            "max_seq_length": max_seq_length,
            "num_heads": num_heads,
            "kv_lora_rank": kv_lora_rank,
            "ffn_dim": ffn_dim,
            "dropout": dropout,
        }
        self.config = ModelConfig(block_pattern=_PATTERN, **self._fields)
        self.backbone = ReasoningBackbone(dtype=self.dtype_policy, config=self.config, name="trunk")
        zeros = keras.initializers.Zeros()
        self.head = built_dense("head", embedding_dim, num_experts, zeros, "float32", use_bias=True)
        self.tokenizer = tokenizer
        self.built = True

    @classmethod
    def for_experts(cls, experts: Sequence[keras.Model], **fields: Any) -> ExpertRouter:
        """Returns a router with the vocabulary, the tokenizer and the shortest context of some experts.

        Args:
            experts: Language models with one tokenizer.
            **fields: Other arguments of the class.

        Raises:
            ConfigError: the experts have different tokenizers or vocabularies.
        """
        tokenizer = shared_tokenizer(experts)
        models = [decoding_model(expert) for expert in experts]
        known = {
            "num_experts": len(models),
            "vocab_size": models[0].vocab_size,
            "max_seq_length": min(model.max_seq_length for model in models),
        }
        return cls(tokenizer=tokenizer, **{**known, **fields})

    @property
    def vocab_size(self) -> int:
        return self.config.vocab_size

    @property
    def max_seq_length(self) -> int:
        return self.config.max_seq_length

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        return self.log_weights_of(self.backbone(inputs, training=training))

    def log_weights_of(self, hidden: Any) -> Any:
        """Returns the log-weights (b, t, e) of the trunk's states (b, t, d)."""
        return ops.log_softmax(self.head(ops.cast(hidden, "float32")), axis=-1)

    def initial_cache(self, batch_size: int, max_length: int, dtype: str | None = None) -> dict[str, Any]:
        """Returns an empty decoding state for `max_length` tokens: a nested dict of static shapes."""
        return self.backbone.initial_cache(batch_size, max_length, dtype)

    def step(self, token_ids: Any, cache: Any, index: Any, padding: Any = None) -> tuple[Any, Any]:
        """Reads new tokens (b, t), as `LanguageModel.decode`; returns log-weights (b, t, e) and the cache."""
        return self.state_step(token_ids, cache, index, padding)[1:]

    def state_step(self, token_ids: Any, cache: Any, index: Any, padding: Any = None) -> tuple[Any, Any, Any]:
        """As `step`, with the trunk's states (b, t, d) before the log-weights and the cache."""
        hidden, cache = self.backbone.step(token_ids, cache, index, padding)
        return hidden, self.log_weights_of(hidden), cache

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
        """The trunk with a head of as many ids as there are experts."""
        return dataclasses.replace(self.config, vocab_size=self.num_experts)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_experts": self.num_experts, **self._fields}
