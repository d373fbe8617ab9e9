"""The LoRA factors of a model: where they are, and how they are added and removed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

_NAMES = (("lora_kernel_a", "lora_kernel_b"), ("lora_embeddings_a", "lora_embeddings_b"))


class Scale(NamedTuple):
    """Rank and alpha of a layer's factors, whose product is multiplied by `alpha / rank`.

    Args:
        rank: Columns of the first factor and rows of the second.
        alpha: Numerator of the scale.
    """

    rank: int
    alpha: float


def layers_by_path(backbone: Any) -> dict[str, Any]:
    """Returns all layers inside a backbone by their path."""
    return {layer.path: layer for layer in backbone._flatten_layers(include_self=False)}


def layers_with_factors(backbone: Any) -> dict[str, Any]:
    """Returns the layers that have LoRA factors, by path."""
    layers = layers_by_path(backbone)
    return {path: layer for path, layer in layers.items() if getattr(layer, "lora_enabled", False)}


def factor_names(layer: Any) -> tuple[str, str]:
    """Returns the attributes that hold a layer's factors (inputs, rank) and (rank, outputs)."""
    return next(names for names in _NAMES if hasattr(layer, names[0]))


def add_factors(backbone: Any, scales: Mapping[str, Scale]) -> None:
    """Freezes a backbone and adds factors to layers, each with a rank and an alpha of its own.

    Args:
        backbone: Without factors.
        scales: By the path of a layer that can have factors.
    """
    layers = layers_by_path(backbone)
    backbone.trainable = True
    for layer in layers.values():
        layer.trainable = False
    for path, scale in scales.items():
        layers[path].trainable = True
        layers[path].enable_lora(scale.rank, lora_alpha=scale.alpha)
        freeze_others(layers[path])
    backbone.lora = {"rank": max(scale.rank for scale in scales.values()), "layers": sorted(scales)}


def freeze_others(layer: Any) -> None:
    """Freezes what a layer with factors has besides them, which Keras would train: a bias, an untied head."""
    factors = {id(getattr(layer, name)) for name in factor_names(layer)}
    for variable in layer._trainable_variables:
        if id(variable) not in factors:
            variable.trainable = False


def remove_factors(layer: Any) -> None:
    """Removes a layer's factors; its kernel does not change."""
    for name in factor_names(layer):
        layer._untrack_variable(getattr(layer, name))
        layer._tracker.unlock()
        delattr(layer, name)
        layer._tracker.lock()
    layer.lora_enabled, layer.lora_rank, layer.lora_alpha = False, None, None
