"""Describes the quantization and LoRA factors of layers in JSON, and applies a description to a new model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from highnoon.files.foreign import require_type
from highnoon.files.shown import shown
from highnoon.models.lora_factors import Scale, add_factors

_MODES = ("int8", "int4", "float8")
_LEGACY = "quantized_dtype"
_QUANTIZERS = "keras.quantizers"


class LayerChangeError(ValueError):
    """A quantized layer or LoRA factors that cannot be described or do not fit the model."""


def describe_layer_changes(backbone: Any) -> dict[str, Any]:
    """Returns how the layers of a model differ from new ones, for `apply_layer_changes`.

    The result is empty for a model without quantized layers and LoRA factors.

    Raises:
        LayerChangeError: a layer is quantized in a way that needs data to repeat.
    """
    description: dict[str, Any] = {}
    layers = list(backbone._flatten_layers(include_self=False))
    quantized = {layer.path: _quantization(layer) for layer in layers if layer.quantization_mode}
    factors = {
        layer.path: {"rank": int(layer.lora_rank), "alpha": layer.lora_alpha}
        for layer in layers
        if getattr(layer, "lora_enabled", False)
    }
    if quantized:
        description["quantized_layers"] = quantized
        description["dtype"] = _plain_policy(backbone).name
    if factors:
        description["lora_layers"] = factors
    return description


def dtype_of_changes(description: dict[str, Any]) -> str | None:
    """Returns the dtype policy of a quantized model's other layers; None without quantized layers."""
    if _LEGACY in description:
        return _legacy_config(description).get("default_policy") or keras.config.dtype_policy().name
    dtype = description.get("dtype")
    return None if dtype is None else require_type(dtype, str, "`dtype`")


def apply_layer_changes(backbone: Any, description: dict[str, Any]) -> None:
    """Quantizes the layers of a new model and adds LoRA factors, as described.

    A layer that is built with a quantized dtype policy differs from one that was quantized: Keras gives an
    embedding that is built in int4 a quantizer for its inputs. So each layer is quantized again; assign its
    weights afterwards.

    Raises:
        ValueError: the description does not fit the model.
    """
    layers = {layer.path: layer for layer in backbone._flatten_layers(include_self=False)}
    for path, values in _quantized_layers(description).items():
        mode, config = values["mode"], values.get("config")
        if path not in layers or mode not in _MODES:
            raise LayerChangeError(f"the model has no layer `{path}` that can be quantized to {mode}")
        _require_quantizers(config)
        config = keras.saving.deserialize_keras_object(config)
        try:
            layers[path].quantize(None if config else mode, config=config)
        except (NotImplementedError, TypeError) as error:
            raise LayerChangeError(f"`{path}` cannot be quantized to {mode}: {error}") from error
    factors = _entries(description, "lora_layers", ("rank", "alpha"))
    for path in factors:
        if not hasattr(layers.get(path), "enable_lora"):
            raise LayerChangeError(f"the model has no layer `{path}` that can have LoRA factors")
    lora = require_type(description.get("lora") or {}, dict, "`lora`")
    if "layers" in lora and factors:  # an adapter was loaded, which chooses layers one by one
        add_factors(backbone, {path: Scale(**values) for path, values in factors.items()})
        return
    if lora:
        backbone.enable_lora(lora.get("rank"), lora.get("target_layer_names"))
    for path, values in factors.items():
        if not layers[path].lora_enabled:
            layers[path].enable_lora(values["rank"])
        layers[path].lora_alpha = values["alpha"]


def _quantization(layer: Any) -> dict[str, Any]:
    mode = layer.quantization_mode
    if mode not in _MODES:
        raise LayerChangeError(
            f"`{layer.path}` is quantized to {mode}, which cannot be saved; use one of {', '.join(_MODES)}"
        )
    config = getattr(layer, "quantization_config", None)
    if config is None and mode == "int4":
        config = _int4_config(layer._int4_block_size)
    return {"mode": mode, "config": keras.saving.serialize_keras_object(config) if config else None}


def _quantized_layers(description: dict[str, Any]) -> dict[str, dict[str, Any]]:
    if _LEGACY not in description:
        return _entries(description, "quantized_layers", ("mode",))
    policies = _entries(_legacy_config(description), "policy_map", ("config",))
    return {path: _from_policy(policy["config"]["mode"]) for path, policy in policies.items()}


def _legacy_config(description: dict[str, Any]) -> dict[str, Any]:
    """The configuration of the `DTypePolicyMap` that earlier versions wrote."""
    policy = require_type(description[_LEGACY], dict, f"`{_LEGACY}`")
    return require_type(policy.get("config"), dict, f"the `config` of `{_LEGACY}`")


def _entries(description: dict[str, Any], key: str, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    entries = require_type(description.get(key, {}), dict, f"`{key}`")
    for path, values in entries.items():
        if not isinstance(values, dict) or any(name not in values for name in names):
            raise LayerChangeError(
                f"`{key}` must hold {' and '.join(names)} of `{path}`; received {shown(values)}"
            )
    return entries


def _require_quantizers(config: Any) -> None:
    """Keras imports whatever module a configuration names; only its quantizers are needed here."""
    if isinstance(config, dict):
        if config.get("module", _QUANTIZERS) != _QUANTIZERS:
            raise LayerChangeError(
                f"a quantization's configuration must name {_QUANTIZERS}; received {shown(config['module'])}"
            )
        for value in config.values():
            _require_quantizers(value)


def _from_policy(mode: str) -> dict[str, Any]:
    """The quantization that the name of a dtype policy describes, such as `int4/128`."""
    mode, _, block_size = mode.partition("/")
    config = _int4_config(int(block_size or -1)) if mode == "int4" else None
    return {"mode": mode, "config": keras.saving.serialize_keras_object(config) if config else None}


def _int4_config(block_size: int | None) -> Any:
    return keras.quantizers.Int4QuantizationConfig(block_size=block_size)


def _plain_policy(layer: Any) -> Any:
    policy = layer.dtype_policy
    return policy.default_policy if isinstance(policy, keras.dtype_policies.DTypePolicyMap) else policy
