"""Adapters in the form of PEFT: `adapter_config.json` and `adapter_model.safetensors`."""

from __future__ import annotations

import collections
import json
import math
import pathlib
import re
import warnings
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from highnoon.files.foreign import ForeignDataError, read_json
from highnoon.files.shown import shown
from highnoon.models.adapters.adapter_file import PEFT_FACTORS_FILE, PEFT_FILE, Adapter, AdapterError
from highnoon.models.adapters.peft_modules import PeftModules, peft_modules
from highnoon.models.adapters.peft_settings import PeftSettings
from highnoon.models.arrays import load_arrays, save_arrays
from highnoon.models.causal_lm import LanguageModel
from highnoon.models.lora_factors import Scale

_PREFIX = "base_model.model."
_BASE_HASH = "highnoon_base_weights"
_TENSOR = re.compile(r"(?:base_model\.model\.)?(?P<module>[^/]+)\.lora_(?P<part>[AB])\.weight")
_FLOATS = ("float32", "float16", "bfloat16", "float64")


def write_peft(model: LanguageModel, adapter: Adapter, folder: pathlib.Path) -> None:
    """Writes an adapter's files in PEFT's form into an existing folder.

    Raises:
        AdapterError: PEFT has no name for a layer with factors.
    """
    modules = peft_modules(model)
    for path in adapter.scales:
        if path not in modules.by_path:
            raise AdapterError(
                f"PEFT has no module for the factors of `{path}`: it is an embedding, a part of a fused or "
                "stacked "
                'weight, or packed in 4 bits; save the adapter in the form "highnoon", or export the model '
                "merged"
            )
    tensors = {}
    for path, (first, second) in adapter.factors.items():
        tensors[f"{_PREFIX}{modules.by_path[path]}.lora_A.weight"] = np.asarray(first.T, "float32")
        tensors[f"{_PREFIX}{modules.by_path[path]}.lora_B.weight"] = np.asarray(second.T, "float32")
    metadata = {"format": "pt", _BASE_HASH: adapter.base["weights"]}
    save_arrays(folder / PEFT_FACTORS_FILE, dict(sorted(tensors.items())), metadata)
    values = _config(adapter, modules)
    (folder / PEFT_FILE).write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def read_peft(path: pathlib.Path, model: LanguageModel) -> Adapter:
    """Reads an adapter that PEFT wrote, for a model of a family of `transformers`.

    Raises:
        AdapterError: a feature that HighNoon does not have, factors of a module that the model does not
            have, or damaged files.
    """
    try:
        settings = PeftSettings(read_json(path / PEFT_FILE, max_bytes=2**24), str(path / PEFT_FILE))
    except ForeignDataError as error:
        raise AdapterError(f"{error}; take another copy of the adapter") from None
    pairs = _read_pairs(path)
    by_module = {module: layer for layer, module in peft_modules(model).by_path.items()}
    unknown = [module for module in pairs if module not in by_module]
    if unknown:
        raise AdapterError(
            f"{path} has factors of {len(unknown)} modules that take none here, such as {shown(unknown[0])}: "
            "HighNoon has LoRA on projections with a tensor of their own, not on embeddings, the head, "
            "routers, "
            "experts and fused projections; merge the adapter by PEFT's `merge_and_unload` and load the "
            "result"
        )
    scales, factors = {}, {}
    for module, (first, second) in pairs.items():
        rank, alpha = settings.rank(module), settings.alpha(module)
        if first.shape[0] != rank:
            raise AdapterError(
                f"{path} has factors of rank {first.shape[0]} for {shown(module)}, and {PEFT_FILE} says "
                f"{rank}; "
                "take both files from one adapter"
            )
        if settings.uses_rslora:
            alpha = alpha * math.sqrt(rank)  # the scale is alpha / sqrt(rank)
        scales[by_module[module]] = Scale(rank, alpha)
        factors[by_module[module]] = (np.ascontiguousarray(first.T), np.ascontiguousarray(second.T))
    if settings.dropout:
        warnings.warn(
            f"{path} was trained with lora_dropout={settings.dropout}, which HighNoon does not have: "
            "predictions "
            "are the same, and further training goes without it",
            stacklevel=3,
        )
    return Adapter(_base(path), scales, factors)


def _config(adapter: Adapter, modules: PeftModules) -> dict[str, Any]:
    named = {modules.by_path[path]: scale for path, scale in adapter.scales.items()}
    common = collections.Counter(named.values()).most_common(1)[0][0]
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": adapter.base.get("path"),
        "inference_mode": True,
        "r": common.rank,
        "lora_alpha": common.alpha,
        "rank_pattern": {name: scale.rank for name, scale in named.items() if scale.rank != common.rank},
        "alpha_pattern": {name: scale.alpha for name, scale in named.items() if scale.alpha != common.alpha},
        "target_modules": _targets(named, modules.published),
        "fan_in_fan_out": modules.fan_in_fan_out,
        "lora_dropout": 0.0,
        "bias": "none",
        "use_rslora": False,
        "use_dora": False,
        "init_lora_weights": True,
        "modules_to_save": None,
    }


def _targets(named: dict[str, Scale], published: list[str]) -> list[str]:
    """The last parts of the modules' names where these choose exactly the modules, else the full names."""
    short = {name.rpartition(".")[2] for name in named}
    chosen = [name for name in published if name.split(".")[-2] in short and name.endswith(".weight")]
    is_exact = all(name.removesuffix(".weight") in named for name in chosen)
    return sorted(short if is_exact else named)


def _read_pairs(path: pathlib.Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Returns the factors A (rank, inputs) and B (outputs, rank) by module, in float32."""
    if not (path / PEFT_FACTORS_FILE).is_file():
        if any(path.glob("adapter_model.bin")):
            raise AdapterError(
                f"{path} holds its factors as adapter_model.bin, which can run code when it is read; save "
                "them "
                "with save_pretrained(folder, safe_serialization=True) and load that folder"
            )
        raise AdapterError(f"{path} has no {PEFT_FACTORS_FILE}; take another copy of the adapter")
    try:
        tensors = load_arrays(path / PEFT_FACTORS_FILE)
    except ValueError as error:
        raise AdapterError(f"{error}; take another copy of the adapter") from None
    found: dict[str, dict[str, np.ndarray]] = collections.defaultdict(dict)
    for name, tensor in tensors.items():
        match = _TENSOR.fullmatch(name)
        if match is None or tensor.ndim != 2 or str(tensor.dtype) not in _FLOATS:
            raise AdapterError(
                f"{path / PEFT_FACTORS_FILE} holds {shown(name)} of shape {tensor.shape} and type "
                f"{tensor.dtype}, "
                "which are no LoRA factors of a projection; merge the adapter by PEFT's `merge_and_unload` "
                "and "
                "load the result"
            )
        found[match["module"]][match["part"]] = tensor.astype("float32")
    for module, parts in found.items():
        if set(parts) != {"A", "B"}:
            raise AdapterError(
                f"{path / PEFT_FACTORS_FILE} holds one factor of {shown(module)} and not both; take "
                "another copy"
            )
    return {module: (parts["A"], parts["B"]) for module, parts in found.items()}


def _base(path: pathlib.Path) -> dict[str, Any]:
    """The hash of the base's weights, where HighNoon wrote the file."""
    try:
        with safe_open(path / PEFT_FACTORS_FILE, framework="numpy") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise AdapterError(f"{path / PEFT_FACTORS_FILE} is damaged: {error}; take another copy") from None
    return {"weights": metadata[_BASE_HASH]} if _BASE_HASH in metadata else {}
