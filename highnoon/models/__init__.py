"""From a configuration to a `keras.Model`: block patterns and their parts, families, saving, loading."""

from highnoon.files.former_names import former_names
from highnoon.models.backbone import ReasoningBackbone
from highnoon.models.causal_lm import LanguageModel
from highnoon.models.create import create_model
from highnoon.models.families import Family, register_family
from highnoon.models.find_model import find_model
from highnoon.models.language_model_preprocessor import LanguageModelPreprocessor
from highnoon.models.loading import load_model
from highnoon.models.memory import LimitExceededError, ModelSize, count_parameters, model_table
from highnoon.models.parts import register_part
from highnoon.models.saving import ModelFolderError, save_model
from highnoon.models.upcycling import upcycle

__all__ = [
    "Family",
    "LanguageModel",
    "LanguageModelPreprocessor",
    "LimitExceededError",
    "ModelFolderError",
    "ModelSize",
    "ReasoningBackbone",
    "count_parameters",
    "create_model",
    "find_model",
    "load_model",
    "model_table",
    "register_family",
    "register_part",
    "save_model",
    "upcycle",
]

__getattr__ = former_names(__name__)
