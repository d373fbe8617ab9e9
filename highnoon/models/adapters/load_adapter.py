"""Loads LoRA factors onto their base."""

from __future__ import annotations

import pathlib

from highnoon.config import require_path
from highnoon.files.whole_folder import recover_folder
from highnoon.models.adapters.adapter_file import (
    ADAPTER_FILE,
    PEFT_FILE,
    Adapter,
    AdapterError,
    find_adapter,
    is_adapter_folder,
    read_adapter,
)
from highnoon.models.adapters.base_identity import base_hash, config_hash
from highnoon.models.adapters.peft_form import read_peft
from highnoon.models.causal_lm import LanguageModel
from highnoon.models.lora_factors import add_factors, factor_names, layers_by_path, layers_with_factors
from highnoon.tokenization.chat.chat_template_file import (
    CHAT_TEMPLATE_FILE,
    read_chat_template,
    read_published_template,
)


def load_adapter(model: LanguageModel, path: str | pathlib.Path, *, allow_other_base: bool = False) -> None:
    """Adds the LoRA factors of a folder to a model, in place.

    The model is frozen except for the factors, so training continues them; `model.merge_lora()` adds them
    into the kernels. All of the base's weights are hashed once, to compare them with those that the adapter
    was trained on. An adapter of PEFT has no such hash.

    Args:
        model: The base: a `LanguageModel` without factors.
        path: A folder of `save_adapter`, the folder of a run that trained factors, or a folder of PEFT:
            `adapter_config.json` with `adapter_model.safetensors`.
        allow_other_base: Whether to load factors that were trained on other weights, such as those of the
            same model before `quantize`.

    Raises:
        AdapterError: no adapter, a damaged one, one of another base, or one with a feature of PEFT that
            HighNoon does not have; the model is unchanged.
    """
    path = find_adapter(require_path("path", path, AdapterError))
    recover_folder(path)
    if not isinstance(model, LanguageModel):
        raise AdapterError(f"`model` must be a LanguageModel; received a {type(model).__name__}")
    if layers_with_factors(model.backbone):
        raise AdapterError(
            "the model has LoRA factors already; call `model.merge_lora()`, or load the base again, and then "
            "load the adapter"
        )
    if not is_adapter_folder(path):
        what = (
            "holds a model" if (path / "config.json").is_file() else f"has no {ADAPTER_FILE} or {PEFT_FILE}"
        )
        what = what if path.is_dir() else "is no folder"
        raise AdapterError(
            f"no adapter at {path}: it {what}; give a folder written by save_adapter or by PEFT, "
            "or the run that trained it"
        )
    is_ours = (path / ADAPTER_FILE).is_file()
    adapter = read_adapter(path) if is_ours else read_peft(path, model)
    if not allow_other_base:
        _require_base(model, adapter, path)
    _require_shapes(model, adapter, path)
    template = read_chat_template(path / CHAT_TEMPLATE_FILE) or read_published_template(path)
    add_factors(model.backbone, adapter.scales)
    layers = layers_by_path(model.backbone)
    for name, pair in adapter.factors.items():
        for attribute, array in zip(factor_names(layers[name]), pair, strict=True):
            getattr(layers[name], attribute).assign(array)
    if template is not None and model.tokenizer is not None:
        model.tokenizer = model.tokenizer.with_chat_template(template)


def _require_base(model: LanguageModel, adapter: Adapter, path: pathlib.Path) -> None:
    remedy = "load the base that it was trained on" + (
        f", {adapter.base['path']}" if adapter.base.get("path") else ""
    )
    if (wanted := adapter.base.get("config")) is not None and wanted != config_hash(model.config):
        raise AdapterError(
            f"{path} is an adapter of a model of another configuration (hash {wanted}, and not "
            f"{config_hash(model.config)}); {remedy}"
        )
    if (wanted := adapter.base.get("weights")) is not None and wanted != (given := base_hash(model)):
        raise AdapterError(
            f"{path} is an adapter of other weights (hash {wanted}, and not {given}); {remedy}, or pass "
            "allow_other_base=True"
        )


def _require_shapes(model: LanguageModel, adapter: Adapter, path: pathlib.Path) -> None:
    layers = layers_by_path(model.backbone)
    for name, (first, second) in adapter.factors.items():
        layer = layers.get(name)
        if not hasattr(layer, "enable_lora"):
            raise AdapterError(
                f"{path} has factors of `{name}`, which this model does not have; load its base"
            )
        inputs, outputs = _sizes(layer)
        rank = adapter.scales[name].rank
        if first.shape != (inputs, rank) or second.shape != (rank, outputs):
            raise AdapterError(
                f"{path} has factors of shapes {first.shape} and {second.shape} for `{name}`, and they "
                "should "
                f"be {(inputs, rank)} and {(rank, outputs)}; load the base of the adapter"
            )


def _sizes(layer: object) -> tuple[int, int]:
    """Inputs and outputs of a dense layer or an embedding, quantized or not."""
    shape = getattr(layer, "kernel", None) if hasattr(layer, "units") else layer.embeddings  # type: ignore[attr-defined]
    return tuple(shape.shape)  # type: ignore[union-attr, return-value]
