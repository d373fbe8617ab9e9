"""Documents of Hugging Face datasets (extra `hf`)."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from highnoon.data.document import DataError
from highnoon.data.hub_source import HubSource, require_text_column


class HuggingFaceDataset(HubSource):
    """A dataset of the hub, or a folder that `Dataset.save_to_disk` wrote.

    Opening it downloads it into the library's own cache.

    Args:
        name: `org/name`, `org/name:configuration`, or a folder.
        split: Which of its splits, `"train[:1%]"` for a part of one.

    Raises:
        ImportError: the extra `hf` is not installed.
        DataError: it cannot be opened, or has no column of text.
    """

    def __init__(self, name: str, split: str = "train") -> None:
        self.name = f"hf:{name}"
        self.split = split
        self._dataset = _load(name, split)
        require_text_column(self._dataset.column_names, self.name)

    def _rows(self) -> Iterator[Mapping[str, Any]]:
        return iter(self._dataset)


def _load(name: str, split: str) -> Any:
    try:
        import datasets
    except ImportError:
        raise ImportError(f"hf:{name} needs the library `datasets`: pip install highnoon[hf]") from None
    path, _, configuration = name.partition(":")
    try:
        if pathlib.Path(name).is_dir():
            loaded = datasets.load_from_disk(name)
            return loaded[split] if isinstance(loaded, dict) else loaded
        return datasets.load_dataset(path, configuration or None, split=split)
    # The library, its readers and the network raise errors of many unrelated classes.
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"cannot open hf:{name} split {split!r}: {reason}; check the name, the split and the "
                        f"network, or put a copy under data_dir") from error
