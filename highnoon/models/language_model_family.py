"""The family of `LanguageModel`: described by its fields, not by Keras's configuration."""

from __future__ import annotations

from typing import Any

import keras

from highnoon.config import Config, ConfigError, ModelConfig, TrainingConfig, override
from highnoon.files.shown import shown
from highnoon.models.calibration import calibrate
from highnoon.models.causal_lm import LanguageModel
from highnoon.models.dtypes import resolve_dtype
from highnoon.models.families import Family
from highnoon.models.layer_changes import apply_layer_changes, describe_layer_changes, dtype_of_changes
from highnoon.models.memory import require_memory


class LanguageModelFamily(Family):
    """Language models of reasoning blocks.

    The description holds `model` and `training`, the fields of both configurations, and where layers are
    quantized or have LoRA factors, how they differ; `published_as` where the model was loaded from a folder
    of Hugging Face.
    """

    model_class = LanguageModel

    def create(self, dtype: Any = "auto", allow_oversize: bool = False, **fields: Any) -> LanguageModel:
        config = override(Config(), **fields)
        require_memory(config.model, allow_oversize)
        model = self.model_class(config=config.model, dtype=resolve_dtype(dtype))
        calibrate(model)
        return model

    def describe(self, model: keras.Model) -> dict[str, Any]:
        description = {
            "model": model.config.to_dict(),
            "training": model.training_config.to_dict() if model.training_config else None,
            **describe_layer_changes(model.backbone),
        }
        if model.backbone.lora is not None:
            description["lora"] = model.backbone.lora
        if model.published_as is not None:
            description["published_as"] = model.published_as
        return description

    def check(self, description: dict[str, Any]) -> None:
        model = description.get("model")
        if not isinstance(model, dict):
            raise ConfigError(f"`model` must be a mapping of fields; received {shown(model)}")
        published_as = description.get("published_as")
        if published_as is not None and not isinstance(published_as, str):
            raise ConfigError(f"`published_as` must be text; received {shown(published_as)}")
        ModelConfig(**model)

    def require_memory(self, description: dict[str, Any], num_bytes: int, allow_oversize: bool) -> None:
        require_memory(ModelConfig(**description["model"]), allow_oversize)

    def make(self, description: dict[str, Any], dtype: Any = "auto") -> LanguageModel:
        training = description.get("training")
        model = self.model_class(
            config=ModelConfig(**description["model"]),
            dtype=dtype_of_changes(description) or resolve_dtype(dtype),
            training_config=TrainingConfig.of_model(training) if training else None,
        )
        model.published_as = description.get("published_as")
        apply_layer_changes(model.backbone, description)
        return model
