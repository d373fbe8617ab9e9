"""What a task is: where its data is, how a record becomes an example, and a generator of records."""

from __future__ import annotations

import abc
import random
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from highnoon.data.document import SourceNotFoundError
from highnoon.data.tasks.task_example import TaskExample


class TaskData(NamedTuple):
    """A published dataset of a task.

    Local copies are files in `<data_dir>/tasks/<task>/` whose names begin with one of `stems`.

    Args:
        name: Its name in documents and reports.
        stems: Beginnings of the file names of a local copy, in lower case.
        hub: Its name for `HuggingFaceDataset`; empty if the hub has no form of it that can be read.
        split: The split on the hub.
        validation_only_with: Name of another dataset: where that one is there too, all of this one is held
            out.
    """

    name: str
    stems: Sequence[str]
    hub: str = ""
    split: str = "train"
    validation_only_with: str = ""


class TaskDefinition(abc.ABC):
    """Base class of tasks: a subclass is one file, registered with `register_task`.

    A subclass sets `name`, and `datasets` if published data exists, and implements `example`. With a
    generator, `synthesize`, the task works on machines without its data, as `synthetic:NAME`.

    Example:

    ```python
    from highnoon.data.tasks import TaskDefinition, TaskExample, open_task, register_task

    @register_task
    class Shout(TaskDefinition):
        name = "shout"

        def example(self, record, location):
            turns = [{"role": "user", "content": record["instruction"]}]
            return TaskExample(self.name, "", turns, record["response"], record["response"])

        def synthesize(self, rng):
            word = "".join(rng.choices("abc", k=5))
            return {"instruction": word, "response": word.upper()}

    task = open_task("shout", synthetic=True)
    assert task.label == "synthetic_shout"
    ```
    """

    name: ClassVar[str]
    datasets: ClassVar[Sequence[TaskData]] = ()
    is_optional: ClassVar[bool] = False
    """Whether a curriculum runs without the task where its data is missing."""

    fields: ClassVar[Sequence[str]] = ()
    """Fields of records that `example` reads: other columns of tables are not read, and JSON files without
    any of them are skipped. Empty reads the fields of documents."""

    folders: ClassVar[Sequence[str]] = ()
    """Folders of local copies in `data_dir`, before `tasks/<name>`."""

    joins_expected: ClassVar[bool] = False
    """Whether the answers of all examples with one prompt are accepted; `expected` is then a list."""

    version: ClassVar[int] = 1
    """Increase it when equal records give other examples than before."""

    @abc.abstractmethod
    def example(self, record: Mapping[str, Any], location: str) -> TaskExample | None:
        """Returns the example of a record, or None for a record that has none and is skipped.

        The reader sets `id`, `is_synthetic` and `is_validation_only`.

        Args:
            record: Its fields.
            location: Where it was read from, such as `a.jsonl:3`, for errors.

        Raises:
            BadRecordError: If a field is missing or has a wrong value.
        """

    def synthesize(self, rng: random.Random) -> Mapping[str, Any]:
        """Returns a random record that `example` reads.

        Args:
            rng: The generator of random numbers; equal states give equal records.

        Raises:
            SourceNotFoundError: If the task has no generator.
        """
        raise SourceNotFoundError(f"the task `{self.name}` has no generator; give it data")
