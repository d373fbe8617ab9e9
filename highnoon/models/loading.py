"""Reads models: folders that `save_model` wrote, training checkpoints, folders of Hugging Face."""

from __future__ import annotations

import pathlib
from collections.abc import Iterable
from typing import Any

import keras
from keras_hub.models import CausalLM

from highnoon.config.known_arguments import known_arguments
from highnoon.files.folder_manifest import (
    EXPORT_MANIFEST,
    MANIFEST,
    DamagedFolderError,
    Entries,
    file_damage,
    has_manifest,
    read_manifest,
)
from highnoon.models.adapters import is_adapter_folder, load_adapted_model
from highnoon.models.arrays import assign_arrays, load_arrays
from highnoon.models.dtypes import resolve_dtype
from highnoon.models.families import Family
from highnoon.models.find_model import find_model
from highnoon.models.from_preset import is_keras_hub_preset
from highnoon.models.hugging_face.load import is_hugging_face_folder, load_hugging_face
from highnoon.models.keras_file import load_keras_file
from highnoon.models.saving import (
    CONFIG_FILE,
    KERAS_SUFFIX,
    TOKENIZER_FILE,
    TRAINING_FILES,
    WEIGHTS_FILE,
    ModelFolderError,
    described_family,
    read_description,
    saved_weights,
)
from highnoon.tokenization import load_tokenizer


@known_arguments
def load_model(path: str | pathlib.Path, dtype: Any = "auto", allow_oversize: bool = False) -> Any:
    """Reads a model folder, or the model of a run or of a training checkpoint.

    The path is looked up by `find_model`: the folder of a run, its `checkpoints`, and a role such as
    `my-run/best` are paths of models too. The folder's `config.json` names the model's family, see
    `register_family`. A folder of Hugging Face `transformers` is read too, see `docs/guides/weights.md`, and
    an adapter that names its base, see `highnoon.models.adapters`, a `.keras` file, and a preset that
    `save_to_preset` wrote.

    Args:
        path: The folder, or another path that `find_model` takes.
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
    path = find_model(path)
    if has_manifest(path, EXPORT_MANIFEST):
        _require_whole(path, EXPORT_MANIFEST, _entries(path, EXPORT_MANIFEST))
    if is_adapter_folder(path):
        return load_adapted_model(path, dtype, allow_oversize)
    if is_hugging_face_folder(path):
        return load_hugging_face(path, dtype, allow_oversize)
    if path.suffix == KERAS_SUFFIX and not path.is_dir():
        _require_own_dtype(dtype, path)
        return load_keras_file(path, allow_oversize)
    if is_keras_hub_preset(path):
        return CausalLM.from_preset(str(path), dtype=resolve_dtype(dtype))
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
        assign_arrays(saved_weights(model), load_arrays(weights), owner=f"the model of {path / CONFIG_FILE}")
    except (FileNotFoundError, ValueError) as error:
        raise ModelFolderError(f"{path} is no complete model: {error}") from error
    if (path / TOKENIZER_FILE).is_file():
        model.tokenizer = load_tokenizer(path / TOKENIZER_FILE)
    if outputs := values.get("outputs"):
        model.outputs_description = outputs
    return model


def _require_own_dtype(dtype: Any, path: pathlib.Path) -> None:
    if dtype is not None and dtype != "auto":
        raise ModelFolderError(
            f"{path} has a dtype of its own; received dtype={dtype!r}. Leave it out, or save the model by "
            "hn.save_model and load that folder with a dtype"
        )


def _make_model(path: pathlib.Path, family: Family, values: dict[str, Any], dtype: Any) -> keras.Model:
    try:
        return family.make(values, dtype)
    except ModelFolderError:
        raise
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
