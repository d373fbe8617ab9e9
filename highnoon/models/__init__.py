"""From a configuration to a `keras.Model`: presets, patterns, backbone, language model, saving."""

from highnoon.files.former_names import former_names
from highnoon.models.backbone import ReasoningBackbone
from highnoon.models.causal_lm import LanguageModel
from highnoon.models.create import create_model
from highnoon.models.memory import LimitExceededError, ModelSize, count_parameters, model_table
from highnoon.models.saving import ModelFolderError, load_model, save_model
from highnoon.models.upcycling import upcycle

__all__ = [
    "LanguageModel",
    "LimitExceededError",
    "ModelFolderError",
    "ModelSize",
    "ReasoningBackbone",
    "count_parameters",
    "create_model",
    "load_model",
    "model_table",
    "save_model",
    "upcycle",
]

__getattr__ = former_names(__name__)
