"""Simple preference optimization, without a reference."""

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


@register_objective("simpo")
class SimPO(AnswerObjective):
    """Simple preference optimization: the reward is the mean log-probability of an answer's tokens.

    ```
    r(y) = beta / |y| log p(y | x)
    loss = -log sigmoid(r(chosen) - r(rejected) - gamma)
    ```

    a mean over pairs. There is no reference: nothing but the learning rate and the data keep the policy near
    where it started.

    Args:
        beta: Scale of the reward, above 0.
        gamma: The margin that the chosen answer's reward must have, at least 0. (TRL's `simpo_gamma` is the
            same; papers also give `gamma / beta`.)
        overlong: `"truncate"` or `"skip"`, see `PairObjective`.

    Raises:
        ConfigError: an argument is out of its range.

    Example:

    ```python
    from highnoon.alignment import SimPO

    assert SimPO(beta=2.0).get_config()["gamma"] == 1.0
    ```

    Meng, Xia, Chen 2024 (arXiv:2405.14734), equation 6.
    """

    figures = PREFERENCE_FIGURES

    def __init__(self, beta: float = 2.0, gamma: float = 1.0, overlong: str = "truncate") -> None:
        self.beta = require_number("beta", beta, above=0)
        self.gamma = require_number("gamma", gamma, least=0)
        super().__init__(overlong)

    def terms(self, model: keras.Model, batch: Mapping[str, Any], training: bool) -> Terms:
        answers = self.answers(model, batch, training)
        means = [total / n for total, n in zip(answers.log_probs, answers.lengths, strict=True)]
        losses = simpo_losses(means[0], means[1], self.beta, self.gamma)
        metrics = preference_metrics([self.beta * mean for mean in means], answers)
        loss_sum = over_pairs(losses, answers.is_pair).total
        return Terms(loss_sum, answers.aux_loss, {**answers.metrics, **metrics})

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "beta": self.beta, "gamma": self.gamma}


def simpo_losses(chosen: Any, rejected: Any, beta: float, gamma: float) -> Any:
    """Returns the loss of each pair, see `SimPO`.

    Args:
        chosen: Mean log-probability of a token of the better answer, of any shape.
        rejected: That of the worse answer.
        beta: Above 0.
        gamma: At least 0.
    """
    return -ops.log_sigmoid(beta * (chosen - rejected) - gamma)
