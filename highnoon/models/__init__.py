"""From a configuration to a `keras.Model`: patterns, backbone, language model, saving."""

from highnoon.models.backbone import ReasoningBackbone
from highnoon.models.causal_lm import LanguageModel

HSMN = HSMNLanguageModel = LanguageModel

__all__ = ["HSMN", "HSMNLanguageModel", "LanguageModel", "ReasoningBackbone"]
