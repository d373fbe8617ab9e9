"""Language models as folders: configuration, weights and tokenizer, and nothing else is needed."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable, Iterable
from typing import Any

import keras

from highnoon import __version__
from highnoon.config import ConfigError, ModelConfig, TrainingConfig, require_path
from highnoon.files.folder_manifest import (
    EXPORT_MANIFEST,
    MANIFEST,
    DamagedFolderError,
    Entries,
    file_damage,
    has_manifest,
    read_manifest,
)
from highnoon.files.foreign import ForeignDataError, read_json
from highnoon.files.whole_folder import recover_folder, whole_folder
from highnoon.models.arrays import assign_arrays, load_arrays, save_arrays, variable_arrays
from highnoon.models.causal_lm import LanguageModel
from highnoon.models.create import resolve_dtype
from highnoon.models.layer_changes import apply_layer_changes, describe_layer_changes, dtype_of_changes
from highnoon.models.memory import require_memory
from highnoon.tokenization import load_tokenizer
from highnoon.tokenization.chat.chat_template_file import CHAT_TEMPLATE_FILE

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
TOKENIZER_FILE = "tokenizer.json"
_FILES = (CONFIG_FILE, WEIGHTS_FILE, TOKENIZER_FILE, CHAT_TEMPLATE_FILE)
_FORMAT = "highnoon-model"
_FORMAT_VERSION = 1

# Files of a checkpoint that a model does not need.
_TRAINING_FILES = ("optimizer.safetensors", "state.json")


class ModelFolderError(ValueError):
    """A folder that is no saved model, or that must not be overwritten by one."""


def save_model(model: LanguageModel, path: str | pathlib.Path) -> pathlib.Path:
    """Writes a model as a folder that is whole or as it was before.

    The folder holds `config.json`, `model.safetensors`, where the model has one `tokenizer.json` and, of a
    model that was trained on conversations, its chat template, and `manifest.json` with the hashes of these,
    which `load_model` compares. It is written beside `path` and takes its place at once. Other files in an
    older model folder stay.

    Raises:
        ModelFolderError: `path` exists and is no model folder.
        FolderLockedError: another process or thread is saving to `path`.
        OSError: the disk is full, say; nothing has changed.

    Example:

    ```python
    import tempfile
    import highnoon as hn

    model = hn.create_model("highnoon-nano", num_reasoning_blocks=1)
    with tempfile.TemporaryDirectory() as folder:
        hn.save_model(model, f"{folder}/model")
        again = hn.load_model(f"{folder}/model")
    assert again.config == model.config
    ```
    """
    path = pathlib.Path(path)
    recover_folder(path)
    _require_replaceable(path)
    with whole_folder(path, _FILES, kept_files=_TRAINING_FILES) as folder:
        write_model_files(model, folder)
    return path


def write_model_files(model: keras.Model, folder: str | pathlib.Path) -> None:
    """Writes a model's files into an existing folder, one after the other.

    A Keras model that is no `LanguageModel` keeps its weights alone: `load_model` does not know its class.
    """
    capture_model(model)(pathlib.Path(folder))


def capture_model(model: keras.Model) -> Callable[[pathlib.Path], None]:
    """Copies a model's weights to the host and returns what writes them, now or in another thread."""
    arrays = variable_arrays(model.weights)
    text = json.dumps(_describe(model), indent=2)
    tokenizer = getattr(model, "tokenizer", None)

    def write(folder: pathlib.Path) -> None:
        save_arrays(folder / WEIGHTS_FILE, arrays)
        (folder / CONFIG_FILE).write_text(text, encoding="utf-8")
        if tokenizer is not None:
            tokenizer.save(folder / TOKENIZER_FILE)

    return write


def load_model(path: str | pathlib.Path, dtype: Any = "auto", allow_oversize: bool = False) -> LanguageModel:
    """Reads a model folder, or a training checkpoint, whose other files it leaves alone.

    A folder of Hugging Face `transformers` is read too, see `docs/guides/weights.md`.

    Args:
        path: The folder.
        dtype: As in `create_model`; a quantized model keeps its own.
        allow_oversize: Load even what this machine's memory cannot hold.

    Raises:
        ModelFolderError: `path` is no model folder, or is damaged.
        LimitExceededError: the weights would not fit into memory.
    """
    from highnoon.models.hugging_face import is_hugging_face_folder, load_hugging_face

    path = pathlib.Path(require_path("path", path, ModelFolderError))
    recover_folder(path)
    if has_manifest(path, EXPORT_MANIFEST):
        _require_whole(path, EXPORT_MANIFEST, _entries(path, EXPORT_MANIFEST))
    if is_hugging_face_folder(path):
        return load_hugging_face(path, dtype, allow_oversize)
    entries = _entries(path, MANIFEST) if has_manifest(path) else {}
    needed = [name for name in entries if name not in _TRAINING_FILES]
    # The weights follow once it is known that they fit into memory.
    _require_whole(path, MANIFEST, entries, [name for name in needed if name != WEIGHTS_FILE])
    values = _read_description(path)
    config = ModelConfig(**values["model"])
    require_memory(config, allow_oversize)
    _require_whole(path, MANIFEST, entries, [WEIGHTS_FILE])
    model = _make_model(path, config, values, dtype)
    try:
        arrays = load_arrays(path / WEIGHTS_FILE)
        assign_arrays(model.weights, arrays, owner=f"the model of {path / CONFIG_FILE}")
    except (FileNotFoundError, ValueError) as error:
        raise ModelFolderError(f"{path} is no whole model: {error}") from error
    if (path / TOKENIZER_FILE).is_file():
        model.tokenizer = load_tokenizer(path / TOKENIZER_FILE)
    return model


def _make_model(path: pathlib.Path, config: ModelConfig, values: dict[str, Any], dtype: Any) -> LanguageModel:
    """Makes the model of a description, its weights not yet those that were saved."""
    training = values.get("training")
    try:
        model = LanguageModel(
            **config.to_dict(),
            dtype=dtype_of_changes(values) or resolve_dtype(dtype),
            training_config=TrainingConfig.of_model(training) if training else None,
        )
        apply_layer_changes(model.backbone, values)
    except (ValueError, TypeError, KeyError) as error:
        raise ModelFolderError(
            f"{path / CONFIG_FILE} describes no model ({error}); take another copy of the folder"
        ) from error
    return model


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
            f"{path} is no whole model: it is damaged: {reason} since it was saved; take another copy, or "
            f"where the change is yours remove {manifest}"
        )


def is_model_folder(path: str | pathlib.Path) -> bool:
    """Whether `path` is a folder that `save_model` wrote, or a checkpoint."""
    recover_folder(path)
    try:
        _read_description(pathlib.Path(path))
    except ModelFolderError:
        return False
    return True


def _describe(model: keras.Model) -> dict[str, Any]:
    description: dict[str, Any] = {
        "format": _FORMAT,
        "format_version": _FORMAT_VERSION,
        "highnoon_version": __version__,
    }
    if not isinstance(model, LanguageModel):
        return {**description, "class": f"{type(model).__module__}.{type(model).__qualname__}"}
    description["model"] = model.config.to_dict()
    description["training"] = model.training_config.to_dict() if model.training_config else None
    description.update(describe_layer_changes(model.backbone))
    if model.backbone.lora is not None:
        description["lora"] = model.backbone.lora
    return description


def _read_description(path: pathlib.Path) -> dict[str, Any]:
    file = path / CONFIG_FILE
    if not file.is_file():
        what = "has no config.json" if path.is_dir() else "is no folder"
        what = what if path.exists() else "does not exist"
        raise ModelFolderError(f"no model at {path}: it {what}; give a folder written by save_model")
    try:
        values: dict[str, Any] = read_json(file)
    except ForeignDataError as error:
        raise ModelFolderError(f"{file} is damaged: {error}") from None
    if values.get("format") != _FORMAT:
        raise ModelFolderError(f"{file} was not written by save_model; give a folder that was")
    version = values.get("format_version")
    if type(version) is not int or not _has_form(values):
        raise ModelFolderError(f"{file} is damaged: its fields are not those that save_model writes")
    if version > _FORMAT_VERSION:
        raise ModelFolderError(
            f"{file} has format version {version} and this HighNoon {__version__} reads up "
            f"to {_FORMAT_VERSION}; install highnoon {values.get('highnoon_version')} or newer"
        )
    if "model" not in values:
        raise ModelFolderError(
            f"{path} holds the weights of a {values.get('class')}; create that model yourself and give it "
            f"load_arrays({str(path / WEIGHTS_FILE)!r}) by assign_arrays"
        )
    try:
        ModelConfig(**values["model"])
    except (ConfigError, TypeError) as error:
        raise ModelFolderError(f"{file} is of another HighNoon: {error}") from error
    return values


def _has_form(values: dict[str, Any]) -> bool:
    """Whether the parts of a description are of the types that `_describe` gives them."""
    parts = [values.get(name) for name in ("training", "quantized_dtype", "lora")]
    model = values.get("model", {})
    return isinstance(model, dict) and all(part is None or isinstance(part, dict) for part in parts)


def _require_replaceable(path: pathlib.Path) -> None:
    if path.is_dir() and not any(path.iterdir()):
        return
    if path.exists() and not is_model_folder(path):
        raise ModelFolderError(f"{path} exists and is no model folder; give another path or remove it")
