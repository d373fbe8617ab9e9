"""Registers the names of HighNoon's classes with Keras without importing their modules.

`keras.saving.load_model` knows the classes that are registered, and those of HighNoon are registered when
their modules are imported, which takes seconds. A placeholder imports them when Keras first needs one.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

PACKAGE = "highnoon"
REGISTERED_CLASSES = (
    "BDHLayer",
    "CausalConvolution",
    "CausalExpertChoiceRouter",
    "CausalSelfAttention",
    "ConvolvedAttention",
    "ExpertStack",
    "FeedForward",
    "GatedDeltaRule",
    "GatedFeedForward",
    "GatedRMSNormalization",
    "HashRouter",
    "LanguageModel",
    "LanguageModelPreprocessor",
    "LatentAttention",
    "LeakyIntegrateFire",
    "LogRange",
    "LogUniform",
    "MoELayer",
    "ReasoningBackbone",
    "ReasoningBlock",
    "ReportingMoELayer",
    "RotaryEmbedding",
    "ScaleFree",
    "SelectiveStateSpace",
    "SigmoidRouter",
    "SoftRouter",
    "SpikingBDHLayer",
    "StateSpaceDuality",
    "TimeStepBias",
    "TopKRouter",
    "ZeroCenteredRMSNormalization",
)
"""The classes of `highnoon.layers` and `highnoon.models` that are registered with Keras."""


def register_with_keras() -> None:
    """Registers placeholders with Keras now if it is imported, else when it is."""
    keras = sys.modules.get("keras")
    if keras is not None and hasattr(keras, "saving"):
        _register(keras)
    elif keras is None:
        sys.meta_path.insert(0, _KerasImport())


def _register(keras: ModuleType) -> None:
    known = keras.saving.get_custom_objects()
    for name in REGISTERED_CLASSES:
        if f"{PACKAGE}>{name}" not in known:
            keras.saving.register_keras_serializable(PACKAGE, name)(_placeholder(name))


def _placeholder(name: str) -> type:
    """Returns a class that stands for one of ours until its module is imported."""

    def from_config(cls: type, config: dict[str, Any]) -> Any:
        for package in ("layers", "layers.hatching", "models"):
            importlib.import_module(f"{PACKAGE}.{package}")
        found = importlib.import_module("keras").saving.get_custom_objects()[f"{PACKAGE}>{name}"]
        return found.from_config(config)

    def get_config(self: Any) -> dict[str, Any]:
        return {}

    return type(name, (), {"from_config": classmethod(from_config), "get_config": get_config})


class _KerasImport(importlib.abc.MetaPathFinder):
    """Sees the first import of Keras, and is removed by it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != "keras":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec("keras")
        if spec is not None and spec.loader is not None:
            spec.loader = _Registering(spec, spec.loader)
        return spec


class _Registering(importlib.abc.Loader):
    """Loads Keras by its own loader, which the module keeps, and registers the placeholders."""

    def __init__(self, spec: importlib.machinery.ModuleSpec, loader: Any) -> None:
        self.spec, self.loader = spec, loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.spec.loader = module.__loader__ = self.loader
        self.loader.exec_module(module)
        _register(module)
