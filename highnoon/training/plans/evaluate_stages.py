"""Held-out figures of stages, by objective."""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence

import keras

from highnoon.config import ConfigError
from highnoon.training.objective import NextToken, describe_objective
from highnoon.training.plans.stage_data import StageData
from highnoon.training.plans.supervises_all import supervises_all
from highnoon.training.steps.evaluation import EvaluationStep
from highnoon.training.steps.replicas import Replicas


def evaluate_stages(
    model: keras.Model,
    replicas: Replicas,
    stages: Sequence[StageData],
    *,
    steps: int | None = None,
    batch_size: int | None = None,
) -> dict[str, float]:
    """Returns the figures of each objective over the held-out documents of its stages.

    Stages that hold out the same documents count once. With several objectives each name begins with that of
    the objective.

    Args:
        model: The model, its variables under the replicas' strategy.
        replicas: The devices.
        stages: The stages; those that hold nothing out are left out.
        steps: Batches of each stage at most; None for all.
        batch_size: Rows of one replica in a batch; None for the stage's.

    Raises:
        ConfigError: no stage holds a document out.
    """
    distinct = {_evaluated(stage): stage for stage in stages if stage.validation_rows is not None}
    if not distinct:
        raise ConfigError(
            "no stage has a held-out document; add more documents, raise `validation_split`, or give "
            "`validation_data`"
        )
    groups: dict[str, list[StageData]] = {}
    for data in distinct.values():
        groups.setdefault(str(describe_objective(data.objective)), []).append(data)
    figures: dict[str, dict[str, float]] = {}
    for group in groups.values():
        # Stages of one objective may differ in whether their rows number tasks.
        with_tasks = [data.objective for data in group if data.objective.tasks]
        objective = (with_tasks or [group[0].objective])[0]
        evaluations = {bool(data.objective.tasks): data.objective for data in group}
        by_tasks = {key: EvaluationStep(model, replicas, own) for key, own in evaluations.items()}
        splits = (
            by_tasks[bool(data.objective.tasks)](data.validation_batches(steps, batch_size)) for data in group
        )
        split = functools.reduce(operator.add, splits)
        found = objective.report(split.loss, split.metrics)
        # The bytes of a sample of the rows are not counted.
        is_whole = steps is None and all(supervises_all(data.validation_rows) for data in group)
        if (isinstance(objective, NextToken) or objective.is_likelihood) and is_whole:
            found["bits_per_byte"] = split.bits_per_byte(
                sum(data.validation_rows.num_bytes for data in group if data.validation_rows is not None)
            )
        name = describe_objective(objective)["name"]
        figures[name if name not in figures else f"{name}_{len(figures)}"] = found
    if len(figures) == 1:
        return next(iter(figures.values()))
    return {f"{name}/{key}": value for name, group in figures.items() for key, value in group.items()}


def _evaluated(data: StageData) -> tuple[str, str]:
    """Returns what is equal for stages whose held-out figures are the same."""
    return data.held_out_key or data.data_key, str(describe_objective(data.objective))
