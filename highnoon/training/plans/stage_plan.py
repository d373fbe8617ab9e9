"""What a stage of a run will do."""

from __future__ import annotations

import dataclasses
from typing import Any


def _next_token() -> dict[str, Any]:
    return {"name": "next_token"}


@dataclasses.dataclass(frozen=True)
class StagePlan:
    """One row of the plan.

    Args:
        name: Stage.
        datasets: Names of its datasets.
        documents: Training documents.
        validation_documents: Documents held out.
        tokens: Training tokens in one epoch.
        rows: Rows in one epoch.
        row_length: Tokens a row.
        rows_per_step: Rows in one optimizer step (micro-batch x accumulation).
        epochs: Epochs, or None where the length is given in steps.
        steps: Optimizer steps; an upper bound where `is_upper_bound`.
        is_upper_bound: Whether the loss decides how many of the steps are taken.
        learning_rate: Peak.
        loss_weight: Factor on the loss.
        order: What decides which documents come when.
        data_key: Hash of the tokenized data.
        mix: For each dataset its `name`, training `tokens`, `share`, its fraction of the rows, and
            `repeats`: its epochs in the time of one epoch of all.
        overrides: Options of the stage alone.
        timeline: Equal epochs in a row: `first_epoch`, `epochs`, `documents` read, `steps` of each.
        least_seconds: What the stage would take at the machine's peak; None where it is not known.
        objective: Registered name and configuration of what the stage minimizes.
        frozen_models: For each model that the objective reads, the hash of its weights.
        trainable: Patterns of the weights that the stage trains; None for all.
    """

    name: str
    datasets: list[str]
    documents: int
    validation_documents: int
    tokens: int
    rows: int
    row_length: int
    rows_per_step: int
    epochs: int | None
    steps: int
    is_upper_bound: bool
    learning_rate: float
    loss_weight: float
    order: str
    data_key: str
    mix: list[dict[str, Any]]
    overrides: dict[str, Any]
    timeline: list[dict[str, int]]
    least_seconds: float | None = None
    objective: dict[str, Any] = dataclasses.field(default_factory=_next_token)
    frozen_models: dict[str, str] = dataclasses.field(default_factory=dict)
    trainable: list[str] | None = None
