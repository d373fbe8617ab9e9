"""The folder of an index: complete or absent, and checked before it is read."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from highnoon.files.expand_home import expand_home
from highnoon.files.folder_content import folder_content
from highnoon.files.folder_manifest import DamagedFolderError, Entries, file_damage, read_manifest
from highnoon.files.foreign import ForeignDataError, read_json
from highnoon.files.whole_folder import recover_folder, whole_folder
from highnoon.vectors.similarity import METRICS, Floats
from highnoon.vectors.stored_vectors import Ids, StoredVectors
from highnoon.vectors.vector_checks import VectorIndexError

INDEX_FILE = "index.json"
_ARRAYS = {"ids.npy": np.int64, "groups.npy": np.int64, "vectors.npy": np.float32}
_FORMAT, _VERSION = "highnoon-vectors", 1
_ROWS_AT_ONCE = 8192


@dataclasses.dataclass(frozen=True)
class IndexDescription:
    """What `index.json` says.

    Args:
        kind: The registered kind of index.
        width: Numbers of a vector.
        metric: The metric.
        count: Vectors.
        model_hash: Of the model that computed the vectors.
        options: Further arguments of the index.
    """

    kind: str
    width: int
    metric: str
    count: int
    model_hash: str
    options: dict[str, Any]


def save_index_folder(
    path: str | os.PathLike[str],
    stored: StoredVectors,
    description: IndexDescription,
    write_more: Callable[[pathlib.Path], None],
) -> pathlib.Path:
    """Writes an index into a new folder, which then replaces the old one; see `VectorIndex.save`."""
    path = expand_home(path)
    recover_folder(path)
    if path.exists() and not _is_replaceable(path):
        raise VectorIndexError(
            f"{path} must be a new folder or one that holds an index; {folder_content(path)}: "
            "give another path"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_folder(path) as folder:
        rows = stored.rows_by_id()
        np.save(folder / "ids.npy", stored.ids[rows], allow_pickle=False)
        np.save(folder / "groups.npy", stored.groups[rows], allow_pickle=False)
        shape = (len(rows), stored.width)
        vectors = np.lib.format.open_memmap(folder / "vectors.npy", "w+", np.float32, shape)
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            chosen = slice(start, start + _ROWS_AT_ONCE)
            vectors[chosen] = stored.take(rows[chosen])
        vectors.flush()
        del vectors
        values = {"format": _FORMAT, "version": _VERSION, **dataclasses.asdict(description)}
        (folder / INDEX_FILE).write_text(json.dumps(values, indent=1), encoding="utf-8")
        write_more(folder)
    return path


def check_index_folder(
    path: str | os.PathLike[str], model_hash: str | None
) -> tuple[pathlib.Path, IndexDescription]:
    """Returns the folder and the description of an index, all of whose files have the hashes of the manifest.

    The model is compared first, before the large files are read.

    Raises:
        VectorIndexError: no index, another model, or a file that has changed.
    """
    path = expand_home(path)
    recover_folder(path)
    if not (path / INDEX_FILE).is_file():
        raise VectorIndexError(f"{path} must be the folder of an index; {folder_content(path)}")
    try:
        entries = read_manifest(path)
        description = _read_description(path, entries)
    except DamagedFolderError as error:
        raise _damaged(path, str(error)) from None
    if model_hash is not None and model_hash != description.model_hash:
        raise VectorIndexError(
            f"the vectors of {path} were computed by the model {description.model_hash or '(none)'}; "
            f"expected {model_hash}; load that model, or build the index again with this one"
        )
    if (damage := file_damage(path, entries)) is not None:
        raise _damaged(path, damage)
    return path, description


def read_arrays(path: pathlib.Path, description: IndexDescription) -> tuple[Ids, Ids, Floats]:
    """Returns ids, groups and vectors of a checked folder, the vectors memory-mapped and read-only.

    Raises:
        VectorIndexError: an array of another shape than described.
    """
    shapes = dict.fromkeys(_ARRAYS, (description.count,)) | {
        "vectors.npy": (description.count, description.width)
    }
    arrays = []
    for name, dtype in _ARRAYS.items():
        try:
            array = np.load(path / name, mmap_mode="r" if name == "vectors.npy" else None, allow_pickle=False)
        except ValueError as error:
            raise _damaged(path, f"{name} is no array ({error})") from None
        if array.dtype != dtype or array.shape != shapes[name]:
            raise _damaged(path, f"{name} has {array.dtype} of shape {array.shape}, expected {shapes[name]}")
        arrays.append(array)
    return arrays[0], arrays[1], arrays[2]


def _read_description(path: pathlib.Path, entries: Entries) -> IndexDescription:
    if missing := [name for name in (INDEX_FILE, *_ARRAYS) if name not in entries]:
        raise DamagedFolderError(f"its manifest does not list {missing[0]}")
    if (damage := file_damage(path, entries, [INDEX_FILE])) is not None:
        raise DamagedFolderError(damage)
    try:
        values: dict[str, Any] = read_json(path / INDEX_FILE)
    except (OSError, ForeignDataError) as error:
        raise DamagedFolderError(str(error)) from None
    if values.pop("format", None) != _FORMAT or values.pop("version", None) != _VERSION:
        raise DamagedFolderError(f"{INDEX_FILE} is not of format {_FORMAT} {_VERSION}")
    types = {"kind": str, "width": int, "metric": str, "count": int, "model_hash": str, "options": dict}
    if {name: type(value) for name, value in values.items()} != types or values["metric"] not in METRICS:
        raise DamagedFolderError(f"{INDEX_FILE} has other entries than {', '.join(types)}")
    return IndexDescription(**values)


def _is_replaceable(path: pathlib.Path) -> bool:
    return path.is_dir() and ((path / INDEX_FILE).is_file() or not any(path.iterdir()))


def _damaged(path: pathlib.Path, problem: str) -> VectorIndexError:
    return VectorIndexError(f"{path} is damaged: {problem}; build the index again")
