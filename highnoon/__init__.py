"""HighNoon: train and evaluate mixture-of-experts language models with Keras.

Names are loaded on first use, so that `import highnoon` costs no more than it must.
"""

from __future__ import annotations

import importlib
from typing import Any

from highnoon.keras_registration import register_with_keras

__version__ = "0.1.0"
__edition__ = "open"

_HOMES = {
    "Config": "config",
    "ModelConfig": "config",
    "TrainingConfig": "config",
    "get_preset_config": "config",
    "HSMN": "compat",
    "HSMNLanguageModel": "compat",
    "LanguageModel": "models",
    "LimitExceededError": "models",
    "create_model": "models",
    "export_model": "models.hugging_face",
    "load_model": "models",
    "save_model": "models",
    "QWTTextTokenizer": "compat",
    "load_tokenizer": "tokenization",
    "AdaptiveCurriculumScheduler": "training",
    "CurriculumScheduler": "training",
    "Recipe": "training.recipes",
    "Trainer": "training",
}

_SUBPACKAGES = (
    "alignment",
    "callbacks",
    "compat",
    "config",
    "data",
    "evaluation",
    "experts",
    "inference",
    "layers",
    "models",
    "monitoring",
    "testing",
    "tokenization",
    "training",
)

__all__ = ["__edition__", "__version__", *_HOMES, *_SUBPACKAGES]


def __getattr__(name: str) -> Any:
    if name in _SUBPACKAGES:
        return importlib.import_module(f"highnoon.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'highnoon' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"highnoon.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


register_with_keras()
