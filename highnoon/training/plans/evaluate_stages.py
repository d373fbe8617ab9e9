"""Held-out figures of stages, by objective."""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence

import keras

from highnoon.training.objective import NextToken, describe_objective
from highnoon.training.plans.stage_data import StageData
from highnoon.training.steps.evaluation import EvaluationStep
from highnoon.training.steps.replicas import Replicas


def evaluate_stages(
    model: keras.Model, replicas: Replicas, stages: Sequence[StageData]
) -> dict[str, dict[str, float]]:
    """Returns the figures of each objective, by its name, over the held-out documents of its stages.

    Args:
        model: The model, its variables under the replicas' strategy.
        replicas: The devices.
        stages: Stages that hold documents out, each set of documents once for an objective.
    """
    groups: dict[str, list[StageData]] = {}
    for data in stages:
        groups.setdefault(str(describe_objective(data.objective)), []).append(data)
    figures: dict[str, dict[str, float]] = {}
    for group in groups.values():
        objective = group[0].objective
        evaluate = EvaluationStep(model, replicas, objective)
        split = functools.reduce(operator.add, (evaluate(data.validation_batches()) for data in group))
        found = objective.report(split.loss, split.metrics)
        if isinstance(objective, NextToken):
            found["bits_per_byte"] = split.bits_per_byte(
                sum(data.validation_rows.num_bytes for data in group if data.validation_rows is not None)
            )
        name = describe_objective(objective)["name"]
        figures[name if name not in figures else f"{name}_{len(figures)}"] = found
    return figures
