"""From the datasets that stages name to tokenized rows."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

from highnoon.config import TrainingConfig
from highnoon.data import tokenize
from highnoon.training.objective import objective_from_config
from highnoon.training.plans.row_preparation import RowPreparation, StageRows
from highnoon.training.plans.stage_data import StageData
from highnoon.training.plans.stage_sources import StageSources
from highnoon.training.plans.stages import CurriculumStage
from highnoon.training.plans.step_size import StepSize
from highnoon.training.task_losses import TASK_IDS

HELD_OUT = " held out "
"""Separates the hashes of training and validation data in a `data_key`."""


def with_held_out(rows: StageRows, held_out: StageRows) -> StageRows:
    """Returns rows whose validation split is all of other data.

    Args:
        rows: Of a stage.
        held_out: Made from its `validation_data`, which are no stream.
    """
    key = held_out.data_key
    data_key = f"{rows.data_key}{HELD_OUT}{key}"
    return dataclasses.replace(rows, validation=held_out.train, data_key=data_key, held_out_key=key)


class StagePreparation:
    """Tokenizes sources, each once, and packs them into the rows of stages.

    Args:
        packing: Whether rows may hold several documents, for a model that can tell them apart.
        tokenizer: The run's tokenizer.
        cache_dir: Where tokenized data is stored; None takes the user's cache.
        num_replicas: Devices that share a step.
        show_progress: Whether a terminal shows the progress of what takes long.
        tasks: Names of all tasks whose losses the run reports.
    """

    def __init__(
        self,
        packing: bool,
        tokenizer: Any,
        cache_dir: str | os.PathLike[str] | None,
        num_replicas: int = 1,
        *,
        show_progress: bool = True,
        tasks: Sequence[str] = (),
    ) -> None:
        self.packing, self.tokenizer, self.cache_dir = packing, tokenizer, cache_dir
        self.num_replicas, self.show_progress, self.tasks = num_replicas, show_progress, list(tasks)
        self._stores: dict[tuple[str, str, float], Any] = {}

    def prepare(
        self,
        stage: CurriculumStage,
        opened: StageSources,
        config: TrainingConfig,
        seed: int,
    ) -> StageData:
        """Returns the data of one stage: the rows that its objective makes of its sources.

        Args:
            stage: The stage.
            opened: Its datasets.
            config: The run's configuration with the stage's overrides.
            seed: Seed of the stage's order.

        Raises:
            ConfigError: the stage's data and its options do not fit each other.
        """
        StepSize(config, self.num_replicas).require_divisible()
        objective = objective_from_config(stage.objective)
        if stage.validation_data is not None:
            config = dataclasses.replace(config, validation_split=0.0)
        preparation = RowPreparation(self, stage, config, seed)
        rows = objective.sequences(opened, preparation)
        if opened.held_out is not None:
            rows = with_held_out(rows, objective.sequences(opened.held_out, preparation))
        return StageData(
            stage,
            config,
            rows.train,
            rows.validation,
            rows.data_key,
            self.num_replicas,
            held_out_key=rows.held_out_key,
            tasks=self.tasks if TASK_IDS in getattr(rows.train, "numbers", {}) else (),
        )

    def store(self, source: Any, validation_split: float) -> Any:
        """Returns the `TokenStore` of a source, tokenized once for all stages."""
        key = source.fingerprint(), source.name, validation_split
        if key not in self._stores:
            self._stores[key] = tokenize(
                source, self.tokenizer, cache_dir=self.cache_dir, validation_split=validation_split
            )
        return self._stores[key]
