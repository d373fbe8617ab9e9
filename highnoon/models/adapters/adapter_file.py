"""The files of an adapter in HighNoon's form."""

from __future__ import annotations

import pathlib
from typing import Any, NamedTuple

import numpy as np

from highnoon import __version__
from highnoon.files.folder_manifest import (
    MANIFEST,
    DamagedFolderError,
    file_damage,
    has_manifest,
    read_manifest,
)
from highnoon.files.foreign import ForeignDataError, read_json, require_type
from highnoon.files.shown import shown
from highnoon.models.arrays import load_arrays
from highnoon.models.lora_factors import Scale
from highnoon.models.saving import ModelFolderError

ADAPTER_FILE, FACTORS_FILE = "adapter.json", "adapter.safetensors"
PEFT_FILE, PEFT_FACTORS_FILE = "adapter_config.json", "adapter_model.safetensors"
FORMAT, FORMAT_VERSION = "highnoon-adapter", 1
_MAX_BYTES = 2**24


class AdapterError(ModelFolderError):
    """An adapter that cannot be saved, or that does not fit a model."""


class Adapter(NamedTuple):
    """The content of an adapter.

    Args:
        base: What is known of the base: `config` and `weights`, its hashes, and `path`, its folder.
        scales: Rank and alpha by the path of a layer.
        factors: The pair (inputs, rank) and (rank, outputs) by the path of a layer.
    """

    base: dict[str, Any]
    scales: dict[str, Scale]
    factors: dict[str, tuple[np.ndarray, np.ndarray]]


def is_adapter_folder(path: str | pathlib.Path) -> bool:
    """Whether a folder holds an adapter, in HighNoon's form or in PEFT's, and no model."""
    path = pathlib.Path(path)
    return (
        any((path / name).is_file() for name in (ADAPTER_FILE, PEFT_FILE))
        and not (path / "config.json").is_file()
    )


def find_adapter(path: str | pathlib.Path) -> pathlib.Path:
    """Returns the folder of the adapter that a path means: itself, or `adapter` in the folder of a run."""
    path = pathlib.Path(path)
    return path / "adapter" if not is_adapter_folder(path) and is_adapter_folder(path / "adapter") else path


def read_adapter(path: pathlib.Path) -> Adapter:
    """Reads an adapter that `save_adapter` wrote in HighNoon's form.

    Raises:
        AdapterError: it is damaged, or a newer HighNoon wrote it.
    """
    _require_undamaged(path)
    file = path / ADAPTER_FILE
    try:
        values = read_json(file, max_bytes=_MAX_BYTES)
        if values.get("format") != FORMAT or type(values.get("format_version")) is not int:
            raise AdapterError(f"{file} was not written by save_adapter; give a folder that was")
        if values["format_version"] > FORMAT_VERSION:
            raise AdapterError(
                f"{file} has format version {values['format_version']} and this HighNoon {__version__} "
                "reads up "
                f"to {FORMAT_VERSION}; install highnoon {values.get('highnoon_version')} or newer"
            )
        base = require_type(values.get("base"), dict, f"{file}: `base`")
        layers = require_type(values.get("layers"), dict, f"{file}: `layers`")
        scales = {name: _scale(entry, f"{file}: `{name}`") for name, entry in layers.items()}
        arrays = load_arrays(path / FACTORS_FILE)
    except (ForeignDataError, FileNotFoundError, ValueError) as error:
        if isinstance(error, AdapterError):
            raise
        raise AdapterError(f"{path} is no complete adapter: {error}; take another copy") from None
    wanted = [f"{name}/{part}" for name in scales for part in ("a", "b")]
    if sorted(wanted) != sorted(arrays):
        raise AdapterError(
            f"{path} is no complete adapter: {FACTORS_FILE} does not hold the factors of the layers that "
            f"{ADAPTER_FILE} lists; take another copy"
        )
    return Adapter(base, scales, {name: (arrays[f"{name}/a"], arrays[f"{name}/b"]) for name in scales})


def _scale(entry: Any, owner: str) -> Scale:
    entry = require_type(entry, dict, owner)
    rank, alpha = entry.get("rank"), entry.get("alpha")
    if type(rank) is not int or rank < 1 or not isinstance(alpha, int | float) or isinstance(alpha, bool):
        raise ForeignDataError(
            f"{owner} must have a `rank` of at least 1 and an `alpha`; received {shown(entry)}"
        )
    return Scale(rank, alpha)


def _require_undamaged(path: pathlib.Path) -> None:
    if not has_manifest(path):
        return
    try:
        reason = file_damage(path, read_manifest(path))
    except DamagedFolderError as error:
        reason = str(error)
    if reason:
        raise AdapterError(
            f"{path} is no complete adapter: {reason} since it was saved; take another copy, or where the "
            f"change is yours remove {MANIFEST}"
        )
