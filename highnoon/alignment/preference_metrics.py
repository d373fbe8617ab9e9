"""The figures of objectives that compare a better and a worse answer."""

from __future__ import annotations

from typing import Any

from keras import ops

from highnoon.alignment.answer_objective import Answers
from highnoon.alignment.pair_objective import over_pairs
from highnoon.training.objective import Metric

PREFERENCE_FIGURES = (
    *(f"rewards/{name}" for name in ("margin", "accuracy", "chosen", "rejected")),
    *(f"log_probs/{name}" for name in ("chosen", "rejected")),
)


def preference_metrics(rewards: list[Any], answers: Answers) -> dict[str, Metric]:
    """Returns the figures of a better and a worse answer.

    Args:
        rewards: Of the better and of the worse answers, (rows, t).
        answers: Whose they are.
    """
    chosen, rejected = (ops.stop_gradient(reward) for reward in rewards)
    values = {
        "rewards/margin": chosen - rejected,
        "rewards/accuracy": (ops.sign(chosen - rejected) + 1.0) / 2.0,
        "rewards/chosen": chosen,
        "rewards/rejected": rejected,
        "log_probs/chosen": ops.stop_gradient(answers.log_probs[0]),
        "log_probs/rejected": ops.stop_gradient(answers.log_probs[1]),
    }
    return {name: over_pairs(value, answers.is_pair) for name, value in values.items()}
