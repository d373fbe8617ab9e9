"""Finds the records of a task: local copies by file name, and datasets of the hub."""

from __future__ import annotations

import dataclasses
import pathlib
import re
import warnings
from collections.abc import Sequence
from typing import NamedTuple

from highnoon.data.bad_records import BadRecords
from highnoon.data.document import DataError, Document, SourceNotFoundError
from highnoon.data.records.read_options import ReadOptions
from highnoon.data.records.record_source import Record
from highnoon.data.sources.files import Files
from highnoon.data.sources.folder_files import describe_files_left_out, find_files
from highnoon.data.tasks.hub_records import open_hub_parts
from highnoon.data.tasks.synthetic_records import DEFAULT_COUNT
from highnoon.data.tasks.task_definition import TaskData, TaskDefinition
from highnoon.data.tasks.task_example import SYNTHETIC
from highnoon.data.tasks.task_source import TaskPart
from highnoon.files.expand_home import expand_home


class FoundData(NamedTuple):
    """The records of a task.

    Args:
        parts: Their sources.
        is_synthetic: Whether a generator wrote all of them.
    """

    parts: list[TaskPart]
    is_synthetic: bool


def local_parts(
    definition: TaskDefinition, folders: Sequence[pathlib.Path], options: ReadOptions
) -> FoundData | None:
    """Returns the records in the first of a task's folders that has files; None if none has."""
    reading = _reading(definition, options)
    for folder in task_folders(definition, folders):
        if folder.is_dir() and (files := _files(folder, reading)):
            return _found(definition, files, folder, reading)
    return None


def named_parts(
    definition: TaskDefinition, data: str, folders: Sequence[pathlib.Path], options: ReadOptions
) -> FoundData:
    """Returns the records of one published dataset, or those in a file, a folder or a glob.

    Raises:
        SourceNotFoundError: If they are not there.
    """
    reading = _reading(definition, options)
    dataset = next((part for part in definition.datasets if _plain(part.name) == _plain(data)), None)
    if dataset is None:
        return _at_path(definition, data, folders, reading)
    for folder in task_folders(definition, folders):
        files = _files(folder, reading) if folder.is_dir() else []
        if own := [file for file in files if _is_of(file, folder, dataset)]:
            return _found(definition, own, folder, reading)
    reasons: list[str] = []
    if parts := open_hub_parts([dataset], options, reasons):
        return FoundData(parts, False)
    raise missing_data(definition, folders, reasons, dataset)


def missing_data(
    definition: TaskDefinition,
    folders: Sequence[pathlib.Path],
    reasons: Sequence[str],
    dataset: TaskData | None = None,
) -> SourceNotFoundError:
    """Returns the error for a task without data, with the command that writes synthetic records."""
    name = definition.name
    where = [str(folder) for folder in task_folders(definition, folders)]
    looked = f"looked in {', '.join(where)}" if where else "no data_dir or HIGHNOON_DATA was given"
    tried = f"; {'; '.join(reasons)}" if reasons else ""
    what = f"the dataset {dataset.name} of the task `{name}`" if dataset else f"the task `{name}`"
    synthetic = ""
    if type(definition).synthesize is not TaskDefinition.synthesize:
        synthetic = (
            f", or write synthetic records with `highnoon data synthesize {name} --count {DEFAULT_COUNT} "
            f"--output {SYNTHETIC}_{name}.jsonl` and use `task:{name}:{SYNTHETIC}_{name}.jsonl`"
        )
    return SourceNotFoundError(
        f"there is no data of {what}: {looked}{tried}; put a copy into DATA_DIR/tasks/{name}/{synthetic}"
    )


def task_folders(definition: TaskDefinition, folders: Sequence[pathlib.Path]) -> list[pathlib.Path]:
    """Returns where the local copies of a task may be, in the order in which they are searched."""
    return [folder / own for folder in folders for own in (*definition.folders, f"tasks/{definition.name}")]


def _reading(definition: TaskDefinition, options: ReadOptions) -> ReadOptions:
    """Returns the options with which files are read: all fields of the task, which its definition renders."""
    template = "".join(f"{{{field}}}" for field in definition.fields)
    return dataclasses.replace(options, template=template or None)


def _at_path(
    definition: TaskDefinition, data: str, folders: Sequence[pathlib.Path], options: ReadOptions
) -> FoundData:
    for path in [*(folder / data for folder in folders), expand_home(data)]:
        if path.is_dir():
            files = _files(path, options)
            if not files:
                raise SourceNotFoundError(f"{path} has no files of records; put some into it")
            return _found(definition, files, path, options, is_mixed_allowed=False)
        if path.is_file():
            return _found(definition, [path], path.parent, options)
    files = [pathlib.Path(path) for path in Files(data, options=options).paths]
    return _found(definition, files, pathlib.Path(), options, is_mixed_allowed=False)


def _files(folder: pathlib.Path, options: ReadOptions) -> list[pathlib.Path]:
    found = find_files(folder, options)
    if there := describe_files_left_out(found.left_out):
        warnings.warn(f"{folder}: skipped {there}", stacklevel=4)
    return found.files


def _found(
    definition: TaskDefinition,
    files: Sequence[pathlib.Path],
    folder: pathlib.Path,
    options: ReadOptions,
    *,
    is_mixed_allowed: bool = True,
) -> FoundData:
    """Returns the parts of a task in files; synthetic ones are left out where there are others."""
    synthetic = [file for file in files if _is_synthetic(file, options)]
    real = [file for file in files if file not in synthetic]
    if real and synthetic:
        if not is_mixed_allowed:
            raise DataError(
                f"{synthetic[0]} has synthetic records and {real[0]} has others; name one of the two"
            )
        warnings.warn(
            f"{len(synthetic)} files of synthetic records, such as {synthetic[0]}, are not read because "
            f"{folder} has other data; to read them, name them as `task:{definition.name}:FILE`",
            stacklevel=4,
        )
    used = real or synthetic
    there = {
        dataset.name for dataset in definition.datasets if any(_is_of(file, folder, dataset) for file in used)
    }
    parts = []
    for file in used:
        dataset = next((data for data in definition.datasets if _is_of(file, folder, data)), None)
        is_held_out = dataset is not None and dataset.validation_only_with in there
        name = file.relative_to(folder).as_posix() if file.is_relative_to(folder) else file.name
        parts.append(TaskPart(Files(file, name=name, options=options), is_held_out))
    return FoundData(parts, not real)


def _is_of(file: pathlib.Path, folder: pathlib.Path, dataset: TaskData) -> bool:
    """Returns whether the name of a file, or of a folder above it, begins with a stem of a dataset."""
    inner = file.relative_to(folder) if file.is_relative_to(folder) else pathlib.PurePath(file.name)
    return any(_plain(part).startswith(_plain(stem)) for part in inner.parts for stem in dataset.stems)


def _is_synthetic(file: pathlib.Path, options: ReadOptions) -> bool:
    """Returns whether a file's name or its first record says that a generator wrote it."""
    if file.name.lower().startswith(SYNTHETIC):
        return True
    reading = dataclasses.replace(options, skip_bad=True)
    first = next(Files(file, options=reading)._read(BadRecords(skip=True), _source_of), "")
    return first.startswith(f"{SYNTHETIC}:")


def _source_of(record: Record | Document, bad: BadRecords) -> str:
    return str(record.values.get("source")) if isinstance(record, Record) else record.source


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).lower()
