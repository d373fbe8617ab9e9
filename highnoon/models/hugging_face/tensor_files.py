"""The tensors of a published folder, whichever files they stand in."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator
from typing import Any

import ml_dtypes  # noqa: F401  (registers bfloat16 with NumPy)
import numpy as np
from safetensors import SafetensorError, safe_open

from highnoon.models.saving import WEIGHTS_FILE, ModelFolderError

INDEX_FILE = f"{WEIGHTS_FILE}.index.json"
_FLOATS = ("F32", "F16", "BF16", "F64")


class TensorFiles:
    """Reads `model.safetensors`, or the shards that `model.safetensors.index.json` lists, a tensor at a time.

    Args:
        folder: Where they are.

    Raises:
        ModelFolderError: a file is missing or damaged, or there is none of safetensors.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self._files = {name: _open(folder / name) for name in _file_names(folder)}
        self._places = {tensor: file for file in self._files.values() for tensor in file.keys()}  # noqa: SIM118

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._places[name].get_slice(name).get_shape())

    def read(self, name: str) -> np.ndarray:
        """Returns a tensor in float32.

        Raises:
            ModelFolderError: it is quantized, or holds no floats.
        """
        kind = self._places[name].get_slice(name).get_dtype()
        if kind not in _FLOATS:
            raise ModelFolderError(
                f"the tensor {name} is of type {kind}; only {', '.join(_FLOATS)} can be loaded: take the "
                "weights that are not quantized"
            )
        return self._places[name].get_tensor(name).astype("float32")


def _file_names(folder: pathlib.Path) -> list[str]:
    if (folder / INDEX_FILE).is_file():
        return sorted(set(_index(folder).values()))
    if (folder / WEIGHTS_FILE).is_file():
        return [WEIGHTS_FILE]
    if any(folder.glob("*.bin")):
        raise ModelFolderError(
            f"{folder} holds its weights as .bin files, which can run code when they are read; save them "
            "with save_pretrained(folder, safe_serialization=True) and load that folder"
        )
    raise ModelFolderError(f"{folder} has neither {WEIGHTS_FILE} nor {INDEX_FILE}; fetch the folder whole")


def _index(folder: pathlib.Path) -> dict[str, str]:
    file = folder / INDEX_FILE
    try:
        listed = json.loads(file.read_text(encoding="utf-8"))["weight_map"]
        is_whole = all(pathlib.Path(name).name == name for name in listed.values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelFolderError(f"{file} is damaged: {error!r}") from error
    if not is_whole:
        raise ModelFolderError(f"{file} names files outside its folder")
    return listed


def _open(file: pathlib.Path) -> Any:
    if not file.is_file():
        raise ModelFolderError(f"{file} is missing; fetch the folder whole")
    try:
        return safe_open(file, framework="numpy")
    except SafetensorError as error:
        raise ModelFolderError(f"{file} is damaged or no safetensors file: {error}") from error
