"""The reference of a policy: the model that it starts from."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np

from highnoon.alignment.answer_log_probs import token_log_probs_of
from highnoon.config import ConfigError, require_choice
from highnoon.data import Derivation, DerivedColumn
from highnoon.layers.graph_function import graph_function
from highnoon.models.lora_factors import factor_names, layers_with_factors
from highnoon.training.frozen_model import FrozenModel
from highnoon.training.frozen_models import variables_hash, weights_hash

COLUMN = "reference_log_probs"
COPY, DERIVED, NO_ADAPTER = "copy", "column", "no_adapter"
_BATCH_SIZE = 8


class Reference(FrozenModel):
    """A frozen model, and how its log-probabilities reach a step.

    Args:
        reference: The model that the policy starts from, or the path of a saved one. With `"no_adapter"` it
            has factors of LoRA that are not trained yet, or none.
        by: `"column"` computes the log-probabilities of all answers once, before the first step, and stores
            them with the tokens. `"copy"` runs the reference in every step, next to the policy.
            `"no_adapter"` runs the policy itself without its factors of LoRA.
        expected_hash: The hash that its weights must have; None takes any.

    Raises:
        ConfigError: `reference` is no model or path, or `by` is none of the three.
    """

    def __init__(self, reference: Any, by: str = DERIVED, expected_hash: str | None = None) -> None:
        if reference is None:
            raise ConfigError(
                "`reference` must be the model that the policy starts from, or the path of a saved one; "
                "received None; give it, also to a run that is resumed and had one in memory"
            )
        super().__init__(reference, expected_hash, name="reference")
        self.by = require_choice("reference_by", by, (DERIVED, COPY, NO_ADAPTER))

    @functools.cached_property
    def hash(self) -> str:
        """The hash of the weights; with `"no_adapter"` of those that are not factors of LoRA.

        Raises:
            ConfigError: it is not the expected one.
        """
        if self.by != NO_ADAPTER:
            return str(super().hash)
        factors = {id(factor) for pair in _factors(self.model) for factor in pair}
        found = variables_hash([weight for weight in self.model.weights if id(weight) not in factors])
        if self._expected_hash not in (None, found):
            raise ConfigError(
                f"`reference` must have weights {self._expected_hash} under its factors; received {found}; "
                "give the model of before, or begin again with this one"
            )
        return found

    def require_untrained_adapter(self) -> None:
        """Checks that the model without its factors is the model that the policy starts from.

        Raises:
            ConfigError: its factors are trained already, so that it is another model without them.
        """
        if self.by != NO_ADAPTER:
            return
        if any(np.any(keras.ops.convert_to_numpy(second)) for _, second in _factors(self.model)):
            raise ConfigError(
                'reference_by="no_adapter" needs a policy whose factors of LoRA are new; received trained '
                'ones, without which it is another model; use reference_by="column", or merge the factors '
                "and add new ones"
            )

    def derivation(self, window: int) -> Derivation:
        """Returns what computes the reference's log-probability of each next token.

        Args:
            window: Tokens of a document that are read at once, from its beginning.

        Raises:
            ConfigError: in computing, a model in memory was trained since its hash was taken.
        """
        config = {"kind": "reference_log_probs", "dtype": self.model.dtype_policy.name}
        columns = {COLUMN: DerivedColumn("<f4")}
        log_probs = graph_function(lambda batch: self.token_log_probs(self.model, batch))
        is_checked = False

        def compute(batch: Mapping[str, Any]) -> dict[str, np.ndarray]:
            nonlocal is_checked
            if not is_checked and weights_hash(self.model) != self.hash:
                raise ConfigError(
                    "`reference` was trained since it was given, and its log-probabilities of new data would "
                    "be those of another model; give a copy of it, or the path of its folder"
                )
            is_checked = True
            tensors = {name: keras.ops.convert_to_tensor(array) for name, array in batch.items()}
            return {COLUMN: np.asarray(log_probs(tensors))}

        return Derivation(columns, compute, self.hash, config, window, _BATCH_SIZE)

    def token_log_probs(self, model: keras.Model, batch: Mapping[str, Any]) -> Any:
        """Returns the reference's log-probability of each label, without a gradient.

        Args:
            model: The policy, which is the reference without its factors; another way of computing them
                takes the reference itself.
            batch: As of `token_log_probs_of`.
        """
        reference = model if self.by == NO_ADAPTER else self.model
        scope = without_adapter(model) if self.by == NO_ADAPTER else contextlib.nullcontext()
        with scope:
            found = token_log_probs_of(reference, batch, training=False)
        return keras.ops.stop_gradient(found.log_probs)


@contextlib.contextmanager
def without_adapter(model: keras.Model) -> Iterator[None]:
    """A context in which a model computes without its factors of LoRA.

    Raises:
        ConfigError: it has none.
    """
    layers = list(layers_with_factors(model).values())
    if not layers:
        raise ConfigError(
            'reference_by="no_adapter" needs a policy with factors of LoRA; received one without; add them '
            '(--lora RANK), or use reference_by="column"'
        )
    for layer in layers:
        layer.lora_enabled = False
    try:
        yield
    finally:
        for layer in layers:
            layer.lora_enabled = True


def _factors(model: keras.Model) -> list[tuple[Any, Any]]:
    """The factors of each layer of a model that has any."""
    layers = layers_with_factors(model).values()
    return [tuple(getattr(layer, name) for name in factor_names(layer)) for layer in layers]
