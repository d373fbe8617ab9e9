"""Documents from TensorFlow Datasets; TensorFlow is imported when a dataset is opened."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from highnoon.data.document import DataError
from highnoon.data.records.read_options import ReadOptions
from highnoon.data.sources.hub_source import HubSource, require_known_columns


class TfdsDataset(HubSource):
    """A dataset of TensorFlow Datasets, prepared in the library's own folder if it is not there yet.

    Args:
        name: The name in its catalog: `name`, `name/config` or `name/config:version`.
        split: The split to read; `"train[:1%]"` reads a part of it.
        options: How records become documents, and what happens to bad ones.

    Raises:
        DataError: If it cannot be opened or has no text feature.
    """

    def __init__(self, name: str, split: str = "train", options: ReadOptions | None = None) -> None:
        import tensorflow_datasets

        super().__init__(options)
        self.name = f"tfds:{name}"
        self.split = split
        self._as_numpy = tensorflow_datasets.as_numpy
        # The library, its builders and the network raise errors of many unrelated classes.
        try:
            self._dataset = tensorflow_datasets.load(name, split=split, shuffle_files=False)
        except Exception as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise DataError(
                f"cannot open tfds:{name} split {split!r}: {reason}; check the name, the split and the "
                f"network"
            ) from error
        spec = self._dataset.element_spec
        require_known_columns(list(spec) if isinstance(spec, dict) else [], self.options, self.name)

    def _records(self) -> Iterator[Mapping[str, Any]]:
        return iter(self._as_numpy(self._dataset))
