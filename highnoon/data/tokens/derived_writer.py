"""Writes derived columns so that a killed computation can resume."""

from __future__ import annotations

import json
import os
import pathlib
import time
import warnings
from collections.abc import Mapping
from types import TracebackType
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from highnoon.data.tokens.derived_columns import DerivedColumn, column_file
from highnoon.files.block_hashes import BLOCK_BYTES, BlockHasher
from highnoon.files.foreign import ForeignDataError, read_json
from highnoon.files.sealed_json import require_sealed, seal
from highnoon.files.sync_to_disk import sync_to_disk

_JOURNAL = "progress.json"

# A kill loses at most this much work.
COMMIT_SECONDS = 10.0


class DerivedWriter:
    """Appends values to the files of derived columns; a context manager.

    Every ten seconds, and where it is left by an exception, all files are synced and a journal is replaced.
    A writer of the same folder and key cuts the files to what the journal says and continues.

    Args:
        folder: A folder that only this writer uses.
        key: The key of the columns.
        columns: The columns.
    """

    def __init__(self, folder: pathlib.Path, key: str, columns: Mapping[str, DerivedColumn]) -> None:
        self.folder, self._key, self._columns = folder, key, columns
        folder.mkdir(parents=True, exist_ok=True)
        sizes = dict.fromkeys(columns, 0)
        self.num_windows = 0
        self._hashers = {name: BlockHasher() for name in columns}
        journal = _read_journal(folder, key, columns)
        if journal is not None:
            sizes, self.num_windows = journal["sizes"], journal["windows"]
            self._hashers = {name: _hash_file(folder / column_file(name), sizes[name]) for name in columns}
            if any(self._hashers[name].text != journal["hashes"][name] for name in columns):
                warnings.warn(f"computing {folder} from scratch: a file has changed", stacklevel=3)
                sizes, self.num_windows = dict.fromkeys(columns, 0), 0
                self._hashers = {name: BlockHasher() for name in columns}
        self._files: dict[str, IO[bytes]] = {}
        for name, size in sizes.items():
            path = folder / column_file(name)
            stream = path.open("r+b" if path.exists() else "w+b")
            stream.truncate(size)
            stream.seek(size)
            self._files[name] = stream
        self._committed = time.monotonic()

    def append(self, values: Mapping[str, npt.NDArray[Any]], num_windows: int) -> None:
        """Appends the values of some windows to each column."""
        for name, array in values.items():
            data = np.ascontiguousarray(array, self._columns[name].dtype).data.cast("B")
            self._files[name].write(data)
            self._hashers[name].update(data)
        self.num_windows += num_windows
        if time.monotonic() - self._committed >= COMMIT_SECONDS:
            self.commit()

    def commit(self) -> None:
        """Makes the appended values safe against a kill or a power failure."""
        self._sync()
        _write_sealed(
            self.folder / _JOURNAL, {"key": self._key, "windows": self.num_windows, **self._described()}
        )
        self._committed = time.monotonic()

    def finish(self, manifest: pathlib.Path, values: Mapping[str, Any]) -> None:
        """Writes the manifest, which completes the columns, and removes the journal."""
        self._sync()
        _write_sealed(manifest, {**values, **self._described()})
        (self.folder / _JOURNAL).unlink(missing_ok=True)

    def _described(self) -> dict[str, Any]:
        return {
            "sizes": {name: stream.tell() for name, stream in self._files.items()},
            "hashes": {name: hasher.text for name, hasher in self._hashers.items()},
        }

    def _sync(self) -> None:
        for stream in self._files.values():
            stream.flush()
            os.fsync(stream.fileno())

    def __enter__(self) -> DerivedWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is not None and self.num_windows and not isinstance(error, OSError):
                self.commit()
        finally:
            for stream in self._files.values():
                stream.close()


def _read_journal(
    folder: pathlib.Path, key: str, columns: Mapping[str, DerivedColumn]
) -> dict[str, Any] | None:
    """Returns the journal of a killed computation, or None if there is none with this key."""
    file = folder / _JOURNAL
    if not file.is_file():
        return None
    try:
        values: dict[str, Any] = read_json(file, max_bytes=1 << 30)
        require_sealed(values, str(file))
    except (OSError, ForeignDataError) as error:
        warnings.warn(f"computing {folder} from scratch: {error}", stacklevel=4)
        return None
    if values["key"] != key or set(values["sizes"]) != set(columns):
        return None
    return values


def _hash_file(path: pathlib.Path, size: int) -> BlockHasher:
    """Returns the hasher of the first `size` bytes of a file, or of fewer if it is shorter."""
    hasher = BlockHasher()
    left = size if path.is_file() else 0
    if left:
        with path.open("rb") as stream:
            while left and (data := stream.read(min(BLOCK_BYTES, left))):
                hasher.update(data)
                left -= len(data)
    return hasher


def _write_sealed(path: pathlib.Path, values: dict[str, Any]) -> None:
    """Writes a JSON file with a hash of its own content to disk, and replaces the old one."""
    unfinished = path.with_name(f".{path.name}")
    with unfinished.open("w", encoding="utf-8") as stream:
        json.dump(seal(values), stream, indent=1)
        stream.flush()
        os.fsync(stream.fileno())
    unfinished.replace(path)
    sync_to_disk(path.parent)
