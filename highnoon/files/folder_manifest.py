"""The manifest of a folder: size and hash of each of its files."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Iterable
from typing import Any

from highnoon.files.file_hash import file_hash
from highnoon.files.foreign import ForeignDataError, read_json
from highnoon.files.sealed_json import DIGEST, require_sealed, seal, without_digest
from highnoon.files.shown import shown
from highnoon.files.sync_to_disk import sync_to_disk

MANIFEST = "manifest.json"

# Used in folders of other libraries, where `manifest.json` may be one of their files.
EXPORT_MANIFEST = "highnoon_manifest.json"

Entries = dict[str, dict[str, Any]]


class DamagedFolderError(ValueError):
    """A folder whose content has changed since it was written."""


def write_manifest(folder: pathlib.Path, name: str = MANIFEST) -> None:
    """Writes the sizes and hashes of all files in `folder` to its manifest, and flushes all to disk."""
    entries: Entries = {}
    for path in sorted(folder.rglob("*")):
        sync_to_disk(path)
        if path.is_file():
            relative = path.relative_to(folder).as_posix()
            entries[relative] = {"bytes": path.stat().st_size, "blake2b": file_hash(path)}
    (folder / name).write_text(json.dumps(seal(entries), indent=1), encoding="utf-8")
    sync_to_disk(folder / name)
    sync_to_disk(folder)


def read_manifest(folder: pathlib.Path, name: str = MANIFEST) -> Entries:
    """Returns the entries of a folder's manifest: `bytes` and `blake2b` by file name.

    Raises:
        DamagedFolderError: If the manifest cannot be read or has another form.
    """
    file = folder / name
    try:
        values = read_json(file)
        require_sealed(values, str(file))
    except (OSError, ForeignDataError) as error:
        raise DamagedFolderError(f"its manifest cannot be read ({error})") from None
    entries = without_digest(values)
    for key, entry in entries.items():
        if not _is_entry(key, entry):
            problem = f"{file} has no size and hash for {shown(key)}"
            raise DamagedFolderError(f"its manifest cannot be read ({problem})")
    return entries


def has_manifest(folder: pathlib.Path, name: str = MANIFEST) -> bool:
    """Returns whether `folder` has a manifest, readable or not."""
    return os.path.lexists(folder / name)


def file_damage(folder: pathlib.Path, entries: Entries, names: Iterable[str] | None = None) -> str | None:
    """Returns what is wrong with the files of a manifest, or None.

    Args:
        folder: The folder.
        entries: The entries from `read_manifest`.
        names: The files to check; None checks all.
    """
    for name in entries if names is None else [name for name in names if name in entries]:
        path, entry = folder / name, entries[name]
        if not path.is_file():
            return f"{name} is missing"
        if (size := path.stat().st_size) != entry["bytes"]:
            return f"{name} has {size} bytes instead of {entry['bytes']}"
        if file_hash(path) != entry["blake2b"]:
            return f"the bytes of {name} have changed"
    return None


def damage_of_file(file: pathlib.Path) -> str | None:
    """Returns what is wrong with a file according to the manifest in its folder.

    Returns None if the file is intact, or no manifest of this package lists it.
    """
    for name in (MANIFEST, EXPORT_MANIFEST):
        try:
            values = read_json(file.parent / name)
        except (OSError, ForeignDataError):
            continue
        if DIGEST in values and _is_entry(file.name, values.get(file.name)):
            return file_damage(file.parent, values, [file.name])
    return None


def _is_entry(name: str, entry: Any) -> bool:
    parts = pathlib.PurePosixPath(name).parts
    is_inside = bool(parts) and not name.startswith("/") and ".." not in parts and "\0" not in name
    return (
        is_inside
        and isinstance(entry, dict)
        and set(entry) == {"bytes", "blake2b"}
        and type(entry["bytes"]) is int
        and isinstance(entry["blake2b"], str)
    )
