"""Quantizes a language model by Keras, and says what that does to memory and speed."""

from __future__ import annotations

import functools
import re
import warnings
from typing import Any

from highnoon.config import ConfigError
from highnoon.files.nearest_name import nearest_name
from highnoon.files.print_text import print_text
from highnoon.files.shown import shown

MODES = ("int8", "int4", "float8")
_REFUSED = {
    "gptq": "needs calibration data and is not saved with a model",
    "awq": "needs calibration data and is not saved with a model",
}
NOTES = {
    "int8": "int8: the weights take about a quarter of the memory; a single row is decoded more slowly than "
    "in float32 on a CPU (figures in docs/guides/adapters.md)",
    "int4": "int4: the weights take about a seventh of the memory; a single row is decoded more slowly than "
    "in float32 on a CPU (figures in docs/guides/adapters.md)",
    "float8": "float8: for training; the weights stay in their own type, so neither memory nor time is saved "
    "in decoding",
}
"""What is said of a mode when it is asked for."""
_SILENT = (".*does not have a `quantize` method", "Invalid quantization mode. Expected one of")
"""What Keras says of layers that stay as they are: norms, and embeddings in float8."""


def quantize_model(
    quantize: Any, model: Any, mode: str, config: Any, filters: Any = None, **options: Any
) -> None:
    """Quantizes a model's layers; `LanguageModel.quantize` calls it.

    Layers without a kernel, such as norms, stay as they are. Factors of LoRA stay in float32.

    Args:
        quantize: Keras's own method.
        model: The model, not quantized yet.
        mode: `"int8"`, `"int4"` or `"float8"`.
        config: A configuration of `keras.quantizers` of the same mode.
        filters: Which layers: a regular expression of their names, a list of them, or a function of a layer.
        **options: Further arguments of Keras.

    Raises:
        ConfigError: a mode that the layers or a saved model cannot have, or a model that is quantized
            already; the model is unchanged.
    """
    checked_mode(mode, config)
    layers = list(model._flatten_layers())
    done = [layer for layer in layers if getattr(layer, "quantization_mode", None)]
    if done:
        raise ConfigError(
            f"the model is quantized to {done[0].quantization_mode} already; load its float weights to "
            "choose another mode"
        )
    _require_mixers(layers)
    _require_experts([layer for layer in layers if _is_chosen(layer, filters)], mode, config)
    with warnings.catch_warnings():
        for message in _SILENT:
            warnings.filterwarnings("ignore", message=message)
        quantize(mode, config=config, filters=filters, **options)
    print_text(NOTES[mode])


def refuses_first(quantize: Any) -> Any:
    """Returns Keras's wrapper of `quantize`, which asks for a `config` of modes that are refused anyway."""

    @functools.wraps(quantize)
    def quantize_checked(mode: str | None = None, config: Any = None, **options: Any) -> None:
        checked_mode(mode, config)
        quantize(mode, config=config, **options)

    return quantize_checked


def checked_mode(mode: Any, config: Any) -> str:
    """Returns the mode, or that of the configuration where it is None.

    Raises:
        ConfigError: another mode than those of `MODES`.
    """
    mode = mode if mode is not None else getattr(config, "mode", config)
    if isinstance(mode, str) and mode in MODES:
        return mode
    reason = _REFUSED.get(mode) if isinstance(mode, str) else None
    near = nearest_name(mode, MODES) if isinstance(mode, str) and reason is None else None
    hint = f"; {mode} {reason}" if reason else f" (did you mean {near!r}?)" if near else ""
    raise ConfigError(f"`mode` must be one of {', '.join(MODES)}; received {shown(mode)}{hint}")


def _is_chosen(layer: Any, filters: Any) -> bool:
    if filters is None:
        return True
    if callable(filters):
        return bool(filters(layer))
    return any(re.search(part, layer.name) for part in ([filters] if isinstance(filters, str) else filters))


def _require_mixers(layers: list[Any]) -> None:
    """Refuses what would leave the kernels of a mixer, most of a model's weights, in float."""
    for layer in layers:
        if not getattr(layer, "is_quantizable", True):
            raise ConfigError(
                f"the kernels of {type(layer).__name__} cannot be quantized; use the model as it is, or with "
                'dtype="bfloat16"'
            )


def _require_experts(layers: list[Any], mode: str, config: Any) -> None:
    """Refuses what would leave the stacked kernels of experts, most of a model's weights, in float."""
    from highnoon.layers.experts.expert_stack import ExpertStack

    has_quantizer = getattr(config, "weight_quantizer", None) is not None
    if any(isinstance(layer, ExpertStack) for layer in layers) and (mode != "int8" or has_quantizer):
        what = f"{mode} by a quantizer of weights" if has_quantizer else mode
        raise ConfigError(
            f'experts cannot be quantized to {what}, only by quantize("int8"); to leave them in float, '
            'choose other layers, as in filters="query|key|value|attention_output"'
        )
