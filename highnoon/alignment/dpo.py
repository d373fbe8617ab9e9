"""Direct preference optimization."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from highnoon.alignment.answer_objective import AnswerObjective
from highnoon.alignment.pair_objective import over_pairs
from highnoon.alignment.preference_metrics import PREFERENCE_FIGURES, preference_metrics
from highnoon.alignment.reference import Reference
from highnoon.config import ConfigError, require_choice, require_flag, require_number
from highnoon.training.objective import Terms, register_objective

LOSSES = ("sigmoid", "ipo", "robust")


@register_objective("dpo")
class DPO(AnswerObjective):
    """Direct preference optimization: the policy's own log-probabilities are the reward.

    ```
    r(y)  = beta (log p(y | x) - log p_ref(y | x))         the reward of an answer, without a constant of x
    h     = r(chosen) - r(rejected)
    sigmoid:  -(1 - e) log sigmoid(h) - e log sigmoid(-h)
    robust:   (-(1 - e) log sigmoid(h) + e log sigmoid(-h)) / (1 - 2 e)
    ipo:      (h / beta - 1 / (2 beta))^2
    ```

    a mean over pairs, with `e = label_smoothing`. The log-probability of an answer is the sum over its
    tokens, the end token included. At `e = 0`, `sigmoid` and `robust` are the loss of the paper; at `e > 0`,
    `sigmoid` assumes that a fraction `e` of the labels is flipped (conservative DPO), and `robust` is an
    unbiased estimate of the loss without the flips.

    Reports the mean rewards of chosen and rejected answers, their margin, the fraction of pairs with a margin
    above 0 (one half where it is 0), and the mean log-probabilities.

    Args:
        reference: The model that the policy starts from, or the path of a saved one. Runs that are described
            in YAML or started again from their folder need a path.
        beta: Strength of the pull towards the reference, above 0.
        loss: `"sigmoid"`, `"ipo"` or `"robust"`.
        label_smoothing: The fraction of flipped labels `e`, in [0, 0.5).
        length_normalized: Whether log-probabilities are means over the tokens of an answer, not sums, so that
            longer answers have no larger rewards.
        reference_by: How the reference's log-probabilities are found: `"column"` (computed once), `"copy"`
            (in every step) or `"no_adapter"` (the policy without its factors of LoRA), see `Reference`.
        reference_hash: The hash that the reference's weights must have; None takes any.
        overlong: `"truncate"` or `"skip"`, see `PairObjective`.

    Raises:
        ConfigError: an argument is out of its range, or the reference has other weights.

    Example:

    ```python
    import highnoon as hn
    from highnoon.alignment import DPO

    policy = hn.create_model("highnoon-nano", num_reasoning_blocks=1)
    objective = DPO(reference=policy, beta=0.1)  # its weights of now: the column is computed before training
    assert objective.columns["reference_log_probs"].axes == (2, "token")
    ```

    Rafailov et al. 2023 (arXiv:2305.18290), equation 7. IPO: Azar et al. 2023 (arXiv:2310.12036), equation
    17. Conservative DPO: Mitchell 2023, a note. Robust DPO: Ray Chowdhury et al. 2024 (arXiv:2403.00409),
    equation 9.
    """

    figures = PREFERENCE_FIGURES

    def __init__(
        self,
        reference: Any = None,
        beta: float = 0.1,
        loss: str = "sigmoid",
        label_smoothing: float = 0.0,
        length_normalized: bool = False,
        reference_by: str = "column",
        reference_hash: str | None = None,
        overlong: str = "truncate",
    ) -> None:
        self.beta = require_number("beta", beta, above=0)
        self.loss = require_choice("loss", loss, LOSSES)
        self.label_smoothing = require_number("label_smoothing", label_smoothing, least=0, below=0.5)
        self.length_normalized = require_flag("length_normalized", length_normalized)
        if self.loss == "ipo" and self.label_smoothing:
            raise ConfigError(
                f'`label_smoothing` is for loss="sigmoid" and loss="robust"; received {label_smoothing:g} '
                'with loss="ipo"; leave it out'
            )
        super().__init__(overlong, Reference(reference, reference_by, reference_hash))

    def terms(self, model: keras.Model, batch: Mapping[str, Any], training: bool) -> Terms:
        answers = self.answers(model, batch, training)
        reference = self.reference_log_probs(model, batch)
        ratios = [policy - frozen for policy, frozen in zip(answers.log_probs, reference, strict=True)]
        if self.length_normalized:
            ratios = [ratio / length for ratio, length in zip(ratios, answers.lengths, strict=True)]
        losses = dpo_losses(ratios[0] - ratios[1], self.beta, self.loss, self.label_smoothing)
        metrics = preference_metrics([self.beta * ratio for ratio in ratios], answers)
        loss_sum = over_pairs(losses, answers.is_pair).total
        return Terms(loss_sum, answers.aux_loss, {**answers.metrics, **metrics})

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "beta": self.beta,
            "loss": self.loss,
            "label_smoothing": self.label_smoothing,
            "length_normalized": self.length_normalized,
        }


def dpo_losses(differences: Any, beta: float, loss: str = "sigmoid", label_smoothing: float = 0.0) -> Any:
    """Returns the loss of each pair, see `DPO`.

    Args:
        differences: `log p / p_ref` of the chosen answer less that of the rejected one, of any shape.
        beta: Above 0.
        loss: `"sigmoid"`, `"ipo"` or `"robust"`.
        label_smoothing: In [0, 0.5).
    """
    if loss == "ipo":
        return ops.square(differences - 1.0 / (2.0 * beta))
    right, wrong = ops.log_sigmoid(beta * differences), ops.log_sigmoid(-beta * differences)
    if loss == "robust":
        flipped = label_smoothing * wrong - (1.0 - label_smoothing) * right
        return flipped / (1.0 - 2.0 * label_smoothing)
    return -(1.0 - label_smoothing) * right - label_smoothing * wrong
