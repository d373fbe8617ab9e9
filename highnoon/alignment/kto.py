"""Kahneman-Tversky optimization, on answers that are labeled one by one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from highnoon.alignment.answer_objective import AnswerObjective
from highnoon.alignment.labeled_answers import LabeledAnswers
from highnoon.alignment.pair_objective import over_pairs
from highnoon.alignment.pair_view import PAIR_VALUES
from highnoon.alignment.reference import Reference
from highnoon.config import require_number
from highnoon.training.objective import Column, Metric, Terms, register_objective

REFERENCE_POINT = "kto_reference_point"
_DESIRABLE, _UNDESIRABLE, _ACCURACY = "rewards/desirable", "rewards/undesirable", "rewards/accuracy"
_OTHER_PROMPT = (1,)


@register_objective("kto")
class KTO(AnswerObjective):
    """Kahneman-Tversky optimization: each answer is desirable or not, and needs no counterpart.

    ```
    r(y)  = log p(y | x) - log p_ref(y | x)
    z     = max(0, mean over the global batch of r(y')),   y' an answer to another prompt
    loss  = w_d (1 - sigmoid(beta (r(y) - z)))             for a desirable answer
            w_u (1 - sigmoid(beta (z - r(y))))             for an undesirable one
    ```

    a mean over answers. The reference point z estimates the divergence of the policy from the reference, with
    answers that the prompt did not ask for, see `LabeledAnswers`. It has no gradient, and is that of the
    global batch at the weights before the step, whatever the number of micro-batches and replicas; an
    evaluation takes it over the whole split.

    Reports the mean of `beta r` of desirable and of undesirable answers, their difference as the margin, the
    fraction of answers on the right side of the reference point, the mean log-probability, and `kto/kl`, z.

    Args:
        reference: As in `DPO`.
        beta: Strength of the pull towards the reference, above 0.
        desirable_weight: w_d, above 0.
        undesirable_weight: w_u, above 0. The paper advises that `w_d n_d / (w_u n_u)` be in [1, 4/3], of n_d
            desirable and n_u undesirable answers.
        reference_by: As in `DPO`.
        reference_hash: The hash that the reference's weights must have; None takes any.
        overlong: `"truncate"` or `"skip"`, see `PairObjective`.

    Raises:
        ConfigError: an argument is out of its range, or the reference has other weights.

    Example:

    ```python
    import highnoon as hn
    from highnoon.alignment import KTO

    policy = hn.create_model("highnoon-nano", num_reasoning_blocks=1)
    assert KTO(reference=policy).global_columns == ("kto_reference_point",)
    ```

    Ethayarajh et al. 2024 (arXiv:2402.01306), equation 8 and section 4.1.
    """

    pairs_class = LabeledAnswers
    lanes = (0,)
    sequences_per_row = 1
    global_columns = (REFERENCE_POINT,)
    figures = (_DESIRABLE, _UNDESIRABLE, "rewards/margin", _ACCURACY, "log_probs/mean", "kto/kl")

    def __init__(
        self,
        reference: Any = None,
        beta: float = 0.1,
        desirable_weight: float = 1.0,
        undesirable_weight: float = 1.0,
        reference_by: str = "column",
        reference_hash: str | None = None,
        overlong: str = "truncate",
    ) -> None:
        self.beta = require_number("beta", beta, above=0)
        self.desirable_weight = require_number("desirable_weight", desirable_weight, above=0)
        self.undesirable_weight = require_number("undesirable_weight", undesirable_weight, above=0)
        super().__init__(overlong, Reference(reference, reference_by, reference_hash))
        self.columns = {**self.columns, REFERENCE_POINT: Column("float32")}

    def global_means(self, model: keras.Model, batch: Mapping[str, Any]) -> Mapping[str, Metric]:
        answers = self.answers(model, batch, training=False, lanes=_OTHER_PROMPT)
        (reference,) = self.reference_log_probs(model, batch, _OTHER_PROMPT)
        ratios = ops.stop_gradient(answers.log_probs[0] - reference)
        return {REFERENCE_POINT: over_pairs(ratios, answers.is_pair)}

    def terms(self, model: keras.Model, batch: Mapping[str, Any], training: bool) -> Terms:
        answers = self.answers(model, batch, training)
        (reference,) = self.reference_log_probs(model, batch)
        ratios = answers.log_probs[0] - reference
        point = ops.maximum(batch[REFERENCE_POINT], 0.0)[:, None]
        is_desirable = batch[PAIR_VALUES] > 0
        weights = (self.desirable_weight, self.undesirable_weight)
        losses = kto_losses(ratios, point, is_desirable, self.beta, weights)
        rewards = ops.stop_gradient(self.beta * ratios)
        is_pair = answers.is_pair
        side = ops.where(is_desirable, 1.0, -1.0) * (rewards - self.beta * point)
        metrics = {
            _DESIRABLE: over_pairs(rewards, ops.logical_and(is_pair, is_desirable)),
            _UNDESIRABLE: over_pairs(rewards, ops.logical_and(is_pair, ops.logical_not(is_desirable))),
            _ACCURACY: over_pairs((ops.sign(side) + 1.0) / 2.0, is_pair),
            "log_probs/mean": over_pairs(ops.stop_gradient(answers.log_probs[0]), is_pair),
            "kto/kl": over_pairs(point + ops.zeros_like(ratios), is_pair),
        }
        loss_sum = over_pairs(losses, is_pair).total
        return Terms(loss_sum, answers.aux_loss, {**answers.metrics, **metrics})

    def metric_values(self, metrics: Mapping[str, tuple[np.ndarray, float]]) -> dict[str, float]:
        values = super().metric_values(metrics)
        if _DESIRABLE in values and _UNDESIRABLE in values:
            values["rewards/margin"] = values[_DESIRABLE] - values[_UNDESIRABLE]
        return values

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "beta": self.beta,
            "desirable_weight": self.desirable_weight,
            "undesirable_weight": self.undesirable_weight,
        }


def kto_losses(
    ratios: Any, point: Any, is_desirable: Any, beta: float, weights: tuple[float, float] = (1.0, 1.0)
) -> Any:
    """Returns the loss of each answer, see `KTO`.

    Args:
        ratios: `log p / p_ref` of each answer, of any shape.
        point: The reference point, at least 0, of a shape that broadcasts.
        is_desirable: Whether an answer is desirable.
        beta: Above 0.
        weights: Of desirable and of undesirable answers.
    """
    signed = beta * (ratios - point)
    desirable = weights[0] * (1.0 - ops.sigmoid(signed))
    return ops.where(is_desirable, desirable, weights[1] * (1.0 - ops.sigmoid(-signed)))
