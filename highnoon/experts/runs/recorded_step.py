"""Steps that are skipped when their result is whole and nothing that they read has changed."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from highnoon.files.file_hash import file_hash
from highnoon.files.folder_manifest import DamagedFolderError, file_damage, has_manifest, read_manifest
from highnoon.files.foreign import ForeignDataError, read_json
from highnoon.files.name_path import name_path
from highnoon.files.print_text import print_text
from highnoon.files.sealed_json import require_sealed, seal, without_digest
from highnoon.files.sync_to_disk import sync_to_disk

STEPS_FOLDER = "steps"
WEIGHTS_FILE = "model.safetensors"


class RecordedSteps:
    """Runs steps one after another, and records in a folder which of them are done.

    Args:
        folder: `folder/steps/NAME.json` says what a step read and what it wrote.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder / STEPS_FOLDER

    def run(
        self,
        name: str,
        inputs: Mapping[str, Any],
        results: Sequence[pathlib.Path],
        step: Callable[[bool], Any],
    ) -> None:
        """Runs a step, unless it was done with the same inputs and its results are as it left them.

        Args:
            name: Of the step.
            inputs: All that it depends on, as JSON values.
            results: The files and folders that it writes.
            step: Called with whether a run with the same inputs began before, so that it can resume.
        """
        file = self.folder / f"{name}.json"
        inputs, record = json.loads(json.dumps(inputs)), _read(file)
        is_same, found = record.get("inputs") == inputs, _hashes(results)
        if is_same and None not in found.values() and record.get("results") == found:
            print_text(f"{name}: done before, skipped")
            return
        changed = [key for key in inputs if record.get("inputs", inputs).get(key) != inputs[key]]
        reason = f" again: {', '.join(changed)} changed" if changed else (": resumes" if is_same else "")
        print_text(f"\n{name}{reason}")
        _write(file, {"inputs": inputs})
        step(is_same)
        _write(file, {"inputs": inputs, "results": _hashes(results)})


def weights_file_hash(folder: pathlib.Path) -> str:
    """Returns the hash of the weights of a saved model."""
    return file_hash(folder / WEIGHTS_FILE)


def _hashes(results: Sequence[pathlib.Path]) -> dict[str, str | None]:
    """Returns a hash for each result; None where it is not there or is damaged."""
    return {str(path): _hash(path) for path in results}


def _hash(path: pathlib.Path) -> str | None:
    if path.is_file():
        return file_hash(path)
    if not has_manifest(path):
        return None
    try:
        entries = read_manifest(path)
    except DamagedFolderError:
        return None
    return None if file_damage(path, entries) else json.dumps(entries, sort_keys=True)


def _read(file: pathlib.Path) -> dict[str, Any]:
    """Returns a record; one that is not there or damaged says nothing, so that its step runs again."""
    if not file.is_file():
        return {}
    try:
        values: dict[str, Any] = read_json(file)
        require_sealed(values, str(file))
    except (OSError, ForeignDataError) as error:
        print_text(f"note: {file} cannot be read ({error}); its step runs again")
        return {}
    return without_digest(values)


def _write(file: pathlib.Path, values: dict[str, Any]) -> None:
    """Writes a record in one replacement."""
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    with name_path(file):
        unfinished.write_text(json.dumps(seal(values), indent=1), encoding="utf-8")
        sync_to_disk(unfinished)
        os.replace(unfinished, file)
