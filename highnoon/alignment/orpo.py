"""Odds ratio preference optimization: fine-tuning and preferences in one loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from highnoon.alignment.answer_objective import AnswerObjective
from highnoon.alignment.pair_objective import over_pairs
from highnoon.alignment.preference_metrics import PREFERENCE_FIGURES, preference_metrics
from highnoon.config import require_number
from highnoon.training.objective import Terms, register_objective


@register_objective("orpo")
class ORPO(AnswerObjective):
    """Odds ratio preference optimization: cross entropy of the better answer, and its odds over the worse.

    ```
    m(y) = 1 / |y| log p(y | x)                            P(y) = exp(m(y)) is a mean probability a token
    odds = log(P / (1 - P))
    loss = -m(chosen) - beta log sigmoid(odds(chosen) - odds(rejected))
    ```

    a mean over pairs. It needs neither a reference nor supervised fine-tuning before it: the first term is
    that of fine-tuning, over the answer's tokens, of each pair with the same weight.

    Reports `orpo/nll`, the first term, `orpo/log_odds`, the difference of the odds, and the figures of `DPO`
    with `beta m(y)` as the reward.

    Args:
        beta: Weight of the odds ratio (the paper's lambda), at least 0.
        overlong: `"truncate"` or `"skip"`, see `PairObjective`.

    Raises:
        ConfigError: an argument is out of its range.

    Example:

    ```python
    from highnoon.alignment import ORPO

    assert ORPO().get_config() == {"overlong": "truncate", "beta": 0.1}
    ```

    Hong, Lee, Thorne 2024 (arXiv:2403.07691), equations 4, 6 and 7.
    """

    figures = (*PREFERENCE_FIGURES, "orpo/nll", "orpo/log_odds")

    def __init__(self, beta: float = 0.1, overlong: str = "truncate") -> None:
        self.beta = require_number("beta", beta, least=0)
        super().__init__(overlong)

    def terms(self, model: keras.Model, batch: Mapping[str, Any], training: bool) -> Terms:
        answers = self.answers(model, batch, training)
        means = [total / n for total, n in zip(answers.log_probs, answers.lengths, strict=True)]
        losses = orpo_losses(means[0], means[1], self.beta)
        metrics = preference_metrics([self.beta * mean for mean in means], answers)
        log_odds = ops.stop_gradient(log_odds_of(means[0]) - log_odds_of(means[1]))
        metrics["orpo/nll"] = over_pairs(ops.stop_gradient(-means[0]), answers.is_pair)
        metrics["orpo/log_odds"] = over_pairs(log_odds, answers.is_pair)
        loss_sum = over_pairs(losses, answers.is_pair).total
        return Terms(loss_sum, answers.aux_loss, {**answers.metrics, **metrics})

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "beta": self.beta}


def orpo_losses(chosen: Any, rejected: Any, beta: float) -> Any:
    """Returns the loss of each pair, see `ORPO`.

    Args:
        chosen: Mean log-probability of a token of the better answer, of any shape, at most 0.
        rejected: That of the worse answer.
        beta: At least 0.
    """
    return -chosen - beta * ops.log_sigmoid(log_odds_of(chosen) - log_odds_of(rejected))


def log_odds_of(log_probs: Any) -> Any:
    """Returns `log(p / (1 - p))` of log-probabilities; those of p = 1 count as just below it."""
    below_one = ops.minimum(log_probs, -1e-6)
    return below_one - ops.log(-ops.expm1(below_one))
