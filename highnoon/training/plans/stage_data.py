"""The batches of one stage, computed from (seed, epoch, step)."""

from __future__ import annotations

import bisect
import dataclasses
import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from highnoon.config import TrainingConfig
from highnoon.data.sequences.streamed_rows import StreamedRows
from highnoon.data.sequences.to_tf_dataset import rows_to_tf_dataset
from highnoon.training.objective import objective_from_config
from highnoon.training.plans.stages import CurriculumStage
from highnoon.training.plans.step_size import StepSize

STREAM_KEY = "stream:"
"""Prefix of the `data_key` of a stage whose data is read as a stream."""


class PlannedEpoch(NamedTuple):
    """An epoch of a stage before it is run.

    Args:
        epoch: From 0 within the stage.
        num_documents: The easiest documents, as many as are read.
        first_step: First optimizer step, from 0 within the stage.
        num_steps: Optimizer steps.
    """

    epoch: int
    num_documents: int
    first_step: int
    num_steps: int


class PlannedSpan(NamedTuple):
    """Epochs in a row that read as many documents in as many steps each.

    Args:
        first_epoch: From 0 within the stage.
        num_epochs: Epochs.
        num_documents: The easiest documents, as many as are read.
        num_steps: Optimizer steps of each epoch.
    """

    first_epoch: int
    num_epochs: int
    num_documents: int
    num_steps: int


class PlannedEpochs(Sequence[PlannedEpoch]):
    """The epochs of spans as a sequence: it takes no memory for each of them.

    Args:
        spans: In order, without gaps.
    """

    def __init__(self, spans: Sequence[PlannedSpan]) -> None:
        self._spans = list(spans)
        steps = (span.num_epochs * span.num_steps for span in self._spans)
        self._first_steps = [0, *itertools.accumulate(steps)]

    def __len__(self) -> int:
        return self._spans[-1].first_epoch + self._spans[-1].num_epochs if self._spans else 0

    def __getitem__(self, epoch: Any) -> Any:
        if isinstance(epoch, slice):
            return [self[index] for index in range(*epoch.indices(len(self)))]
        epoch = range(len(self))[epoch]
        index = bisect.bisect_right(self._spans, epoch, key=lambda span: span.first_epoch) - 1
        span = self._spans[index]
        first_step = self._first_steps[index] + (epoch - span.first_epoch) * span.num_steps
        return PlannedEpoch(epoch, span.num_documents, first_step, span.num_steps)


@dataclasses.dataclass
class StageData:
    """A stage's rows, in the order in which the run takes them.

    Args:
        stage: The stage as the user gave it.
        config: The run's configuration with the stage's overrides.
        train_rows: Packed or streamed rows of the training split.
        validation_rows: Those of the validation split, or None where it is empty.
        data_key: Hash of the tokenized documents.
        num_replicas: Devices that share a step.
        held_out_key: Hash of the held-out documents where they are no split of the stage's own.
        tasks: Names of the tasks that the rows number; their losses are reported.
    """

    stage: CurriculumStage
    config: TrainingConfig
    train_rows: Any
    validation_rows: Any | None
    data_key: str
    num_replicas: int = 1
    held_out_key: str | None = None
    tasks: Sequence[str] = ()

    def __post_init__(self) -> None:
        self.objective = objective_from_config(self.stage.objective).with_tasks(self.tasks)
        self._steps_of_subset: dict[int, int] = {}
        self._planned: Sequence[PlannedEpoch] = []
        self._easy_to_hard: np.ndarray | None = None
        if self.stage.scheduler is not None:
            self._easy_to_hard = self.stage.scheduler.prepare_curriculum(self.train_rows.texts())

    @property
    def validation_key(self) -> str:
        """Equal for stages whose held-out losses can be compared: equal documents in rows of equal length."""
        rows = f"rows of {self.config.max_seq_length}"
        if self.config.whole_documents:
            rows += " with whole documents"
        return f"{self.held_out_key or self.data_key} in {rows}"

    @property
    def size(self) -> StepSize:
        """Rows and tokens of one optimizer step."""
        return StepSize(self.config, self.num_replicas)

    @property
    def rows_per_replica(self) -> int:
        """Rows of one replica in one optimizer step."""
        return self.size.rows_per_replica

    @property
    def rows_per_step(self) -> int:
        """Rows of one optimizer step on all replicas."""
        return self.size.rows_per_step

    @property
    def tokens_per_step(self) -> int:
        """Positions in the rows of one optimizer step."""
        return self.size.tokens_per_step

    @property
    def validation_rows_by_dataset(self) -> dict[str, Any]:
        """The rows of the validation split of each dataset that holds something out."""
        return self._validation_parts

    @property
    def steps(self) -> int | None:
        """The stage's length in steps, where it was not given in epochs."""
        return self.size.steps_of(self.stage)

    @property
    def counts_steps(self) -> bool:
        """Whether the stage's scheduler counts optimizer steps or tokens instead of epochs."""
        return getattr(self.stage.scheduler, "unit", "epoch") != "epoch"

    def clock(self, epoch: int, stage_step: int) -> int:
        """Returns the time in the unit that the scheduler counts."""
        unit = getattr(self.stage.scheduler, "unit", "epoch")
        return {"epoch": epoch, "step": stage_step, "token": stage_step * self.tokens_per_step}[unit]

    def num_allowed(self, epoch: int, stage_step: int) -> int:
        """Returns how many of the easiest documents the scheduler allows now; all of them without one."""
        if self.stage.scheduler is None:
            return self.train_rows.num_documents
        return self.stage.scheduler.num_samples_at(self.clock(epoch, stage_step))

    def announce(self, epoch: int, stage_step: int) -> None:
        """Lets the scheduler report that one of its own stages began."""
        if self.stage.scheduler is not None:
            self.stage.scheduler.get_current_subset_indices(epoch=self.clock(epoch, stage_step))

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

    def timeline(self, epochs: int) -> PlannedEpochs:
        """Returns every epoch of the stage as planned; where the loss sets the pace, the longest possible.

        Args:
            epochs: Length, where the stage gives none in steps or tokens.
        """
        return PlannedEpochs(self.spans(epochs))

    def spans(self, epochs: int) -> list[PlannedSpan]:
        """Returns the timeline with equal epochs put together; its cost does not grow with the length.

        Args:
            epochs: Length, where the stage gives none in steps or tokens.
        """
        planned: list[PlannedSpan] = []
        epoch = stage_step = 0
        while stage_step < self.steps if self.steps is not None else epoch < epochs:
            allowed = self._planned_allowed(epoch, stage_step)
            count = self._steps_over(allowed)
            if self.steps is not None:
                left = self.steps - stage_step
                if self.counts_steps:
                    left = self._until_change(allowed, left, epoch, stage_step, by_step=True)
                    whole = left // count
                else:
                    whole = self._until_change(allowed, left // count, epoch, stage_step)
            else:
                left, whole = count, self._until_change(allowed, epochs - epoch, epoch, stage_step)
            span = (whole, count) if whole else (1, left)
            planned.append(PlannedSpan(epoch, span[0], allowed, span[1]))
            epoch += span[0]
            stage_step += span[0] * span[1]
        return planned

    def planned_epoch(self, epochs: int, epoch: int, stage_step: int, num_steps: int) -> tuple[float, float]:
        """Returns at which planned step of the stage an epoch begins, and the planned steps per step of it.

        A stage whose length is in steps takes all of them. One whose length is in epochs takes fewer steps
        than planned where an adaptive scheduler makes its epochs shorter; each step then counts for more.

        Args:
            epochs: Length of the stage in epochs, where it is not given in steps.
            epoch: From 0.
            stage_step: Steps of the stage before the epoch.
            num_steps: Steps of the epoch.
        """
        if self.steps is not None:
            return float(stage_step), 1.0
        if len(self._planned) != epochs:
            self._planned = self.timeline(epochs)
        planned = self._planned[min(epoch, epochs - 1)]
        return float(planned.first_step), planned.num_steps / num_steps

    def _planned_allowed(self, epoch: int, stage_step: int) -> int:
        if hasattr(self.stage.scheduler, "update_with_loss"):
            return self.train_rows.num_documents
        return self.num_allowed(epoch, stage_step)

    def _until_change(self, now: int, most: int, epoch: int, stage_step: int, by_step: bool = False) -> int:
        """Returns how many epochs or steps allow `now` documents, a number that never falls; up to `most`."""

        def allowed(more: int) -> int:
            if by_step:
                return self._planned_allowed(epoch, stage_step + more)
            return self._planned_allowed(epoch + more, stage_step)

        if self.stage.scheduler is None or most <= 0 or allowed(most - 1) == now:
            return most
        return bisect.bisect_left(range(most), True, key=lambda more: allowed(more) != now)

    def _steps_over(self, allowed: int) -> int:
        if allowed not in self._steps_of_subset:
            self._steps_of_subset[allowed] = max(1, self.steps_in(self.view(0, allowed)))
        return self._steps_of_subset[allowed]

    def to_tf_dataset(self, epochs: int = 1, **options: Any) -> Any:
        """Returns the stage's training rows as a `tf.data.Dataset` for `model.fit`, a step a batch.

        Args:
            epochs: Epochs in the dataset.
            **options: `batch_size`, `seed` and others of `highnoon.data.sequences.to_tf_dataset`.
        """
        options.setdefault("batch_size", self.rows_per_step)
        return rows_to_tf_dataset(self.train_rows, epochs=epochs, **options)

    def validation_batches(
        self, steps: int | None = None, batch_size: int | None = None
    ) -> Iterator[dict[str, np.ndarray]]:
        """Yields the validation split in batches.

        Args:
            steps: As many batches at most, an even sample; None for all.
            batch_size: Rows of one replica in a batch; None for the configuration's.
        """
        for name, rows in self._validation_parts.items():
            yield from self._batches(rows, self._most_batches(name, None, steps, batch_size), batch_size)

    def validation_batches_by_dataset(
        self, max_tokens: int, steps: int | None = None, batch_size: int | None = None
    ) -> dict[str, Iterator[dict[str, np.ndarray]]]:
        """Returns, for each dataset that holds something out, its batches: an even sample.

        Args:
            max_tokens: About as many are given at most, divided by size.
            steps: As many batches at most, in place of `max_tokens`; None for no other limit.
            batch_size: Rows of one replica in a batch; None for the configuration's.
        """
        return {
            name: self._batches(rows, self._most_batches(name, max_tokens, steps, batch_size), batch_size)
            for name, rows in self._validation_parts.items()
        }

    def _most_batches(
        self, dataset: str, max_tokens: int | None, steps: int | None, batch_size: int | None
    ) -> int | None:
        """Returns how many batches of a dataset are evaluated at most; None for all."""
        num_tokens = {name: rows.num_tokens for name, rows in self._validation_parts.items()}
        total = sum(num_tokens.values())
        if steps is not None:
            return max(1, steps * num_tokens[dataset] // total)
        if max_tokens is None:
            return None
        rows_of_batch = (batch_size or self.config.batch_size) * self.num_replicas
        of_dataset = max_tokens * num_tokens[dataset] // total
        return max(1, of_dataset // (rows_of_batch * self.config.max_seq_length))

    @functools.cached_property
    def _validation_parts(self) -> dict[str, Any]:
        rows = self.validation_rows
        if rows is None:
            return {}
        if isinstance(rows, StreamedRows):
            return {rows.source.name: rows}
        is_split = self.held_out_key is None
        with_text = [store for store in rows.stores if not is_split or store.is_validation.any()]
        if len(with_text) == 1:
            return {with_text[0].name: rows}
        return {store.name: rows.only(store) for store in with_text}

    def _batches(
        self, rows: Any, most: int | None, batch_size: int | None
    ) -> Iterator[dict[str, np.ndarray]]:
        view = rows.view(0)
        size = (batch_size or self.config.batch_size) * self.num_replicas
        starts: Sequence[int] = range(0, view.num_rows, size)
        if most is not None and most < len(starts):
            starts = [starts[i * len(starts) // most] for i in range(most)]
        return (view.read(start, size) for start in starts)
