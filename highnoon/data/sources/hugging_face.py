"""Documents from Hugging Face datasets (extra `hf`)."""

from __future__ import annotations

import hashlib
import pathlib
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from highnoon.data.document import DataError
from highnoon.data.records.read_options import ReadOptions
from highnoon.data.sources.hub_source import HubSource, require_known_columns


class HuggingFaceDataset(HubSource):
    """A dataset from the hub, or a folder that `Dataset.save_to_disk` wrote.

    Opening it downloads it to the library's own cache. If it is streamed, each reading fetches the records
    again, and the fingerprint is of name, split and revision instead of the texts. A stream without a
    revision may change without notice, so it raises a warning.

    Args:
        name: `org/name` or `org/name:configuration`, optionally with `@revision` (a commit, branch or tag),
            or a folder.
        split: The split to read; `"train[:1%]"` reads a part of it.
        options: How records become documents, and what happens to bad ones.
        is_streamed: Whether to fetch records as they are read.

    Raises:
        ImportError: If the extra `hf` is not installed.
        DataError: If it cannot be opened, has no text column, or is a folder and streamed.
    """

    def __init__(
        self, name: str, split: str = "train", options: ReadOptions | None = None, is_streamed: bool = False
    ) -> None:
        super().__init__(options)
        self.name = f"{'hf-stream' if is_streamed else 'hf'}:{name}"
        self.split = split
        self.is_streamed = is_streamed
        self._dataset = _load(name, split, is_streamed)
        # The columns of a stream are known only if the hub provides them.
        if self._dataset.column_names is not None:
            require_known_columns(self._dataset.column_names, self.options, self.name)
        if is_streamed and "@" not in name:
            warnings.warn(
                f"{self.name} may change between two runs without notice; name a commit, as in "
                f"{self.name}@<commit>",
                stacklevel=2,
            )

    def _records(self) -> Iterator[Mapping[str, Any]]:
        records = iter(self._dataset)
        while True:
            # Network access raises errors of many unrelated classes.
            try:
                record = next(records, None)
            except Exception as error:
                raise _cannot("read", self.name, self.split, error) from error
            if record is None:
                return
            yield record

    def _describe(self, digest: hashlib.blake2b) -> None:
        if self.is_streamed:
            digest.update(f"{self.name}\0{self.split}\0{self.options.describe_records()}".encode())
        else:
            super()._describe(digest)


def _load(name: str, split: str, is_streamed: bool) -> Any:
    try:
        import datasets
    except ImportError:
        raise ImportError(f"hf:{name} needs the library `datasets`: pip install highnoon[hf]") from None
    is_folder = pathlib.Path(name).is_dir()
    if is_folder and is_streamed:
        raise DataError(f"{name} is a folder and cannot be streamed; open hf:{name}")
    address, _, revision = name.partition("@")
    path, _, configuration = address.partition(":")
    choices: dict[str, Any] = {"revision": revision} if revision else {}
    if is_streamed:
        choices["streaming"] = True
    try:
        if is_folder:
            loaded = datasets.load_from_disk(name)
            return loaded[split] if isinstance(loaded, dict) else loaded
        return datasets.load_dataset(path, configuration or None, split=split, **choices)
    # The library, its readers and the network raise errors of many unrelated classes.
    except Exception as error:
        raise _cannot("open", f"hf:{name}", split, error) from error


def _cannot(do: str, name: str, split: str, error: Exception) -> DataError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return DataError(
        f"cannot {do} {name} split {split!r}: {reason}; check the name, the split and the network, or put a "
        f"copy in data_dir"
    )
