"""Opens a task by name: local copies of its data, the hub, or its generator."""

from __future__ import annotations

import os
import pathlib
import random
from collections.abc import Sequence

from highnoon.config import require_count, require_flag
from highnoon.data.document import DataError
from highnoon.data.records.read_options import ReadOptions
from highnoon.data.sources.source_kinds import local_folders
from highnoon.data.tasks.find_task_data import local_parts, missing_data, named_parts
from highnoon.data.tasks.hub_records import open_hub_parts
from highnoon.data.tasks.synthetic_records import DEFAULT_COUNT, SyntheticRecords
from highnoon.data.tasks.task import Task
from highnoon.data.tasks.task_registry import task_definition
from highnoon.data.tasks.task_source import TaskPart, TaskSource

# Options of reading that say which field is what; a task's template says so itself.
_OF_FIELDS = ("text_field", "template", "learned_fields", "kind")


def open_task(
    name: str,
    data_dir: str | os.PathLike[str] | None = None,
    synthetic: bool = False,
    *,
    data: str | os.PathLike[str] | None = None,
    count: int = DEFAULT_COUNT,
    options: ReadOptions | None = None,
) -> Task:
    """Returns a task with its data open.

    The first of: `data`, if given; local copies in `<data_dir>/tasks/<name>/`, then in the folder that the
    environment variable `HIGHNOON_DATA` names (for `text_completion` also the domain folders in
    `<data_dir>/domains/`); the hub, through the extra `hf`. Synthetic records are never used instead of
    missing data: ask for them, or write them with `highnoon data synthesize`. `open_source("task:NAME")`,
    `"task:NAME:DATA"`, `"synthetic:NAME"` and `"synthetic:NAME:COUNT"` return the source of the same task.

    Args:
        name: `text_completion`, `function_call`, `bash_command`, `tool_use`, `chain_of_thought`, or a task
            that was registered with `register_task`.
        data_dir: A folder of local copies.
        synthetic: Whether to use records of the task's generator.
        data: A file, folder or glob of the task's records, or the name of one of its published datasets,
            such as `"nl2bash"`.
        count: Number of synthetic records.
        options: `chat_template`, and what happens to bad records.

    Raises:
        SourceNotFoundError: If the task has no data.
        DataError: If no task has that name, or its data cannot be read.

    Example:

    ```python
    from highnoon.data.tasks import open_task
    task = open_task("bash_command", synthetic=True, count=50)
    example = next(task.examples("train"))
    assert example.answer.startswith("```bash") and example.label == "synthetic_bash_command"
    ```
    """
    definition = task_definition(name)
    options = options or ReadOptions()
    _require_no_fields(name, options)
    if require_flag("synthetic", synthetic, DataError):
        if data is not None:
            raise DataError("`data` and `synthetic` exclude each other; pass one of them")
        require_count("count", count, error=DataError)
        definition.synthesize(random.Random(0))  # a task without a generator is an error here
        records = SyntheticRecords(definition, count, options=options)
        return Task(TaskSource(definition, [TaskPart(records)], options, is_synthetic=True))
    return _open(definition.name, local_folders(data_dir), data, options)


def open_task_source(rest: str, folders: Sequence[pathlib.Path], options: ReadOptions) -> TaskSource:
    """Returns the source of `task:NAME` or `task:NAME:DATA`."""
    name, _, data = rest.partition(":")
    _require_no_fields(name, options)
    return _open(task_definition(name).name, folders, data or None, options).source()


def open_synthetic_source(rest: str, folders: Sequence[pathlib.Path], options: ReadOptions) -> TaskSource:
    """Returns the source of `synthetic:NAME` or `synthetic:NAME:COUNT`."""
    name, _, count = rest.partition(":")
    if count and not (count.isascii() and count.isdigit()):
        raise DataError(f"expected synthetic:{name} or synthetic:{name}:COUNT; received synthetic:{rest}")
    number = int(count[:20]) if count else DEFAULT_COUNT
    return open_task(name, synthetic=True, count=number, options=options).source()


def _open(
    name: str,
    folders: Sequence[pathlib.Path],
    data: str | os.PathLike[str] | None,
    options: ReadOptions,
) -> Task:
    definition = task_definition(name)
    if data is not None:
        found = named_parts(definition, os.fspath(data), folders, options)
        return Task(TaskSource(definition, found.parts, options, is_synthetic=found.is_synthetic))
    local = local_parts(definition, folders, options)
    if local is not None:
        return Task(TaskSource(definition, local.parts, options, is_synthetic=local.is_synthetic))
    reasons: list[str] = []
    parts = open_hub_parts(definition.datasets, options, reasons)
    if not parts:
        raise missing_data(definition, folders, reasons)
    return Task(TaskSource(definition, parts, options))


def _require_no_fields(name: str, options: ReadOptions) -> None:
    given = [option for option in _OF_FIELDS if getattr(options, option)]
    if given:
        raise DataError(
            f"`{given[0]}` does not apply to the task `{name}`, whose template names its fields; leave it out"
        )
