"""Saves the LoRA factors of a model without its weights."""

from __future__ import annotations

import json
import os
import pathlib
from typing import Any

import numpy as np
from keras import ops

from highnoon import __version__
from highnoon.config import require_choice, require_path
from highnoon.files.folder_manifest import EXPORT_MANIFEST, MANIFEST
from highnoon.files.whole_folder import recover_folder, whole_folder
from highnoon.models.adapters.adapter_file import (
    ADAPTER_FILE,
    FACTORS_FILE,
    FORMAT,
    FORMAT_VERSION,
    PEFT_FACTORS_FILE,
    PEFT_FILE,
    Adapter,
    AdapterError,
    is_adapter_folder,
)
from highnoon.models.adapters.base_identity import base_identity
from highnoon.models.adapters.peft_form import write_peft
from highnoon.models.arrays import save_arrays
from highnoon.models.causal_lm import LanguageModel
from highnoon.models.lora_factors import Scale, factor_names, layers_with_factors
from highnoon.tokenization.chat.chat_template_file import CHAT_TEMPLATE_FILE, write_chat_template

FORMATS = ("highnoon", "peft")
_FILES = (ADAPTER_FILE, FACTORS_FILE, PEFT_FILE, PEFT_FACTORS_FILE, CHAT_TEMPLATE_FILE)


def save_adapter(
    model: LanguageModel,
    path: str | pathlib.Path,
    format: str = "highnoon",
    *,
    base_path: str | os.PathLike[str] | None = None,
) -> pathlib.Path:
    """Writes the LoRA factors of a model, a few megabytes, as a folder that is complete or as it was before.

    The adapter names its base by a hash of the configuration and of the weights without factors, and
    `load_adapter` refuses another. Where the model's tokenizer has a chat template, that is saved too.

    Args:
        model: A `LanguageModel` after `model.backbone.enable_lora`.
        path: The folder: absent, empty, or of an earlier adapter, which is replaced.
        format: `"highnoon"`, or `"peft"` for `peft.PeftModel.from_pretrained` on the exported base: the
            pattern must then be one that `export_model` writes.
        base_path: Folder of the base, for readers that are given the adapter alone.

    Returns:
        The folder's path.

    Raises:
        AdapterError: the model has no factors, `path` holds something else, or PEFT has no name for a layer
            with factors.
        OSError: the files cannot be written (a full disk); nothing has changed.

    Example:

    ```python
    import tempfile
    import highnoon as hn
    from highnoon.models.adapters import load_adapter, save_adapter

    model = hn.create_model("highnoon-nano", block_pattern="transformer")
    with tempfile.TemporaryDirectory() as folder:
        hn.save_model(model, f"{folder}/base")
        model.backbone.enable_lora(rank=4)
        save_adapter(model, f"{folder}/adapter")
        again = hn.load_model(f"{folder}/base")
        load_adapter(again, f"{folder}/adapter")
    assert again.backbone.lora["rank"] == 4
    ```

    Hu et al. 2021, LoRA (arXiv:2106.09685).
    """
    require_choice("format", format, FORMATS)
    path = pathlib.Path(require_path("path", path, AdapterError))
    adapter = adapter_of(model, base_path)
    recover_folder(path)
    if path.exists() and not is_adapter_folder(path) and not (path.is_dir() and not any(path.iterdir())):
        raise AdapterError(f"{path} exists and is no adapter; give another path or remove it")
    manifest = EXPORT_MANIFEST if format == "peft" else MANIFEST
    write = _write if format == "highnoon" else write_peft
    with whole_folder(path, _FILES, manifest) as folder:
        write(model, adapter, folder)
        if (template := getattr(model.tokenizer, "chat_template", None)) is not None:
            write_chat_template(template, folder / CHAT_TEMPLATE_FILE)
    return path


def adapter_of(model: LanguageModel, base_path: str | os.PathLike[str] | None = None) -> Adapter:
    """Returns the factors of a model on the host, with the identity of their base.

    Raises:
        AdapterError: it has none, or is no `LanguageModel`.
    """
    if not isinstance(model, LanguageModel):
        raise AdapterError(f"`model` must be a LanguageModel; received a {type(model).__name__}")
    layers = layers_with_factors(model.backbone)
    if not layers:
        raise AdapterError("the model has no LoRA factors to save; call `model.backbone.enable_lora` first")
    base: dict[str, Any] = dict(base_identity(model))
    if base_path is not None:
        base["path"] = os.path.abspath(base_path)
    return Adapter(
        base,
        {path: Scale(int(layer.lora_rank), layer.lora_alpha) for path, layer in layers.items()},
        {path: _pair(layer) for path, layer in layers.items()},
    )


def _pair(layer: Any) -> tuple[np.ndarray, np.ndarray]:
    first, second = (np.asarray(ops.convert_to_numpy(getattr(layer, name))) for name in factor_names(layer))
    return first, second


def _write(model: LanguageModel, adapter: Adapter, folder: pathlib.Path) -> None:
    arrays = {}
    for path, (first, second) in adapter.factors.items():
        arrays[f"{path}/a"], arrays[f"{path}/b"] = first, second
    save_arrays(folder / FACTORS_FILE, arrays)
    values = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "highnoon_version": __version__,
        "base": adapter.base,
        "layers": {path: scale._asdict() for path, scale in adapter.scales.items()},
    }
    (folder / ADAPTER_FILE).write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
