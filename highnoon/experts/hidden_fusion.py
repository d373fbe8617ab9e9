"""Frozen language models whose hidden states are fused under one router."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import keras
from keras import ops

from highnoon.config import ConfigError, require_count, require_flag, require_number
from highnoon.experts.diffuser.gaussian_diffuser import GaussianDiffuser
from highnoon.experts.document_positions import document_positions
from highnoon.experts.expert_states import state_width
from highnoon.experts.frozen_experts import INPUTS, FrozenExperts, as_inputs, router_metrics, token_mask
from highnoon.experts.fusible_experts import require_fusible
from highnoon.layers import token_cross_entropy
from highnoon.layers.built_dense import built_dense
from highnoon.layers.experts.router_losses import LossWeights, router_losses
from highnoon.models.backbone import read_inputs
from highnoon.models.block_calls import xla_function


class HiddenFusion(FrozenExperts):
    """A language model whose state is a weighted sum of those of frozen experts.

    ```
    w      = router(token_ids[<= t])                   one weight an expert, summing to 1
    s[t]   = sum_k w[k] stitch_k(h_k[t])               stitches are linear and start as the identity
    logits = s[t] E^T                                  E is the embedding that the router's trunk reads
    ```

    Experts are language models, whose states are those that their own heads read, and at most one
    `GaussianDiffuser`. What a diffuser says of position t is sampled given the states of the transformer
    before t, so nothing here depends on a later token. The experts read their own embeddings and are frozen;
    router, stitches and E are trained, by the ordinary loss of the next token, with the experts running in
    every step. E starts as the head of the transformer, so that with all weight on it a new fusion gives the
    transformer's own logits.

    Args:
        experts: At least two models, or the paths of saved ones; the language models have one tokenizer.
        router: An `ExpertRouter` of the transformer's width, or the path of a saved one; None makes one.
        contains_experts: As in `MixtureOfModels`.
        expert_hashes: As in `MixtureOfModels`.
        transformer: Index of the expert from which E starts, and whose states a diffuser denoises.
        sampling_steps: Steps of DDIM of a diffuser, in [1, training_steps].
        entropy_reg: Weight of the loss on an uneven mean load of a row, at least 0; see `MixtureObjective`.
        trains_embedding: Whether E is trained. False keeps the head that the transformer was trained with.
        name: The model's name.
        **router_fields: Arguments of the new router, such as `num_heads=2`.

    Inputs:
        As those of `LanguageModel`.

    Returns:
        Logits (b, t, v), float32.

    Raises:
        ConfigError: as `MixtureOfModels`; or an expert has no causal hidden states, or a diffuser was trained
            with another transformer.

    Example:

    ```python
    import numpy as np
    import highnoon as hn
    from highnoon.experts import GaussianDiffuser, HiddenFusion

    shape = {"vocab_size": 50, "embedding_dim": 32, "num_reasoning_blocks": 1}
    experts = [hn.LanguageModel(block_pattern=name, **shape) for name in ("transformer", "mamba_only")]
    fusion = HiddenFusion([*experts, GaussianDiffuser(state_dim=32, num_reasoning_blocks=1)])
    assert fusion(np.array([[2, 7, 9]])).shape == (1, 3, 50)
    ```

    Stitches: Lenc & Vedaldi 2015 (arXiv:1411.5908); the embedding as head: Press & Wolf 2017
    (arXiv:1608.05859).
    """

    family_name = "expert_hidden_fusion"
    option_names = ("transformer", "sampling_steps", "entropy_reg", "trains_embedding")

    def __init__(
        self,
        experts: Sequence[Any],
        router: Any = None,
        contains_experts: bool = True,
        expert_hashes: Sequence[str | None] | None = None,
        *,
        transformer: int = 0,
        sampling_steps: int = 10,
        entropy_reg: float = 0.01,
        trains_embedding: bool = True,
        name: str | None = None,
        **router_fields: Any,
    ) -> None:
        super().__init__(experts, contains_experts, expert_hashes, name=name)
        self.transformer = require_count("transformer", transformer, least=0)
        self.sampling_steps = require_count("sampling_steps", sampling_steps)
        self.entropy_reg = require_number("entropy_reg", entropy_reg, least=0)
        self.trains_embedding = require_flag("trains_embedding", trains_embedding)
        require_fusible(self.experts, self.transformer, self.sampling_steps, lambda: self.expert_hashes)
        self._set_router(router, **router_fields)
        source = self.experts[self.transformer]
        if router is None:
            self._embedding.embeddings.assign(source._head_kernel())
        self._embedding.trainable = self.trains_embedding
        width, policy = state_width(source), self.router.dtype_policy
        identity = keras.initializers.Identity()
        self.stitches = [
            built_dense(f"stitch_{number}", state_width(expert), width, identity, policy)
            for number, expert in enumerate(self.experts)
        ]
        self.built = True

    def _router_fields(self) -> dict[str, Any]:
        longest = min(expert.max_seq_length for expert in self.experts)
        width = state_width(self.experts[self.transformer])
        return {"num_experts": len(self.experts), "embedding_dim": width, "max_seq_length": longest}

    def _require_own_router(self) -> None:
        super()._require_own_router()
        width = state_width(self.experts[self.transformer])
        if self.router.config.embedding_dim != width:
            raise ConfigError(
                f"`router` must have the embedding_dim={width} of `experts[{self.transformer}]`, since its "
                f"embedding is the head; received {self.router.config.embedding_dim}; leave it out"
            )

    @property
    def language_models(self) -> list[keras.Model]:
        return [expert for expert in self.experts if not isinstance(expert, GaussianDiffuser)]

    @property
    def max_seq_length(self) -> int:
        return min(model.max_seq_length for model in (self.router, *self.experts))

    @property
    def own_weights(self) -> list[keras.Variable]:
        return [*self.router.weights, *(weight for stitch in self.stitches for weight in stitch.weights)]

    @property
    def _embedding(self) -> keras.layers.Layer:
        return self.router.backbone.token_embedding

    @property
    def _softcap(self) -> float | None:
        return self.experts[self.transformer].config.logit_softcap

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        return self._logits(self._fused(as_inputs(inputs), training)[0])

    def _fused(self, inputs: dict[str, Any], training: bool | None) -> tuple[Any, Any]:
        """The fused states (b, t, d) and the log-weights (b, t, e) of complete rows."""
        log_weights = self.router(inputs, training=training)
        states: dict[int, Any] = {}
        for number, expert in self._in_order():
            if isinstance(expert, GaussianDiffuser):
                segments = inputs.get("segment_ids", inputs.get("padding_mask"))
                states[number] = expert.denoised(
                    states[self.transformer], self.sampling_steps, segments, document_positions(inputs)
                )
            else:
                states[number] = expert.backbone(inputs, training=False)
        return self._weighted(log_weights, states), log_weights

    def _in_order(self) -> list[tuple[int, keras.Model]]:
        """The experts with their indices, the diffuser last, since it reads the states of another."""
        pairs = list(enumerate(self.experts))
        return sorted(pairs, key=lambda pair: isinstance(pair[1], GaussianDiffuser))

    def _weighted(self, log_weights: Any, states: Mapping[int, Any]) -> Any:
        weights, fused = ops.exp(log_weights), None
        for number, stitch in enumerate(self.stitches):
            state = ops.cast(stitch(ops.stop_gradient(states[number])), "float32")
            part = weights[..., number, None] * state
            fused = part if fused is None else fused + part
        return fused

    def _logits(self, fused: Any) -> Any:
        logits = ops.cast(self._embedding(fused, reverse=True), "float32")
        return logits if self._softcap is None else self._softcap * ops.tanh(logits / self._softcap)

    def loss_terms(
        self, batch: dict[str, Any], training: bool = True, token_losses: bool = False
    ) -> dict[str, Any]:
        """Returns the sums that a training step needs, as `LanguageModel.loss_terms`.

        The auxiliary loss is that of the router's mean load, and the metrics are the router's.
        """
        inputs = {key: batch[key] for key in INPUTS if batch.get(key) is not None}
        fused, log_weights = self._fused(inputs, training)
        probabilities = ops.exp(log_weights)
        options = LossWeights(load_entropy=self.entropy_reg)
        aux_loss = router_losses(log_weights, probabilities, None, token_mask(inputs), 1, options)
        metrics = router_metrics(ops.stop_gradient(probabilities), inputs)
        head_loss: Callable[..., Any] = partial(
            token_cross_entropy, training=training, softcap=self._softcap, return_losses=token_losses
        )
        if self.router.backbone.compiles_parts:
            head_loss = xla_function(head_loss)
        labels, weights = (ops.reshape(batch[key], (-1,)) for key in ("labels", "loss_weights"))
        kernel = ops.copy(ops.convert_to_tensor(self._embedding.embeddings))
        found = head_loss(ops.reshape(fused, (-1, fused.shape[-1])), kernel, labels, weights)
        terms = {"aux_loss": aux_loss, "metrics": metrics}
        if not token_losses:
            return {"loss_sum": found, **terms}
        losses = ops.reshape(found[1], ops.shape(batch["labels"]))
        return {"loss_sum": found[0], **terms, "token_losses": losses}

    def initial_cache(self, batch_size: int, max_length: int, dtype: str | None = None) -> dict[str, Any]:
        """Returns an empty decoding state of the router and of every expert, for `max_length` tokens."""
        caches: dict[str, Any] = {"router": self.router.initial_cache(batch_size, max_length, dtype)}
        for number, expert in enumerate(self.experts):
            part = expert if isinstance(expert, GaussianDiffuser) else expert.backbone
            caches[f"expert_{number}"] = part.initial_cache(batch_size, max_length)
        return caches

    def decode(
        self,
        token_ids: Any,
        cache: Mapping[str, Any],
        index: Any,
        padding: Any = None,
        *,
        last_only: bool = False,
    ) -> tuple[Any, dict[str, Any]]:
        """Reads new tokens into every cache, as `LanguageModel.decode` does into one.

        Returns:
            Logits (b, t, v) after the given tokens, float32, and the new cache.
        """
        token_ids = read_inputs(token_ids)[0]
        new_cache: dict[str, Any] = {}
        log_weights, new_cache["router"] = self.router.step(token_ids, cache["router"], index, padding)
        last = slice(-1, None) if last_only else slice(None)
        states: dict[int, Any] = {}
        for number, expert in self._in_order():
            name = f"expert_{number}"
            if isinstance(expert, GaussianDiffuser):
                options: dict[str, Any] = {"num_steps": self.sampling_steps, "last_only": last_only}
                given = states[self.transformer]
                states[number], new_cache[name] = expert.step(given, cache[name], index, padding, **options)
            else:
                states[number], new_cache[name] = expert.backbone.step(token_ids, cache[name], index, padding)
        cut = {n: state if state.shape[1] == 1 else state[:, last] for n, state in states.items()}
        return self._logits(self._weighted(log_weights[:, last], cut)), new_cache
