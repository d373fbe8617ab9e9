"""Saves models as folders: configuration, weights and tokenizer. `highnoon.models.loading` reads them."""

from __future__ import annotations

import json
import pathlib
import tempfile
from collections.abc import Callable
from typing import Any

import keras

from highnoon import __version__
from highnoon.config import ConfigError
from highnoon.config.known_arguments import known_arguments
from highnoon.files.expand_home import expand_home
from highnoon.files.foreign import ForeignDataError, read_json
from highnoon.files.whole_folder import recover_folder, whole_folder
from highnoon.models.arrays import save_arrays, variable_arrays
from highnoon.models.families import Family, family_named, family_of
from highnoon.tokenization.chat.chat_template_file import CHAT_TEMPLATE_FILE

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
TOKENIZER_FILE = "tokenizer.json"
KERAS_SUFFIX = ".keras"
_FILE_SUFFIXES = (".h5", ".hdf5", ".safetensors", ".pt", ".bin", ".ckpt")
_FILES = (CONFIG_FILE, WEIGHTS_FILE, TOKENIZER_FILE, CHAT_TEMPLATE_FILE)
_FORMAT = "highnoon-model"
_FORMAT_VERSION = 1

TRAINING_FILES = ("optimizer.safetensors", "state.json")
"""Files of a checkpoint that a model does not need."""


class ModelFolderError(ValueError):
    """A folder that is no saved model, or that a model must not overwrite."""


@known_arguments
def save_model(model: keras.Model, path: str | pathlib.Path) -> pathlib.Path:
    """Writes a model as a folder that is complete, or as it was before.

    The folder holds `config.json`, `model.safetensors`, the tokenizer where the model has one, its chat
    template where it was trained on conversations, and `manifest.json` with the hashes of these, which
    `load_model` compares. It is written under another name and renamed. Other files in an older model folder
    stay.

    A path that ends in `.keras` is written as Keras's `model.save` does, as one file.

    Args:
        model: A `LanguageModel`, or a model of a registered family, see `register_family`.
        path: The folder, or a `.keras` file.

    Returns:
        The path.

    Raises:
        ModelFolderError: `path` exists and is no model folder, or the model's class is not registered; or it
            is the name of another kind of file, such as `model.h5`.
        FolderLockedError: another process or thread is saving to `path`.
        OSError: the files cannot be written (a full disk); nothing has changed.

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
    path = expand_home(path)
    # A model folder of this name, which earlier versions wrote, remains one.
    is_file_name = path.suffix in (KERAS_SUFFIX, *_FILE_SUFFIXES) and not is_model_folder(path)
    if is_file_name and path.suffix == KERAS_SUFFIX:
        return _save_keras_file(model, path)
    if is_file_name:
        raise ModelFolderError(
            f"save_model writes a folder or a {KERAS_SUFFIX} file; received {path}: give a name without "
            f"{path.suffix}, or one that ends in {KERAS_SUFFIX}"
        )
    if family_of(model) is None:
        raise ModelFolderError(
            f"a {type(model).__name__} cannot be loaded again by name; register its class by register_family"
        )
    recover_folder(path)
    _require_replaceable(path)
    with whole_folder(path, _FILES, kept_files=TRAINING_FILES) as folder:
        write_model_files(model, folder)
    return path


def _save_keras_file(model: keras.Model, path: pathlib.Path) -> pathlib.Path:
    """Writes a model as one file, complete or as it was before."""
    if path.is_dir():
        raise ModelFolderError(f"{path} is a folder and no file of Keras; give another path or remove it")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        written = pathlib.Path(folder, path.name)
        model.save(written)
        written.replace(path)
    return path


def write_model_files(model: keras.Model, folder: str | pathlib.Path) -> None:
    """Writes a model's files into an existing folder, one after the other.

    Of a model whose class is not registered only the weights can be read again.
    """
    capture_model(model)(pathlib.Path(folder))


def saved_weights(model: keras.Model) -> list[keras.Variable]:
    """Returns the weights of a model that its file holds: all, unless its `saved_weights` names others."""
    return list(getattr(model, "saved_weights", model.weights))


def capture_model(model: keras.Model) -> Callable[[pathlib.Path], None]:
    """Copies a model's weights to the host and returns a function that writes them, in any thread."""
    arrays = variable_arrays(saved_weights(model))
    text = json.dumps(_describe(model), indent=2)
    tokenizer = getattr(model, "tokenizer", None)

    def write(folder: pathlib.Path) -> None:
        save_arrays(folder / WEIGHTS_FILE, arrays)
        (folder / CONFIG_FILE).write_text(text, encoding="utf-8")
        if tokenizer is not None:
            tokenizer.save(folder / TOKENIZER_FILE)

    return write


def is_model_folder(path: str | pathlib.Path) -> bool:
    """Whether `path` is a folder that `save_model` wrote, or a checkpoint."""
    recover_folder(path)
    try:
        described_family(path, read_description(path))
    except ModelFolderError:
        return False
    return True


def read_description(path: str | pathlib.Path) -> dict[str, Any]:
    """Returns the description of a saved model or checkpoint: the values of its `config.json`.

    Raises:
        ModelFolderError: there is none, it is damaged, or a newer HighNoon wrote it.
    """
    file = pathlib.Path(path) / CONFIG_FILE
    if not file.is_file():
        what = "has no config.json" if file.parent.is_dir() else "is no folder"
        what = what if file.parent.exists() else "does not exist"
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
    return values


def described_family(path: str | pathlib.Path, values: dict[str, Any]) -> Family:
    """Returns the family of a described model.

    Models saved before families had names are language models where they have the fields of one.

    Raises:
        ModelFolderError: the family is not known in this process, the model's class was never registered,
            or the description is not one of the family.
    """
    name = values.get("family", "language_model" if "model" in values else None)
    if name is None:
        weights = str(pathlib.Path(path) / WEIGHTS_FILE)
        raise ModelFolderError(
            f"{path} holds the weights of a {values.get('class')}, a class that was not registered; register "
            f"it by register_family before you save, or create the model yourself and give it "
            f"load_arrays({weights!r}) by assign_arrays"
        )
    try:
        family = family_named(name)
    except ConfigError as error:
        raise ModelFolderError(f"{path} holds a model that is not known here: {error}") from error
    try:
        family.check(values)
    except (ConfigError, TypeError) as error:
        raise ModelFolderError(
            f"{pathlib.Path(path) / CONFIG_FILE} is of another HighNoon: {error}"
        ) from error
    return family


def _describe(model: keras.Model) -> dict[str, Any]:
    return {
        "format": _FORMAT,
        "format_version": _FORMAT_VERSION,
        "highnoon_version": __version__,
        **describe_model(model),
    }


def describe_model(model: keras.Model) -> dict[str, Any]:
    """Returns the family of a model and what its family describes of it, as JSON values.

    A model whose class is not registered has the name of its `class` alone.
    """
    description: dict[str, Any] = {}
    if outputs := getattr(model, "outputs_description", None):
        description["outputs"] = dict(outputs)
    family = family_of(model)
    if family is None:
        return {**description, "class": f"{type(model).__module__}.{type(model).__qualname__}"}
    return {**description, "family": family.name, **family.describe(model)}


def _has_form(values: dict[str, Any]) -> bool:
    """Whether the parts of a description are of the types that `_describe` gives them."""
    parts = [values.get(name) for name in ("training", "quantized_dtype", "lora", "build", "outputs")]
    name = values.get("family", "")
    return (
        isinstance(values.get("model", {}), dict)
        and isinstance(name, str)
        and all(part is None or isinstance(part, dict) for part in parts)
    )


def _require_replaceable(path: pathlib.Path) -> None:
    if path.is_dir() and not any(path.iterdir()):
        return
    if path.exists() and not is_model_folder(path):
        raise ModelFolderError(f"{path} exists and is no model folder; give another path or remove it")
