"""Loads the base that an adapter names, and the adapter onto it."""

from __future__ import annotations

import pathlib
from typing import Any

from highnoon.files.foreign import ForeignDataError, read_json
from highnoon.models.adapters.adapter_file import ADAPTER_FILE, PEFT_FILE, AdapterError, is_adapter_folder
from highnoon.models.adapters.load_adapter import load_adapter
from highnoon.models.hugging_face.load import is_hugging_face_folder
from highnoon.models.saving import read_description


def load_adapted_model(path: str | pathlib.Path, dtype: Any = "auto", allow_oversize: bool = False) -> Any:
    """Returns the base of an adapter with the adapter loaded; `highnoon.load_model` calls it.

    Args:
        path: Folder of the adapter.
        dtype: As in `create_model`.
        allow_oversize: Load even a model that does not fit into this machine's memory.

    Raises:
        AdapterError: the adapter names no base, or none that is there.
    """
    from highnoon.models.loading import load_model

    path = pathlib.Path(path)
    base = base_path_of(path)
    if base is None or not pathlib.Path(base).is_dir():
        where = (
            "does not say where its base is" if base is None else f"names the base {base}, which is not here"
        )
        raise AdapterError(
            f"{path} holds an adapter alone and {where}; load the base by load_model and the adapter onto "
            "it by "
            f"load_adapter, or on the command line give --model BASE --adapter {path}"
        )
    model = load_model(base, dtype=dtype, allow_oversize=allow_oversize)
    load_adapter(model, path)
    return model


def base_of(path: str | pathlib.Path) -> str | None:
    """Returns the folder of the weights without factors, of which the model at a path consists.

    That is the path itself, or the base that an adapter there names; for a model that was saved together
    with its factors the one that the adapter of its run names, or None.
    """
    from highnoon.models.find_model import find_model

    found = find_model(path)
    if is_adapter_folder(found):
        return base_path_of(found)
    if is_hugging_face_folder(found) or "lora_layers" not in read_description(found):
        return str(found)
    adapter = found.parent / "adapter"
    return base_path_of(adapter) if is_adapter_folder(adapter) else None


def base_path_of(path: pathlib.Path) -> str | None:
    """Returns the folder of the base that an adapter names; None where it names none.

    Raises:
        AdapterError: the adapter's file cannot be read.
    """
    try:
        if (path / ADAPTER_FILE).is_file():
            base = read_json(path / ADAPTER_FILE, max_bytes=2**24).get("base")
            found = base.get("path") if isinstance(base, dict) else None
        else:
            found = read_json(path / PEFT_FILE, max_bytes=2**24).get("base_model_name_or_path")
    except ForeignDataError as error:
        raise AdapterError(f"{path} is no complete adapter: {error}; take another copy") from None
    return found if isinstance(found, str) and found else None
