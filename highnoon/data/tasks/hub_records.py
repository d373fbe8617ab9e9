"""Records of a task on the Hugging Face hub (extra `hf`)."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pathlib
import socket
import warnings
from collections.abc import Sequence

from highnoon.data.document import DataError
from highnoon.data.records.read_options import ReadOptions
from highnoon.data.sources.hugging_face import HuggingFaceDataset
from highnoon.data.tasks.task_definition import TaskData
from highnoon.data.tasks.task_source import TaskPart

_HUB = ("huggingface.co", 443)
_TIMEOUT_SECONDS = 5.0

# Where one of them is set, the hub is reached in another way than by its address.
_OTHER_WAYS = ("HF_ENDPOINT", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")


class HubRecords(HuggingFaceDataset):
    """Records whose fields only the task's definition knows; the fingerprint hashes them.

    Args:
        data: The dataset.
        options: How documents are made of the records.
    """

    def __init__(self, data: TaskData, options: ReadOptions) -> None:
        # The kind keeps the columns from being compared with the fields of documents.
        super().__init__(data.hub, data.split, dataclasses.replace(options, kind="chat"))

    def _describe(self, digest: hashlib.blake2b) -> None:
        digest.update(self.name.encode())
        for record in self._records():
            digest.update(json.dumps(record, sort_keys=True, default=repr).encode())


def open_hub_parts(datasets: Sequence[TaskData], options: ReadOptions, reasons: list[str]) -> list[TaskPart]:
    """Returns those datasets of a task that open on the hub; adds why others do not to `reasons`.

    If the first cannot be opened, the others are not tried.

    Args:
        datasets: The datasets, the main one first; those without a name on the hub are skipped.
        options: How documents are made of the records.
        reasons: A list to add to.
    """
    opened: dict[str, HubRecords] = {}
    for dataset in datasets:
        if not dataset.hub:
            continue
        try:
            _require_reachable(dataset.hub)
            opened[dataset.name] = HubRecords(dataset, options)
        except (DataError, ImportError) as error:
            reasons.append(str(error))
            if not opened:
                return []
            warnings.warn(f"without {dataset.name}: {error}", stacklevel=4)
    held_out = {dataset.name for dataset in datasets if dataset.validation_only_with in opened}
    return [TaskPart(source, name in held_out) for name, source in opened.items()]


def _require_reachable(name: str) -> None:
    """Raises at once if there is no network and no cached copy: the library retries for half a minute."""
    try:
        import datasets
    except ImportError:
        raise ImportError(f"hf:{name} needs the library `datasets`: pip install highnoon[hf]") from None
    folder = name.partition(":")[0].replace("/", "___")
    if any(os.environ.get(way) for way in _OTHER_WAYS):
        return
    if pathlib.Path(datasets.config.HF_DATASETS_CACHE, folder).is_dir():
        return
    try:
        socket.create_connection(_HUB, _TIMEOUT_SECONDS).close()
    except OSError as error:
        raise DataError(f"hf:{name} cannot be reached ({error.strerror or error})") from error
