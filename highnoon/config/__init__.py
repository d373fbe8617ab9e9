"""Configuration: frozen dataclasses, ranges of their fields, aliases, YAML files and presets.

Every hyperparameter of a model or of a run is a field here; nothing else in the package has a default of its
own for it. A key that is not a field is an error that names the nearest field, and a field given twice under
two names is an error.
"""

from __future__ import annotations

from highnoon.config.config import Config, override
from highnoon.config.config_error import ConfigError
from highnoon.config.defaults import Default, default, is_given
from highnoon.config.expert_ranges import require_expert_choice
from highnoon.config.keys import ALIASES, canonical_keys, resolve_keys
from highnoon.config.model_config import (
    AUX_LOSS_WEIGHT,
    EXPERT_CAPACITY_FACTOR,
    FFN_ACTIVATIONS,
    MAX_BLOCKS,
    TOP_K_EXPERTS,
    ModelConfig,
)
from highnoon.config.presets import GENERAL_PRESETS, PRESETS, get_preset_config
from highnoon.config.ranges import (
    MAX_COUNT,
    MAX_SIZE,
    require_choice,
    require_count,
    require_flag,
    require_number,
    require_path,
    require_text,
    require_texts,
)
from highnoon.config.training_config import (
    EARLY_STOPPING_MIN_DELTA,
    EARLY_STOPPING_PATIENCE,
    FAULT_ANSWERS,
    LEARNING_RATE_SCALINGS,
    OPTIMIZERS,
    SCHEDULES,
    TrainingConfig,
)
from highnoon.config.yaml_files import read_yaml
from highnoon.files.shown import shown

__all__ = [
    "ALIASES",
    "AUX_LOSS_WEIGHT",
    "Config",
    "ConfigError",
    "Default",
    "EARLY_STOPPING_MIN_DELTA",
    "EARLY_STOPPING_PATIENCE",
    "EXPERT_CAPACITY_FACTOR",
    "FAULT_ANSWERS",
    "FFN_ACTIVATIONS",
    "LEARNING_RATE_SCALINGS",
    "MAX_BLOCKS",
    "MAX_COUNT",
    "MAX_SIZE",
    "ModelConfig",
    "OPTIMIZERS",
    "GENERAL_PRESETS",
    "PRESETS",
    "SCHEDULES",
    "TOP_K_EXPERTS",
    "TrainingConfig",
    "canonical_keys",
    "default",
    "get_preset_config",
    "is_given",
    "override",
    "read_yaml",
    "require_choice",
    "require_count",
    "require_expert_choice",
    "require_flag",
    "require_number",
    "require_path",
    "require_text",
    "require_texts",
    "resolve_keys",
    "shown",
]
