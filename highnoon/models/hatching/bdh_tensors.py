"""Reads the tensors of a published BDH model: a mapping, or a file of safetensors, NumPy or PyTorch."""

from __future__ import annotations

import pathlib
import pickle
import zipfile
from collections.abc import Mapping
from typing import Any

import ml_dtypes  # noqa: F401  (registers bfloat16 with NumPy)
import numpy as np

from highnoon.files.expand_home import expand_home
from highnoon.files.shown import shown
from highnoon.models.arrays import load_arrays
from highnoon.models.memory import available_memory
from highnoon.models.saving import ModelFolderError

SUFFIXES = (".safetensors", ".npz", ".pt", ".pth")
_WRAPPERS = ("_orig_mod.", "module.")
"""What `torch.compile` and `DistributedDataParallel` put before each name."""


def bdh_tensors(source: Any) -> dict[str, np.ndarray]:
    """Returns the tensors by the names that they have in the published code, as NumPy arrays.

    Args:
        source: A mapping of names to arrays, such as a state dict; or the path of a file that holds one.

    Raises:
        ModelFolderError: no such file, one of another kind, a damaged one, or values that are no tensors.
        ImportError: a file of PyTorch without PyTorch.
    """
    tensors = source if isinstance(source, Mapping) else _read(expand_home(source))
    named = {}
    for name, tensor in tensors.items():
        if not isinstance(name, str):
            raise ModelFolderError(f"the names of tensors must be text; received {shown(name)}")
        for wrapper in _WRAPPERS:
            name = name.removeprefix(wrapper)
        if name in named:
            raise ModelFolderError(f"the tensor {shown(name)} is there twice; give those of one model")
        named[name] = _array(name, tensor)
    return named


def _array(name: str, tensor: Any) -> np.ndarray:
    if hasattr(tensor, "detach"):  # of PyTorch, which NumPy cannot read in bfloat16
        tensor = tensor.detach().cpu().float().numpy()
    if not hasattr(tensor, "shape"):
        raise ModelFolderError(
            f"{shown(name)} must be a tensor; received a {type(tensor).__name__}; give a `state_dict()`"
        )
    return np.asarray(tensor)


def _read(path: pathlib.Path) -> Mapping[str, Any]:
    if path.suffix not in SUFFIXES:
        raise ModelFolderError(
            f"the weights must be a mapping of arrays or a file that ends in {', '.join(SUFFIXES)}; received "
            f"{shown(str(path))}"
        )
    if not path.is_file():
        raise ModelFolderError(f"there is no file {shown(str(path))}")
    try:
        if path.suffix == ".safetensors":
            return load_arrays(path)
        return _read_numpy(path) if path.suffix == ".npz" else _read_torch(path)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, pickle.UnpicklingError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelFolderError(f"{path} cannot be read as a file of tensors: {reason}") from error


def _read_numpy(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Reads an archive whose arrays, unpacked, fit into memory; pickled objects are refused."""
    with zipfile.ZipFile(path) as archive:
        size, free = sum(member.file_size for member in archive.infolist()), available_memory()
    if size > free:
        raise ValueError(f"its arrays have {size / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB are available")
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays.items())


def _read_torch(path: pathlib.Path) -> Mapping[str, Any]:
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            f"{path} is a file of PyTorch; install torch to read it, or save the state dict with "
            "safetensors.torch.save_file and give that file"
        ) from error
    loaded = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(loaded, Mapping):
        raise ValueError(f"it holds a {type(loaded).__name__}; save the model's `state_dict()`")
    return loaded
