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


class Beginning:
    """How the run of a step begins.

    Args:
        file: The record of the step.
        inputs: What it depends on.
        run_id: The run with the same inputs that began before, from whose checkpoints it can resume; None
            for none.
    """

    def __init__(self, file: pathlib.Path, inputs: Mapping[str, Any], run_id: str | None) -> None:
        self.run_id = run_id
        self._file, self._inputs = file, inputs

    @property
    def record(self) -> dict[str, Any]:
        """The inputs, and the run once it has begun."""
        return {"inputs": self._inputs, **({} if self.run_id is None else {"run_id": self.run_id})}

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Records a run of training by the event with which it begins; it is a callback of `Trainer`."""
        # Before it, the checkpoints in the folder are those of an earlier run.
        if event["event"] == "train_begin":
            self.run_id = event["run_id"]
            _write(self._file, self.record)


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
        step: Callable[[Beginning], Any],
    ) -> None:
        """Runs a step, unless it was done with the same inputs and its results are as it left them.

        What is recorded changes when the step says that its run has begun, and when it ends: a step that is
        killed before either leaves the record of the run before.

        Args:
            name: Of the step.
            inputs: All that it depends on, as JSON values.
            results: The files and folders that it writes.
            step: Called with the `Beginning` of its run.
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
        beginning = Beginning(file, inputs, record.get("run_id") if is_same else None)
        step(beginning)
        _write(file, {**beginning.record, "results": _hashes(results)})


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
