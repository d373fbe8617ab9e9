"""Reads the tensors of a published folder, from one file or from shards."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Iterator
from typing import Any

import ml_dtypes  # noqa: F401  (registers bfloat16 with NumPy)
import numpy as np
from safetensors import SafetensorError, safe_open

from highnoon.files.foreign import ForeignDataError, read_json, require_type
from highnoon.files.shown import shown
from highnoon.models.hugging_face.tensor_rules import Span
from highnoon.models.saving import WEIGHTS_FILE, ModelFolderError

INDEX_FILE = f"{WEIGHTS_FILE}.index.json"
HEAD = "lm_head."
_FLOATS = ("F32", "F16", "BF16", "F64")


class TensorFiles:
    """Reads `model.safetensors`, or the shards that `model.safetensors.index.json` lists, a tensor at a time.

    Args:
        folder: The folder that holds them.
        prefix: What the names of the tensors inside the base model start with. A file of the base model
            alone has no tensor with it; it is added to the names of such a file.

    Raises:
        ModelFolderError: a file is missing or damaged, or there is none of safetensors.
    """

    def __init__(self, folder: pathlib.Path, prefix: str = "") -> None:
        self._files = {name: _open(folder / name) for name in _file_names(folder)}
        self._file_of: dict[str, tuple[Any, str]] = {}
        for name, file in self._files.items():
            for tensor in file.keys():  # noqa: SIM118
                if tensor in self._file_of:
                    raise ModelFolderError(
                        f"{folder / name} holds the tensor {shown(tensor)}, which another file of the folder "
                        "holds too; download the folder again"
                    )
                self._file_of[tensor] = (file, tensor)
        if not any(tensor.startswith(prefix) for tensor in self._file_of):
            self._file_of = {
                tensor if tensor.startswith(HEAD) else prefix + tensor: found
                for tensor, found in self._file_of.items()
            }

    def __iter__(self) -> Iterator[str]:
        return iter(self._file_of)

    def __contains__(self, name: str) -> bool:
        return name in self._file_of

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._slice(name).get_shape())

    def _slice(self, name: str) -> Any:
        file, stored = self._file_of[name]
        return file.get_slice(stored)

    def num_values(self) -> int:
        """Returns the number of values of all tensors, read from the files' headers alone."""
        return sum(math.prod(self.shape(name)) for name in self)

    def __len__(self) -> int:
        return len(self._file_of)

    def read(self, name: str, span: Span | None = None) -> np.ndarray:
        """Returns a tensor, or a part of it, in float32.

        Raises:
            ModelFolderError: it is quantized, or holds no floats.
        """
        found = self._slice(name)
        kind = found.get_dtype()
        if kind not in _FLOATS:
            raise ModelFolderError(
                f"the tensor {shown(name)} is of type {kind}; only {', '.join(_FLOATS)} can be loaded: take "
                "the weights that are not quantized"
            )
        if span is None:
            file, stored = self._file_of[name]
            return file.get_tensor(stored).astype("float32")
        part = slice(span.start, span.stop)
        return (found[part] if span.axis == 0 else found[:, part]).astype("float32")


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
    raise ModelFolderError(f"{folder} has neither {WEIGHTS_FILE} nor {INDEX_FILE}; download the folder again")


def _index(folder: pathlib.Path) -> dict[str, str]:
    file = folder / INDEX_FILE
    try:
        listed = require_type(read_json(file).get("weight_map"), dict, f"{file}: `weight_map`")
        for tensor, name in listed.items():
            require_type(name, str, f"{file}: the file of {shown(tensor)}")
    except ForeignDataError as error:
        raise ModelFolderError(f"{error}; the file is damaged: download the folder again") from None
    for name in listed.values():
        if pathlib.PurePath(name).name != name or name in ("", ".", "..") or "\0" in name or "\\" in name:
            raise ModelFolderError(f"{file} names {shown(name)}, a file outside its folder")
    if not listed:
        raise ModelFolderError(f"{file} lists no tensors; download the folder again")
    return listed


def _open(file: pathlib.Path) -> Any:
    if not file.is_file():
        raise ModelFolderError(f"{file} is missing; download the folder again")
    try:
        return safe_open(file, framework="numpy")
    except (SafetensorError, OSError, ValueError) as error:  # OSError: an empty file cannot be mapped
        raise ModelFolderError(f"{file} is damaged or no safetensors file: {shown(str(error))}") from error
