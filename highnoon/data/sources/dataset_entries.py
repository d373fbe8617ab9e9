"""The entries of `datasets=`: names, sources, and data in memory, also with weights."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from highnoon.data.document import DataError, DocumentSource
from highnoon.data.reading.remote import is_remote
from highnoon.data.records.read_options import ReadOptions
from highnoon.data.sources.absent_data import IN_MEMORY, AbsentData
from highnoon.data.sources.chosen_domains import ChosenDomains
from highnoon.data.sources.in_memory import InMemoryDataset
from highnoon.data.sources.object_records import is_data_object
from highnoon.data.sources.open_source import is_documented_name, require_source_options

_TEXT_WORDS = 4
_WRAP = "give the texts as a list in the list, as in datasets=[texts]"


def dataset_entries(value: Any) -> list[Any]:
    """Returns the value of `datasets=` as a list, with data in memory as `InMemoryDataset`.

    A list of strings is a list of names, unless one of them is evidently text: it has a line end, or four or
    more words and is no path. A list of dicts without `name` is a list of records.

    Args:
        value: One dataset, a list of them, a list of `(dataset, weight)` pairs, or a list of texts or
            records.

    Raises:
        DataError: The data cannot be read, or a list mixes texts and names.
    """
    if not isinstance(value, (list, tuple)):
        entries = [_entry(value)]
    elif _is_data(value):
        entries = [InMemoryDataset(value)]
    else:
        entries = [(_entry(part[0]), part[1]) if _is_pair(part) else _entry(part) for part in value]
    _name_apart([part[0] if isinstance(part, tuple) else part for part in entries])
    return entries


def describe_dataset(entry: Any) -> Any:
    """Returns an entry as JSON values, for a saved run: data in memory is described, never saved."""
    inner = entry
    while inner is not None and not isinstance(inner, (InMemoryDataset, AbsentData)):
        inner = getattr(inner, "source", None) if not isinstance(inner, (str, Mapping)) else None
    if inner is not None:
        return {IN_MEMORY: inner.name}
    if isinstance(entry, Mapping):
        return dict(entry)
    return entry if isinstance(entry, str) else getattr(entry, "name", str(entry))


def is_absent_dataset(entry: Any) -> bool:
    """Returns whether an entry stands for data in memory that has to be given again."""
    return isinstance(entry, AbsentData)


def _entry(value: Any) -> Any:
    """Returns an entry without its weight."""
    if isinstance(value, DocumentSource):
        return value
    if is_data_object(value) or (isinstance(value, (list, tuple)) and not _is_bad_pair(value)):
        return InMemoryDataset(value)
    if not isinstance(value, Mapping):
        return value
    if set(value) == {IN_MEMORY}:
        return AbsentData(str(value[IN_MEMORY]))
    name = value.get("name")
    if not (is_data_object(name) or isinstance(name, (list, tuple))):
        return value
    options = require_source_options(value)
    domains, is_streamed = options.pop("domains", None), options.pop("stream", False)
    reading = {key: part for key, part in options.items() if key in ReadOptions.__dataclass_fields__}
    if others := [key for key in options if key not in reading and key != "name"]:
        raise DataError(f"`{others[0]}` is an option of files and not of data in memory; leave it out")
    source = InMemoryDataset(name, None, ReadOptions(**reading), is_streamed)
    if domains is None:
        return source
    chosen = ChosenDomains(source, domains)
    chosen.is_streamed = is_streamed
    return chosen


def _is_bad_pair(value: Sequence[Any]) -> bool:
    """Returns whether a value is meant as a pair but its weight is no number, which the stage reports."""
    return len(value) == 2 and isinstance(value[0], str) and len(value[0].split(None, 1)) == 1


def _is_pair(value: Any) -> bool:
    """Returns whether a value is a dataset and its weight."""
    return (
        isinstance(value, (list, tuple))
        and len(value) == 2
        and isinstance(value[1], (int, float, np.number))
        and not isinstance(value[0], (int, float, np.number))
    )


def _is_data(values: Sequence[Any]) -> bool:
    """Returns whether a list holds texts or records, and not datasets."""
    if not values:
        return False
    if all(isinstance(value, Mapping) for value in values):
        return not any(
            "name" in value or set(value) == {IN_MEMORY} or is_data_object(value) for value in values
        )
    if not all(isinstance(value, str) for value in values):
        return False
    text = next((value for value in values if _is_evidently_text(value)), None)
    if text is None:
        return False
    if name := next((value for value in values if _is_evidently_name(value)), None):
        raise DataError(
            f"the list has the name `{name}` and a text of {len(text):,} characters; pass names or texts; to "
            f"mix them, {_WRAP}"
        )
    return True


def _is_evidently_text(value: str) -> bool:
    return "\n" in value or (len(value.split(None, _TEXT_WORDS)) >= _TEXT_WORDS and not os.path.exists(value))


def _is_evidently_name(value: str) -> bool:
    if len(value.split(None, 1)) != 1:
        return False
    return is_documented_name(value) or is_remote(value) or os.path.exists(value)


def _name_apart(sources: Sequence[Any]) -> None:
    """Numbers the data in memory that would have one name."""
    counts: dict[str, int] = {}
    for source in sources:
        if isinstance(source, InMemoryDataset) and not source.is_named:
            name = source.name
            counts[name] = counts.get(name, 0) + 1
            if counts[name] > 1:
                source.name = f"{name} ({counts[name]})"
