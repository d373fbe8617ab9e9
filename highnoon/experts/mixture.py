"""Frozen language models under one router, as one language model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from keras import ops

from highnoon.config import require_count
from highnoon.experts.expert_kinds import expert_kind
from highnoon.experts.frozen_experts import INPUTS, FrozenExperts, as_inputs, router_metrics
from highnoon.experts.kept_experts import kept_log_weights
from highnoon.experts.mixed_log_probs import mixed_log_probs
from highnoon.models.backbone import read_inputs


class MixtureOfModels(FrozenExperts):
    """A language model whose distribution is a mixture of those of frozen language models.

    ```
    w      = router(token_ids[<= t])
    logits = logsumexp_k(log w[k] + log_softmax(logits_k))          log-probabilities, for each token
    ```

    The experts keep their own heads and are read as they were trained; their `trainable` is set to false.
    Without a router of its own the mixture gets a new one, which weighs all experts alike. Train a router
    with `objective="mixture"`, which runs no expert, and give it here.

    It has what generation, chat and evaluation ask of a language model. Its cache holds those of the router
    and of every expert, which all read every token. With `top_k` a token uses the experts of the largest
    weights alone, and `LazyMixture` decodes without running the others.

    Args:
        experts: Language models with one tokenizer, or the paths of saved ones, at least two.
        router: An `ExpertRouter`, or the path of a saved one; None makes a new one.
        contains_experts: Whether a saved mixture contains the experts. If not, it names each by its path and
            the hash of its weights, and holds the weights of the router alone.
        expert_hashes: The hashes that the experts' weights must have; None takes any. A router that was
            trained knows those of its experts.
        top_k: Experts that a token uses, at least 1; their weights are divided by their sum. None uses all,
            as the training of a router always does.
        name: The model's name.
        **router_fields: Arguments of the new router, such as `embedding_dim=32`.

    Attributes:
        expert_paths: The path of each expert; None for one that was given in memory.
        top_k: May be set; compiled functions follow.

    Inputs:
        As those of `LanguageModel`.

    Returns:
        Log-probabilities (b, t, v), float32.

    Raises:
        ConfigError: the experts have different tokenizers or vocabularies, a path has no model, a hash
            differs, or the router was made for other experts.

    Example:

    ```python
    import numpy as np
    import highnoon as hn
    from highnoon.experts import MixtureOfModels

    shape = {"vocab_size": 50, "embedding_dim": 32, "num_reasoning_blocks": 1}
    experts = [hn.LanguageModel(block_pattern=name, **shape) for name in ("transformer", "mamba_only")]
    mixture = MixtureOfModels(experts, embedding_dim=16)
    log_probs = mixture(np.array([[2, 7, 9]]))
    assert np.allclose(np.exp(log_probs).sum(-1), 1, atol=1e-5)
    ```
    """

    family_name = "expert_mixture"
    option_names = ("top_k",)

    def __init__(
        self,
        experts: Sequence[Any],
        router: Any = None,
        contains_experts: bool = True,
        expert_hashes: Sequence[str | None] | None = None,
        *,
        top_k: int | None = None,
        name: str | None = None,
        **router_fields: Any,
    ) -> None:
        super().__init__(experts, contains_experts, expert_hashes, name=name)
        self._set_router(router, **router_fields)
        self.kinds = tuple(expert_kind(expert) for expert in self.experts)
        self.top_k = None if top_k is None else require_count("top_k", top_k, most=len(self.experts))
        self.built = True

    @property
    def options(self) -> dict[str, Any]:
        return {} if self.top_k is None else super().options

    @property
    def is_causal(self) -> bool:
        """Whether no logit depends on a later token."""
        return all(getattr(expert, "is_causal", True) for expert in self.experts)

    def kept(self, log_weights: Any, training: bool | None = None) -> Any:
        """Returns the log-weights (b, t, e) of the experts that each token uses: in training of all."""
        if training or self.top_k is None:
            return log_weights
        return kept_log_weights(log_weights, require_count("top_k", self.top_k, most=len(self.experts)))

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        inputs = as_inputs(inputs)
        return self._mixed(self.router(inputs, training=training), inputs, training)

    def log_probs_of(self, states: Any, inputs: Mapping[str, Any], training: bool | None = None) -> Any:
        """Returns what `call` does, from the states (b, t, d) of the router's trunk for `inputs`."""
        return self._mixed(self.router.log_weights_of(states), inputs, training)

    def _mixed(self, log_weights: Any, inputs: Mapping[str, Any], training: bool | None) -> Any:
        return mixed_log_probs(
            self.kept(log_weights, training),
            (
                ops.stop_gradient(kind.logits(expert, inputs))
                for kind, expert in zip(self.kinds, self.experts, strict=True)
            ),
        )

    def loss_terms(
        self, batch: dict[str, Any], training: bool = True, token_losses: bool = False
    ) -> dict[str, Any]:
        """Returns the sums that a step needs, from one log-probability an expert and label.

        The logits of a batch are never in memory where the experts are of this package. The terms are those
        of `LanguageModel.loss_terms`; the metrics are the router's.
        """
        inputs = {key: batch[key] for key in INPUTS if batch.get(key) is not None}
        log_weights = self.kept(self.router(inputs, training=training), training)
        log_probs = ops.stop_gradient(
            ops.stack(
                [
                    kind.token_log_probs(expert, batch)
                    for kind, expert in zip(self.kinds, self.experts, strict=True)
                ],
                axis=-1,
            )
        )
        losses = -ops.logsumexp(log_weights + log_probs, axis=-1)
        terms = {
            "loss_sum": ops.sum(losses * batch["loss_weights"]),
            "aux_loss": ops.zeros((), "float32"),
            "metrics": router_metrics(ops.exp(ops.stop_gradient(log_weights)), inputs),
        }
        return {**terms, "token_losses": ops.stop_gradient(losses)} if token_losses else terms

    def initial_cache(self, batch_size: int, max_length: int, dtype: str | None = None) -> dict[str, Any]:
        """Returns an empty decoding state of the router and of every expert, for `max_length` tokens."""
        caches = {
            f"expert_{number}": kind.initial_cache(expert, batch_size, max_length)
            for number, (kind, expert) in enumerate(zip(self.kinds, self.experts, strict=True))
        }
        return {"router": self.router.initial_cache(batch_size, max_length, dtype), **caches}

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
            Log-probabilities (b, t, v) after the given tokens, float32, and the new cache.
        """
        first = token_ids.shape[1] - 1 if last_only else 0
        return self.state_step(token_ids, cache, index, padding, first)[1:]

    def state_step(
        self, token_ids: Any, cache: Mapping[str, Any], index: Any, padding: Any, first: int
    ) -> tuple[Any, Any, dict[str, Any]]:
        """As `decode`, of the tokens from `first` on, with the states (b, t, d) of the router's trunk before
        the results."""
        token_ids = read_inputs(token_ids)[0]
        new_cache: dict[str, Any] = {}
        states, log_weights, new_cache["router"] = self.router.state_step(
            token_ids, cache["router"], index, padding
        )
        log_weights = self.kept(log_weights[:, first:])

        def logits() -> Iterator[Any]:
            for number, (kind, expert) in enumerate(zip(self.kinds, self.experts, strict=True)):
                name = f"expert_{number}"
                given, new_cache[name] = kind.decode(expert, token_ids, cache[name], index, padding)
                yield given[:, first:]

        return ops.cast(states, "float32"), mixed_log_probs(log_weights, logits()), new_cache
