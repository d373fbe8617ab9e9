"""Training a reward model on pairs of answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from highnoon.alignment.pair_objective import INPUTS, PairObjective, over_pairs
from highnoon.alignment.pair_view import PAIR_VALUES
from highnoon.alignment.reward_model import RewardModel
from highnoon.config import ConfigError, require_number, require_text
from highnoon.training.objective import Terms, register_objective


@register_objective("reward_model")
class PairwiseReward(PairObjective):
    """The logistic loss of the difference of two rewards.

    ```
    loss = -log sigmoid(r(chosen) - r(rejected) - margin) + centering (r(chosen) + r(rejected))^2
    ```

    a mean over pairs. r is the reward at the last token of an answer. A constant could be added to all
    rewards without changing the first term; the second keeps their mean at 0.

    Reports `rewards/margin`, `rewards/accuracy` (one half where the rewards are equal), and the mean rewards
    of both answers.

    Args:
        centering: Weight of the second term, at least 0.
        margin_field: The field of a record with its margin, a number, such as how much better the answer is;
            None for margins of 0.
        overlong: `"truncate"` or `"skip"`, see `PairObjective`.

    Raises:
        ConfigError: an argument is out of its range; in training, the model is no `RewardModel`.

    Example:

    ```python
    from highnoon.alignment import PairwiseReward

    assert PairwiseReward().get_config()["centering"] == 0.01
    ```

    Ouyang et al. 2022 (arXiv:2203.02155), equation 1. Margin: Touvron et al. 2023, Llama 2
    (arXiv:2307.09288), equation 2. Centering: Eisenstein et al. 2023 (arXiv:2312.09244), section 2.
    """

    figures = tuple(f"rewards/{name}" for name in ("margin", "accuracy", "chosen", "rejected"))

    def __init__(
        self, centering: float = 0.01, margin_field: str | None = None, overlong: str = "truncate"
    ) -> None:
        self.centering = require_number("centering", centering, least=0)
        self.margin_field = None if margin_field is None else require_text("margin_field", margin_field)
        super().__init__(overlong)

    def terms(self, model: keras.Model, batch: Mapping[str, Any], training: bool) -> Terms:
        if not isinstance(model, RewardModel):
            raise ConfigError(
                f"`reward_model` trains a RewardModel; received {type(model).__name__}; make one with "
                "RewardModel.from_language_model(model)"
            )
        inputs = {name: self.in_lanes(batch[name]) for name in INPUTS if name != "labels"}
        found = model.segment_rewards(inputs, training=training)
        chosen, rejected = self.by_lane(found["rewards"])
        is_pair = self.by_lane(found["is_segment"])[0]
        losses = reward_losses(chosen, rejected, batch[PAIR_VALUES], self.centering)
        values = {
            "rewards/margin": chosen - rejected,
            "rewards/accuracy": (ops.sign(chosen - rejected) + 1.0) / 2.0,
            "rewards/chosen": chosen,
            "rewards/rejected": rejected,
        }
        metrics = {name: over_pairs(ops.stop_gradient(value), is_pair) for name, value in values.items()}
        metrics = {**self.token_metrics(found["metrics"], batch), **metrics}
        return Terms(over_pairs(losses, is_pair).total, found["aux_loss"], metrics)

    def pair_options(self) -> dict[str, Any]:
        return {"margin_field": self.margin_field}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "centering": self.centering, "margin_field": self.margin_field}


def reward_losses(chosen: Any, rejected: Any, margins: Any, centering: float) -> Any:
    """Returns the loss of each pair, see `PairwiseReward`.

    Args:
        chosen: Rewards of the better answers, of any shape.
        rejected: Rewards of the worse answers.
        margins: By how much they must differ, of a shape that broadcasts.
        centering: At least 0.
    """
    return -ops.log_sigmoid(chosen - rejected - margins) + centering * ops.square(chosen + rejected)
