"""What frozen experts say of the tokens of a store, computed once (TensorFlow only)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from highnoon.data import Derivation, DerivedColumn
from highnoon.experts.expert_kinds import expert_kind
from highnoon.layers.graph_function import graph_function
from highnoon.training.frozen_model import FrozenModel

LOG_PROBS = "log_probs"
"""The derived column of one expert: the log-probability of the next token, at each token of a store."""
_BATCH_SIZE = 8


def expert_derivation(expert: FrozenModel, window: int) -> Derivation:
    """Returns what computes an expert's log-probability of each next token.

    The key of the column holds the hash of the expert's weights, its kind and its dtype policy.

    Args:
        expert: The expert.
        window: Most tokens of a document that it reads at once. A longer document is read in windows, each
            from its own beginning, as rows of that length are.
    """
    model = expert.model
    config = {
        "kind": "next_token_log_prob",
        "expert_kind": expert_kind(model).name,
        "dtype": model.dtype_policy.name,
    }
    columns = {LOG_PROBS: DerivedColumn("<f4")}
    return Derivation(columns, _computation(model), expert.hash, config, window, _BATCH_SIZE)


def _computation(model: keras.Model) -> Callable[[Mapping[str, Any]], dict[str, np.ndarray]]:
    kind = expert_kind(model)
    log_probs = graph_function(lambda batch: kind.token_log_probs(model, batch))

    def compute(batch: Mapping[str, Any]) -> dict[str, np.ndarray]:
        tensors = {name: keras.ops.convert_to_tensor(array) for name, array in batch.items()}
        return {LOG_PROBS: np.asarray(log_probs(tensors))}

    return compute
