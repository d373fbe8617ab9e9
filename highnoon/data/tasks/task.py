"""A task whose data is open: examples for metrics, and a source of documents for training."""

from __future__ import annotations

from collections.abc import Iterator

from highnoon.config import require_choice
from highnoon.data.bad_records import reason_for_nothing
from highnoon.data.document import DataError
from highnoon.data.tasks.task_example import TaskExample
from highnoon.data.tasks.task_source import TaskSource
from highnoon.data.tokens.splitting import split_threshold

EXAMPLE_SPLITS = ("validation", "train", "all")


class Task:
    """A task whose data is open, see `open_task`.

    Args:
        source: The source of its documents.
    """

    def __init__(self, source: TaskSource) -> None:
        self._source = source
        self.name = source.definition.name
        self.is_synthetic = source.is_synthetic

    @property
    def label(self) -> str:
        """The task's name in reports and metrics; `synthetic_...` if a generator made the data."""
        return self._source.label

    def source(self) -> TaskSource:
        """Returns the source of the documents that a run trains on."""
        return self._source

    def examples(self, split: str = "validation", validation_split: float = 0.1) -> Iterator[TaskExample]:
        """Yields the examples of one side of the split, in the same order each time.

        A run with this `validation_split` holds the same examples out.

        Args:
            split: `"validation"`, `"train"` or `"all"`.
            validation_split: Fraction of the prompts that is held out, in [0, 1).

        Raises:
            DataError: If `split` is unknown, no example is on that side, or a record cannot be used.
        """
        require_choice("split", split, EXAMPLE_SPLITS, DataError)
        return self._examples(split, split_threshold(validation_split))

    def _examples(self, split: str, threshold: int) -> Iterator[TaskExample]:
        is_empty = True
        for example in self._side(split, threshold):
            is_empty = False
            yield example
        if is_empty:
            side = "" if split == "all" else f" on the {split} side of the split"
            raise DataError(
                f"{self._source.name} has no examples{side}{reason_for_nothing(self._source)}; add records "
                f"or change validation_split"
            )

    def _side(self, split: str, threshold: int) -> Iterator[TaskExample]:
        for example in self._source.examples():
            if split == "all" or (example.split_hash < threshold) == (split == "validation"):
                yield example
