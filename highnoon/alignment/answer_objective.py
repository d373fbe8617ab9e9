"""Base class of objectives that compare the log-probabilities of answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
from keras import ops

from highnoon.alignment.answer_log_probs import segment_sums, token_log_probs_of
from highnoon.alignment.pair_objective import INPUTS, PAIR_COLUMNS, PairObjective
from highnoon.alignment.reference import COLUMN, COPY, DERIVED, Reference
from highnoon.config import ConfigError
from highnoon.training.objective import Column, Metric


class Answers(NamedTuple):
    """The answers of a batch, one array (rows, t) a lane with segment k at index k - 1.

    Args:
        log_probs: The sum over the tokens of each answer.
        lengths: Tokens of each answer.
        is_pair: Whether there is such a segment, (rows, t). Elsewhere a log-probability is -1 and a length 1,
            so that no loss of them is infinite.
        aux_loss: Of the model.
        metrics: Of the model, as sums.
    """

    log_probs: list[Any]
    lengths: list[Any]
    is_pair: Any
    aux_loss: Any
    metrics: dict[str, Metric]


class AnswerObjective(PairObjective):
    """An objective that reads the log-probabilities of whole answers under the policy.

    Args:
        overlong: As in `PairObjective`.
        reference: The reference; None for an objective without one.
    """

    def __init__(self, overlong: str = "truncate", reference: Reference | None = None) -> None:
        super().__init__(overlong)
        self._reference = reference
        if reference is not None and reference.by == DERIVED:
            self.columns = {**PAIR_COLUMNS, COLUMN: Column("float32", (2, "token"))}

    def frozen_models(self) -> Mapping[str, keras.Model]:
        has_copy = self._reference is not None and self._reference.by == COPY
        return {"reference": self._reference.model} if has_copy and self._reference is not None else {}

    def answers(
        self,
        model: keras.Model,
        batch: Mapping[str, Any],
        training: bool,
        lanes: tuple[int, ...] | None = None,
    ) -> Answers:
        """Returns the log-probabilities of the answers under the policy.

        Args:
            model: The policy.
            batch: Rows of pairs.
            training: Whether a training step asks; dropout is off in any case.
            lanes: Which lanes; None takes those that are trained on.
        """
        inputs = {name: self.in_lanes(batch[name], lanes) for name in INPUTS}
        found = token_log_probs_of(model, inputs, training)
        lengths = self._sums(self.in_lanes(batch["loss_weights"], lanes), batch, lanes)
        is_pair = lengths[0] > 0
        return Answers(
            [ops.where(is_pair, sums, -1.0) for sums in self._answer_sums(found.log_probs, batch, lanes)],
            [ops.where(is_pair, length, 1.0) for length in lengths],
            is_pair,
            found.aux_loss,
            self.token_metrics(found.metrics, batch),
        )

    def reference_log_probs(
        self, model: keras.Model, batch: Mapping[str, Any], lanes: tuple[int, ...] | None = None
    ) -> list[Any]:
        """Returns the log-probabilities of the answers under the reference, one array (rows, t) a lane.

        Raises:
            ConfigError: the reference is the policy itself, which changes.
        """
        reference = self._reference
        assert reference is not None
        if reference.by == DERIVED:
            return self._answer_sums(self.in_lanes(batch[COLUMN], lanes), batch, lanes)
        if reference.by == COPY and reference.model is model:
            raise ConfigError(
                "the reference must be another object than the policy, which changes: give a copy of it, the "
                'path of its folder, or reference_by="column"'
            )
        inputs = {name: self.in_lanes(batch[name], lanes) for name in INPUTS}
        return self._answer_sums(reference.token_log_probs(model, inputs), batch, lanes)

    def derived(self, stores: Any, preparation: Any) -> Any:
        if self._reference is None:
            return None
        self._reference.require_tokenizer(preparation.tokenizer)
        self._reference.require_untrained_adapter()
        if self._reference.by != DERIVED:
            return None
        columns = preparation.derived(stores, self._reference.derivation(preparation.config.max_seq_length))
        self._reference.release()
        return columns

    def get_config(self) -> dict[str, Any]:
        if self._reference is None:
            return super().get_config()
        reference = {
            "reference": self._reference.path,
            "reference_by": self._reference.by,
            "reference_hash": self._reference.hash,
        }
        return {**super().get_config(), **reference}

    def _answer_sums(self, log_probs: Any, batch: Mapping[str, Any], lanes: Any) -> list[Any]:
        """The sums over answers of log-probabilities of tokens, (rows * lanes, t)."""
        weights = self.in_lanes(batch["loss_weights"], lanes)
        return self._sums(ops.where(weights > 0, log_probs, 0.0), batch, lanes)

    def _sums(self, values: Any, batch: Mapping[str, Any], lanes: Any) -> list[Any]:
        return self.by_lane(segment_sums(values, self.in_lanes(batch["segment_ids"], lanes)), lanes)
