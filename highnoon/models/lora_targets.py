"""Chooses the layers that `enable_lora` gives factors, before anything is frozen."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import Any

from highnoon.files.nearest_name import nearest_name

_WITHOUT_FACTORS = ("float8", "gptq", "awq")


def lora_targets(
    backbone: Any, rank: int, target_layer_names: str | Sequence[str] | None, alpha: float | None = None
) -> list[str]:
    """Returns the names of the layers that will get factors; None stands for the backbone's default.

    Args:
        backbone: A built backbone.
        rank: Rank of the factors, at least 1.
        target_layer_names: A name, or names, each of at least one layer that can have factors.
        alpha: Numerator of the factors' scale; None for the rank.

    Raises:
        ValueError: `rank` or a name cannot be used, or a layer has factors already. The backbone is
            unchanged.
    """
    if isinstance(rank, bool) or not isinstance(rank, numbers.Integral) or rank < 1:
        raise ValueError(f"`rank` must be an integer of at least 1; received {rank!r}")
    is_number = isinstance(alpha, numbers.Real) and not isinstance(alpha, bool)
    if alpha is not None and not (is_number and 0 < float(alpha) < float("inf")):
        raise ValueError(f"`alpha` must be a number above 0; received {alpha!r}")
    layers = [layer for layer in backbone._flatten_layers(include_self=False) if layer.weights]
    _require_no_factors(layers)
    able = [layer for layer in layers if hasattr(layer, "enable_lora")]
    valid = sorted({layer.name for layer in able})
    if target_layer_names is None:
        names = [name for name in backbone.default_lora_layer_names() if name in valid]
        if not names:
            raise ValueError(
                f"no mixer of block_pattern={backbone.config.block_pattern!r} has layers that get LoRA "
                f"factors by default; give `target_layer_names`, of {', '.join(valid)}, or train all weights"
            )
    else:
        names = _checked_names(target_layer_names, valid)
    for layer in able:
        if layer.name in names and layer.quantization_mode in _WITHOUT_FACTORS:
            raise ValueError(
                f"`{layer.path}` is quantized to {layer.quantization_mode}, which has no LoRA; "
                "call `enable_lora` before `quantize`"
            )
    return names


def _checked_names(given: str | Sequence[str], valid: list[str]) -> list[str]:
    names = [given] if isinstance(given, str) else list(given)
    expected = f"the name of a layer that can have LoRA factors, one of {', '.join(valid)}"
    if not names:
        raise ValueError(f"`target_layer_names` must hold at least 1 name; received none. Each is {expected}")
    for name in names:
        if name not in valid:
            near = nearest_name(name, valid)
            hint = f" (did you mean {near!r}?)" if near is not None else ""
            raise ValueError(f"each of `target_layer_names` must be {expected}; received {name!r}{hint}")
    return list(dict.fromkeys(names))


def _require_no_factors(layers: Sequence[Any]) -> None:
    ready = [layer for layer in layers if getattr(layer, "lora_enabled", False)]
    if ready:
        raise ValueError(
            f"LoRA is enabled already, with rank {ready[0].lora_rank} on {len(ready)} layers such as "
            f"`{ready[0].path}`; load the model again to choose other layers or another rank"
        )
