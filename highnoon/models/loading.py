"""Reads models: folders that `save_model` wrote, training checkpoints, folders of Hugging Face."""

from __future__ import annotations

import pathlib
from collections.abc import Iterable
from typing import Any

import keras

from highnoon.config import require_path
from highnoon.files.folder_manifest import (
    EXPORT_MANIFEST,
    MANIFEST,
    DamagedFolderError,
    Entries,
    file_damage,
    has_manifest,
    read_manifest,
)
from highnoon.files.whole_folder import recover_folder
from highnoon.models.arrays import assign_arrays, load_arrays
from highnoon.models.families import Family
from highnoon.models.hugging_face.load import is_hugging_face_folder, load_hugging_face
from highnoon.models.saving import (
    CONFIG_FILE,
    TOKENIZER_FILE,
    TRAINING_FILES,
    WEIGHTS_FILE,
    ModelFolderError,
    described_family,
    read_description,
)
from highnoon.tokenization import load_tokenizer


def load_model(path: str | pathlib.Path, dtype: Any = "auto", allow_oversize: bool = False) -> Any:
    """Reads a model folder, or the model of a training checkpoint.

    The folder's `config.json` names the model's family, see `register_family`. A folder of Hugging Face
    `transformers` is read too, see `docs/guides/weights.md`.

    Args:
        path: The folder.
        dtype: As in `create_model`; a quantized model keeps its own, and `"auto"` keeps that of a model that
            is no `LanguageModel`.
        allow_oversize: Load even a model that does not fit into this machine's memory.

    Returns:
        The model, with its tokenizer where the folder has one.

    Raises:
        ModelFolderError: `path` is no model folder, is damaged, or holds a model of a family that is not
            known in this process.
        LimitExceededError: the weights do not fit into memory.
    """
    path = pathlib.Path(require_path("path", path, ModelFolderError))
    recover_folder(path)
    if has_manifest(path, EXPORT_MANIFEST):
        _require_whole(path, EXPORT_MANIFEST, _entries(path, EXPORT_MANIFEST))
    if is_hugging_face_folder(path):
        return load_hugging_face(path, dtype, allow_oversize)
    entries = _entries(path, MANIFEST) if has_manifest(path) else {}
    needed = [name for name in entries if name not in TRAINING_FILES]
    # The weights follow once it is known that they fit into memory.
    _require_whole(path, MANIFEST, entries, [name for name in needed if name != WEIGHTS_FILE])
    values = read_description(path)
    family = described_family(path, values)
    weights = path / WEIGHTS_FILE
    family.require_memory(values, weights.stat().st_size if weights.is_file() else 0, allow_oversize)
    _require_whole(path, MANIFEST, entries, [WEIGHTS_FILE])
    model = _make_model(path, family, values, dtype)
    try:
        assign_arrays(model.weights, load_arrays(weights), owner=f"the model of {path / CONFIG_FILE}")
    except (FileNotFoundError, ValueError) as error:
        raise ModelFolderError(f"{path} is no complete model: {error}") from error
    if (path / TOKENIZER_FILE).is_file():
        model.tokenizer = load_tokenizer(path / TOKENIZER_FILE)
    if outputs := values.get("outputs"):
        model.outputs_description = outputs
    return model


def _make_model(path: pathlib.Path, family: Family, values: dict[str, Any], dtype: Any) -> keras.Model:
    try:
        return family.make(values, dtype)
    except (ValueError, TypeError, KeyError) as error:
        raise ModelFolderError(
            f"{path / CONFIG_FILE} describes no model ({error}); take another copy of the folder"
        ) from error


def _entries(path: pathlib.Path, manifest: str) -> Entries:
    try:
        return read_manifest(path, manifest)
    except DamagedFolderError as error:
        raise ModelFolderError(
            f"{path} is damaged: {error}; take another copy, or remove {manifest} to load it unchecked"
        ) from None


def _require_whole(
    path: pathlib.Path, manifest: str, entries: Entries, names: Iterable[str] | None = None
) -> None:
    """Raises ModelFolderError where a file is not what the manifest says."""
    if reason := file_damage(path, entries, names):
        raise ModelFolderError(
            f"{path} is no complete model: it is damaged: {reason} since it was saved; take another copy, or "
            f"where the change is yours remove {manifest}"
        )
