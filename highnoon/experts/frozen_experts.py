"""What all models over frozen experts share: the experts, their hashes, and what is saved of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import keras
from keras import ops

from highnoon.config import ConfigError, require_flag, shown
from highnoon.experts.generates import Generates
from highnoon.experts.router import ExpertRouter
from highnoon.experts.shared_tokenizer import require_tokenizer, require_vocab_size, shared_tokenizer
from highnoon.inference.decoding.uncached_model import decoding_model
from highnoon.layers.experts.router_losses import entropy
from highnoon.models.backbone import read_inputs
from highnoon.training.frozen_model import FrozenModel
from highnoon.training.frozen_models import weights_hash
from highnoon.training.objectives.token_logits import separates_segments

INPUTS = ("token_ids", "padding_mask", "segment_ids", "positions")
"""The inputs of a model over experts, by name."""


class FrozenExperts(Generates, keras.Model):
    """The base class of language models over frozen experts and one router.

    A subclass calls `_set_router`, and has `call`, `loss_terms`, `initial_cache` and `decode`.

    Args:
        experts: Models with one tokenizer, or the paths of saved ones, at least two.
        contains_experts: Whether a saved model contains the experts, or names them by path and hash.
        expert_hashes: The hashes that the experts' weights must have; None takes any.
        name: The model's name.

    Attributes:
        experts: The experts; their `trainable` is false.
        expert_paths: The path of each expert; None for one that was given in memory.

    Raises:
        ConfigError: the experts have different tokenizers or vocabularies, a path has no model, or a hash
            differs.
    """

    router: Any
    option_names: ClassVar[tuple[str, ...]] = ()
    """The constructor's arguments besides experts and router that a saved model holds."""

    def __init__(
        self,
        experts: Sequence[Any],
        contains_experts: bool,
        expert_hashes: Sequence[str | None] | None,
        *,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        found = FrozenModel.read_all(experts, expert_hashes)
        self.expert_paths = tuple(expert.path for expert in found)
        self.experts = [expert.model for expert in found]
        self._tokenizer = shared_tokenizer(self.language_models)
        named = [expert.path is not None or expert.is_identified for expert in found]
        self._expert_hashes = tuple(expert.hash for expert in found) if any(named) else None
        for expert in self.experts:
            expert.trainable = False
        self.contains_experts = require_flag("contains_experts", contains_experts)
        self._require_paths()

    def _require_paths(self) -> None:
        for number, path in enumerate(self.expert_paths):
            if path is None and not self.contains_experts:
                raise ConfigError(
                    f"`experts[{number}]` must be a path where contains_experts=False; received a model in "
                    "memory; save it and give its path, or let the mixture contain its experts"
                )

    def _set_router(self, router: Any, **fields: Any) -> None:
        """Takes a given router, or makes one from `fields`.

        Raises:
            ConfigError: both are given, or the router was made for other experts.
        """
        if router is not None and fields:
            raise ConfigError(
                f"a router has its own {', '.join(fields)}; give `router` or the fields of a new one"
            )
        if router is None:
            router = ExpertRouter.for_experts(self.language_models, **{**self._router_fields(), **fields})
        self.router = FrozenModel(router, name="router").model
        self._require_own_router()

    def _router_fields(self) -> dict[str, Any]:
        """The fields of a new router that these experts determine."""
        return {}

    def _require_own_router(self) -> None:
        """Checks that the router was made for these experts, in this order."""
        router, number, tokenizer = self.router, len(self.experts), self.tokenizer
        if getattr(router, "num_experts", None) != number:
            raise ConfigError(
                f"`router` must be an ExpertRouter of num_experts={number}; received {shown(router)} of "
                f"{getattr(router, 'num_experts', 'none')}; give one that was made for these experts"
            )
        trained = (getattr(router, "outputs_description", None) or {}).get("expert_hashes")
        if trained is not None and tuple(trained) != self.expert_hashes:
            wrong = next(n for n in range(number) if trained[n] != self.expert_hashes[n])
            raise ConfigError(
                f"`experts[{wrong}]` must have weights {trained[wrong]}, with which the router was trained; "
                f"received {self.expert_hashes[wrong]}; give the same experts in the same order"
            )
        vocab_size = decoding_model(self.language_models[0]).vocab_size
        require_vocab_size(router, vocab_size, "router", "the experts")
        if tokenizer is not None and router.tokenizer is not None:
            require_tokenizer(router, tokenizer, "router", "the experts")

    @property
    def options(self) -> dict[str, Any]:
        """The arguments of `option_names`, as JSON values."""
        return {name: getattr(self, name) for name in self.option_names}

    @property
    def language_models(self) -> list[keras.Model]:
        """The experts that predict tokens."""
        return self.experts

    @property
    def max_seq_length(self) -> int:
        """The shortest context of router and experts."""
        return min(model.max_seq_length for model in (self.router, *map(decoding_model, self.experts)))

    @property
    def own_weights(self) -> list[keras.Variable]:
        """The weights that are not an expert's."""
        return self.router.weights

    @property
    def saved_weights(self) -> list[keras.Variable]:
        """The weights that a saved model holds: all, or its own where it names its experts."""
        return self.weights if self.contains_experts else self.own_weights

    @property
    def expert_hashes(self) -> tuple[str, ...]:
        """The hashes of the experts' weights; those of experts in memory are taken when they are needed."""
        if self._expert_hashes is None:
            self._expert_hashes = tuple(weights_hash(expert) for expert in self.experts)
        return self._expert_hashes

    def require_unchanged(self) -> None:
        """Checks that the experts still have the weights with which the model was made.

        Raises:
            ConfigError: one of them was trained since.
        """
        for number, expert in enumerate(self.experts):
            found = weights_hash(expert)
            if found != self.expert_hashes[number]:
                raise ConfigError(
                    f"`experts[{number}]` must have weights {self.expert_hashes[number]}, with which the "
                    f"mixture was made; received {found}; save the expert and make a new mixture"
                )

    @property
    def vocab_size(self) -> int:
        return self.router.vocab_size

    @property
    def tokenizer(self) -> Any:
        return self._tokenizer

    @tokenizer.setter
    def tokenizer(self, tokenizer: Any) -> None:
        self._tokenizer = self.router.tokenizer = tokenizer

    @property
    def separates_segments(self) -> bool:
        """Whether every expert can tell the documents of a row apart."""
        return all(separates_segments(expert) for expert in self.experts)

    @contextlib.contextmanager
    def compiled_parts(self) -> Iterator[None]:
        """Within it, a graph made from this model has the mixers of router and experts compiled by XLA."""
        with contextlib.ExitStack() as stack:
            for model in (self.router, *self.experts):
                if hasattr(model, "compiled_parts"):
                    stack.enter_context(model.compiled_parts())
            yield


def as_inputs(inputs: Any) -> dict[str, Any]:
    """Returns the inputs of a model, an array of token ids or a mapping, as a dict without None."""
    token_ids = read_inputs(inputs)[0]
    given = inputs if isinstance(inputs, Mapping) else {}
    others = {key: given[key] for key in INPUTS[1:] if given.get(key) is not None}
    return {"token_ids": token_ids, **others}


def token_mask(inputs: Mapping[str, Any]) -> Any:
    """Returns 1 for tokens and 0 for padding, (b, t) float32."""
    mask = inputs.get("segment_ids", inputs.get("padding_mask"))
    if mask is None:
        return ops.ones(ops.shape(inputs["token_ids"]), "float32")
    return ops.cast(ops.cast(mask, "int32") > 0, "float32")


def router_metrics(weights: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Returns means over the tokens that are not padding, of the entropies over log(e).

    Args:
        weights: (b, t, e), summing to 1.
        inputs: Those of the router.
    """
    is_token = token_mask(inputs)
    num_tokens = ops.maximum(ops.sum(is_token), 1.0)
    largest = ops.log(float(weights.shape[-1]))
    load = ops.einsum("bte,bt->e", weights, is_token) / num_tokens
    return {
        "router/token_entropy": ops.sum(entropy(weights) * is_token) / num_tokens / largest,
        "router/load_entropy": entropy(load) / largest,
    }
