"""The batches of one stage, computed from (seed, epoch, step)."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from highnoon.config import ConfigError, TrainingConfig
from highnoon.training.stages import CurriculumStage


@dataclasses.dataclass
class StageData:
    """A stage's rows, in the order in which the run takes them.

    Args:
        stage: The stage as the user gave it.
        config: The run's configuration with the stage's overrides.
        train_rows: Packed rows of the training split.
        validation_rows: Packed rows of the validation split, or None where it is empty.
        data_key: Hash of the tokenised documents.
        num_replicas: Devices that share a step.

    Raises:
        ConfigError: `global_batch_size` is no multiple of the rows that the replicas take at once.
    """

    stage: CurriculumStage
    config: TrainingConfig
    train_rows: Any
    validation_rows: Any | None
    data_key: str
    num_replicas: int = 1

    def __post_init__(self) -> None:
        rows_at_once = self.config.batch_size * self.num_replicas
        whole = self.config.global_batch_size
        if whole is not None and whole % rows_at_once:
            raise ConfigError(
                f"`global_batch_size`={whole} must be a multiple of batch_size={self.config.batch_size} x "
                f"{self.num_replicas} replicas; choose a `batch_size` that divides it"
            )
        self._rows_of_subset: dict[int, int] = {}
        self._easy_to_hard: np.ndarray | None = None
        if self.stage.scheduler is not None:
            self._easy_to_hard = self.stage.scheduler.prepare_curriculum(self.train_rows.texts())

    @property
    def rows_per_replica(self) -> int:
        """Rows of one replica in one optimizer step."""
        if self.config.global_batch_size is not None:
            return self.config.global_batch_size // self.num_replicas
        return self.config.batch_size * self.config.gradient_accumulation_steps

    @property
    def rows_per_step(self) -> int:
        """Rows of one optimizer step on all replicas."""
        return self.rows_per_replica * self.num_replicas

    @property
    def counts_steps(self) -> bool:
        """Whether the stage's scheduler counts optimizer steps in place of epochs."""
        return getattr(self.stage.scheduler, "unit", "epoch") == "step"

    def num_allowed(self, epoch: int, stage_step: int) -> int:
        """Returns how many of the easiest documents the scheduler allows now; all of them without one."""
        if self.stage.scheduler is None:
            return self.train_rows.num_documents
        now = stage_step if self.counts_steps else epoch
        return len(self.stage.scheduler.get_current_subset_indices(epoch=now))

    def view(self, epoch: int, num_allowed: int) -> Any:
        """Returns the rows of an epoch over the `num_allowed` easiest documents."""
        documents = None if self._easy_to_hard is None else self._easy_to_hard[:num_allowed]
        return self.train_rows.view(epoch, documents=documents)

    def steps_in(self, view: Any) -> int:
        return -(-view.num_rows // self.rows_per_step)

    def batch(
        self, view: Any, step_in_epoch: int, first: int = 0, count: int | None = None
    ) -> dict[str, np.ndarray]:
        """Returns the rows of a step, or `count` of them from `first` on; fewer where the epoch ends."""
        start = min(step_in_epoch * self.rows_per_step + first, view.num_rows)
        return view.read(start, self.rows_per_step - first if count is None else count)

    def documents(self, view: Any, step_in_epoch: int) -> list[list[int]]:
        """Returns the documents in each row of a step, as indices of the training split."""
        start = step_in_epoch * self.rows_per_step
        rows = range(start, min(start + self.rows_per_step, view.num_rows))
        return [view.documents_of(row).tolist() for row in rows]

    def planned_steps(self, epochs: int) -> int:
        """Returns the stage's length in steps; the longest possible where pace depends on the loss."""
        if self.stage.steps is not None:
            return self.stage.steps
        return sum(self._planned_steps_of_epoch(epoch) for epoch in range(epochs))

    def _planned_steps_of_epoch(self, epoch: int) -> int:
        scheduler = self.stage.scheduler
        if scheduler is None or hasattr(scheduler, "update_with_loss"):
            size = self.train_rows.num_documents
        else:
            planner = copy.copy(scheduler)  # looking ahead must not move the scheduler itself
            planner.verbose = False
            size = len(planner.get_current_subset_indices(epoch=epoch))
        if size not in self._rows_of_subset:
            self._rows_of_subset[size] = self.steps_in(self.view(epoch, size))
        return self._rows_of_subset[size]

    def validation_batches(self, max_tokens: int | None = None) -> Iterator[dict[str, np.ndarray]]:
        """Yields the validation split in batches, or an even sample of at most about `max_tokens` of it."""
        if self.validation_rows is None:
            return
        view = self.validation_rows.view(0)
        size = self.config.batch_size * self.num_replicas
        starts: Sequence[int] = range(0, view.num_rows, size)
        if max_tokens is not None:
            keep = max(1, max_tokens // (size * self.config.max_seq_length))
            starts = [starts[i * len(starts) // keep] for i in range(keep)] if keep < len(starts) else starts
        for start in starts:
            yield view.read(start, size)
