"""The names that earlier documents use for what has a standard name here; they stay reachable as before.

| former name | is now |
| --- | --- |
| `highnoon.HSMN`, `highnoon.HSMNLanguageModel` | `highnoon.LanguageModel` |
| `highnoon.QWTTextTokenizer` | `highnoon.tokenization.BytePairTokenizer` |
| `highnoon.tokenization.ByteStreamTokenizer` | `highnoon.tokenization.ByteTokenizer` |
| `highnoon.inference.QSGGenerator` | a front of `highnoon.inference.SpeculativeGenerator` |
| `highnoon.data.FilteredSource` | a front of `highnoon.data.CleanedSource` |
| `highnoon.data.BadRows` | `highnoon.data.BadRecords` |
| `MultiTaskTrainer`, `MultiTaskConfig` | a front of `highnoon.Recipe`, with the names of the hatching guide |
| `hatching_step_N.pt`, `hatching_best.pt`, `hatching_final.pt` | a step's folder, `best` and `final` |
| `nano_think.config` | `highnoon.compat.expert_configs` |
| `transformer_expert_epochN.pt`, `..._interrupted.pt` | the step of an epoch, `interrupted` |
| `create_curriculum_batches(molecules=)` | `create_curriculum_batches(samples=)` |

What is saved under a former name loads: files and registered names did not change.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "BadRows": "highnoon.data.bad_records:BadRecords",
    "ByteStreamTokenizer": "highnoon.tokenization.byte_tokenizer:ByteTokenizer",
    "DataConfig": "highnoon.compat.expert_configs:DataConfig",
    "DiffuserConfig": "highnoon.compat.expert_configs:DiffuserConfig",
    "ExpertConfigs": "highnoon.compat.expert_configs:ExpertConfigs",
    "ExpertRecipe": "highnoon.compat.expert_recipe:ExpertRecipe",
    "ExpertModelConfig": "highnoon.compat.expert_configs:ExpertModelConfig",
    "FilteredSource": "highnoon.compat.filtered_source:FilteredSource",
    "HSMN": "highnoon.models.causal_lm:LanguageModel",
    "HSMNLanguageModel": "highnoon.models.causal_lm:LanguageModel",
    "MLAConfig": "highnoon.compat.expert_configs:MLAConfig",
    "MultiTaskConfig": "highnoon.compat.multi_task_config:MultiTaskConfig",
    "MultiTaskTrainer": "highnoon.compat.multi_task_trainer:MultiTaskTrainer",
    "QSGGenerator": "highnoon.compat.qsg_generator:QSGGenerator",
    "QWTTextTokenizer": "highnoon.tokenization.byte_pair.byte_pair_tokenizer:BytePairTokenizer",
    "StateSpaceConfig": "highnoon.compat.expert_configs:StateSpaceConfig",
    "TrainDiffuserConfig": "highnoon.compat.expert_configs:TrainDiffuserConfig",
    "TrainExpertConfig": "highnoon.compat.expert_configs:TrainExpertConfig",
    "TrainMLAConfig": "highnoon.compat.expert_configs:TrainMLAConfig",
    "TransformerConfig": "highnoon.compat.expert_configs:TransformerConfig",
    "create_curriculum_batches": "highnoon.compat.curriculum_batches:create_curriculum_batches",
    "pretrain_configured": "highnoon.compat.expert_training:pretrain_configured",
    "read_hatching_checkpoint": "highnoon.compat.hatching_checkpoint:read_hatching_checkpoint",
    "run_expert_recipe": "highnoon.compat.expert_steps:run_expert_recipe",
    "train_configured_router": "highnoon.compat.expert_training:train_configured_router",
}

FORMER_NAMES = {
    "highnoon.data": ("BadRows", "FilteredSource"),
    "highnoon.inference": ("QSGGenerator",),
    "highnoon.models": ("HSMN", "HSMNLanguageModel"),
    "highnoon.tokenization": ("ByteStreamTokenizer", "QWTTextTokenizer"),
    "highnoon.training": ("create_curriculum_batches",),
}
"""Names by the room in which they are reachable."""

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'highnoon.compat' has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    return getattr(importlib.import_module(module), attribute)
