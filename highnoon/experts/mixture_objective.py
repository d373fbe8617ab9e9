"""Training a router over frozen experts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops

from highnoon.config import ConfigError, require_number
from highnoon.data import DerivedColumns, StackedColumns
from highnoon.experts.expert_columns import LOG_PROBS, expert_derivation
from highnoon.experts.shared_tokenizer import require_tokenizer
from highnoon.inference.decoding.uncached_model import decoding_model
from highnoon.layers.experts.router_losses import LossWeights, entropy, router_losses
from highnoon.training.frozen_model import FrozenModel
from highnoon.training.objective import (
    NEXT_TOKEN_COLUMNS,
    Column,
    Metric,
    Objective,
    Terms,
    register_objective,
)

if TYPE_CHECKING:
    from highnoon.training.plans.row_preparation import RowPreparation, StageRows
    from highnoon.training.plans.stage_sources import StageSources

COLUMN = "expert_log_probs"
_LOAD, _EXPERT_LOSS, _TOKEN_ENTROPY = "mixture/load", "mixture/expert_loss", "router/token_entropy"


@register_objective("mixture")
class MixtureObjective(Objective):
    """The cross entropy of a mixture of frozen language models, of which the router alone is trained.

        w    = router(token_ids[<= t])                           one weight an expert, summing to 1
        loss = -log sum_k w[k] p_k(label[t] | token_ids[<= t])
        aux  = entropy_reg * (log K - H(mean of w over the supervised tokens of a row))

    `loss` is a mean over supervised tokens, in nats; `aux` is the mean of its rows, weighted by their
    supervised tokens, so that micro-batches and replicas add up to that of the entire batch.

    All that training needs of an expert is `log p_k` of the token that came: a derived column, which is
    computed once for a store and the hash of the expert's weights. Each expert reads a document from its
    beginning, up to `max_seq_length` tokens at a time. No expert runs in a step, and none is in a checkpoint.
    With uniform weights, as a new router gives, the loss is at most the mean of the experts' losses, token by
    token, since the logarithm is concave.

    `entropy_reg` has the name that published code gives to a reward for the entropy of each token's weights.
    That pushes every single token towards equal weights, an average of the experts. Here it asks that the
    experts share the load over a row, while a token may choose one of them alone.

    Reports `mixture/load_K` and `mixture/expert_loss_K` of each expert, `mixture/best_expert_loss`, and
    `router/token_entropy` and `router/load_entropy`, over log K.

    Args:
        experts: Language models with one tokenizer, or the paths of saved ones, at least two. Runs that are
            described in YAML or started again from their folder need paths.
        entropy_reg: Weight of the regularizer, at least 0.
        expert_hashes: The hashes that the experts' weights must have; None takes any.

    Raises:
        ConfigError: an argument is out of its range.

    Example:

    ```python
    import highnoon as hn
    from highnoon.experts import ExpertRouter, MixtureObjective

    experts = [hn.create_model("highnoon-nano", num_reasoning_blocks=1) for _ in range(2)]
    objective = MixtureObjective(experts)
    assert objective.columns["expert_log_probs"].axes == ("token", 2)
    ```

    Jacobs et al. 1991, "Adaptive Mixtures of Local Experts", equation 1.3, with frozen experts; the entropy
    of the mean load: Mustafa et al. 2022, LIMoE (arXiv:2206.02770), the global entropy loss.
    """

    alerts_off = ("dead_experts",)  # an expert that is never the best one need not be used

    def __init__(
        self,
        experts: Sequence[Any],
        entropy_reg: float = 0.01,
        expert_hashes: Sequence[str | None] | None = None,
    ) -> None:
        self.entropy_reg = require_number("entropy_reg", entropy_reg, least=0)
        self._experts = FrozenModel.read_all(experts, expert_hashes)
        self.columns = {**NEXT_TOKEN_COLUMNS, COLUMN: Column("float32", ("token", len(experts)))}
        each = [f"{name}_{number}" for name in (_LOAD, _EXPERT_LOSS) for number in range(len(experts))]
        whole = ["mixture/best_expert_loss", "router/load_entropy", _TOKEN_ENTROPY]
        self.figures = ("perplexity", *each, *whole)

    def weight(self, batch: Mapping[str, Any]) -> Any:
        """Supervised tokens."""
        return ops.sum(batch["loss_weights"])

    def terms(self, model: keras.Model, batch: Mapping[str, Any], training: bool) -> Terms:
        log_weights = self._log_weights(model, batch, training)
        weights, log_probs = batch["loss_weights"], batch[COLUMN]
        loss_sum = -ops.sum(weights * ops.logsumexp(log_weights + log_probs, axis=-1))
        probabilities = ops.exp(log_weights)
        options = LossWeights(load_entropy=self.entropy_reg)
        aux_loss = router_losses(log_weights, probabilities, None, weights, 1, options)
        chosen = ops.stop_gradient(probabilities)
        of_tokens = entropy(chosen) / math.log(len(self._experts))
        num_tokens = self.weight(batch)
        metrics = {
            _LOAD: Metric(_sum_over_tokens(chosen, weights), num_tokens),
            _EXPERT_LOSS: Metric(_sum_over_tokens(-log_probs, weights), num_tokens),
            _TOKEN_ENTROPY: Metric(ops.sum(of_tokens * weights), num_tokens),
        }
        return Terms(loss_sum, aux_loss, metrics)

    def _log_weights(self, model: keras.Model, batch: Mapping[str, Any], training: bool) -> Any:
        router = getattr(model, "router", model)
        inputs = {name: batch[name] for name in ("token_ids", "segment_ids", "positions")}
        log_weights = router(inputs, training=training)
        if log_weights.shape[-1] != len(self._experts):
            raise ConfigError(
                f"a router over {len(self._experts)} experts must give as many weights a token; received "
                f"{log_weights.shape[-1]}; create it with num_experts={len(self._experts)}"
            )
        return log_weights

    def metric_values(self, metrics: Mapping[str, tuple[np.ndarray, float]]) -> dict[str, float]:
        values = super().metric_values({_TOKEN_ENTROPY: metrics[_TOKEN_ENTROPY]})
        sums = [metrics[name] for name in (_LOAD, _EXPERT_LOSS)]
        load, losses = (np.asarray(total) / max(weight, 1e-30) for total, weight in sums)
        values |= {f"{_LOAD}_{number}": float(value) for number, value in enumerate(load)}
        values |= {f"{_EXPERT_LOSS}_{number}": float(value) for number, value in enumerate(losses)}
        of_load = -float(np.sum(load * np.log(np.maximum(load, 1e-9))))
        values["router/load_entropy"] = of_load / math.log(len(load))
        return {**values, "mixture/best_expert_loss": float(losses.min())}

    def report(self, loss: float, metrics: Mapping[str, tuple[np.ndarray, float]]) -> dict[str, float]:
        return {"loss": loss, "perplexity": math.exp(min(loss, 700.0)), **self.metric_values(metrics)}

    def sequences(self, sources: StageSources, preparation: RowPreparation) -> StageRows:
        """Returns packed rows with the experts' log-probabilities, which are computed if they are new.

        One expert is in memory at a time.

        Raises:
            ConfigError: a source is a stream, or an expert has another tokenizer or a shorter context.
        """
        if sources.streamed:
            raise ConfigError(
                f"stage `{preparation.stage.name}` reads {sources.streamed[0]} as a stream, over which no "
                "expert can run beforehand; read it without `stream`"
            )
        stores = preparation.stores(sources)
        parts = [self._columns_of(expert, stores, preparation) for expert in self._experts]
        derived = [StackedColumns(COLUMN, LOG_PROBS, of_store) for of_store in zip(*parts, strict=True)]
        return preparation.packed_stores(sources, stores, derived)

    def _columns_of(
        self, expert: FrozenModel, stores: Sequence[Any], preparation: RowPreparation
    ) -> list[DerivedColumns]:
        window = preparation.config.max_seq_length
        require_tokenizer(expert.model, preparation.tokenizer, expert.name, "the run")
        longest = decoding_model(expert.model).max_seq_length
        if longest < window:
            raise ConfigError(
                f"`{expert.name}` must read rows of max_seq_length={window:,} tokens; received an expert of "
                f"{longest:,}; lower `max_seq_length`"
            )
        columns = preparation.derived(stores, expert_derivation(expert, window))
        expert.release()
        return columns

    def expert_hashes(self) -> list[str]:
        """Returns the hashes of the experts' weights; one expert is in memory at a time."""
        hashes = []
        for expert in self._experts:
            hashes.append(expert.hash)
            expert.release()
        return hashes

    def describe_outputs(self) -> dict[str, Any]:
        return {"expert_hashes": self.expert_hashes()}

    def get_config(self) -> dict[str, Any]:
        return {
            "experts": [expert.path for expert in self._experts],
            "entropy_reg": self.entropy_reg,
            "expert_hashes": self.expert_hashes(),
        }


def _sum_over_tokens(values: Any, weights: Any) -> Any:
    """Returns the sums (k,) of values (b, t, k), each token with its weight (b, t)."""
    return ops.einsum("btk,bt->k", values, weights)
