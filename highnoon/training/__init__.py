"""Training: the Trainer, its stages, curriculum schedulers, the compiled step and checkpoints."""

from __future__ import annotations

import importlib
from typing import Any

from highnoon.files.former_names import former_names

_HOMES = {
    "AdaptiveCurriculumScheduler": "curricula.adaptive_curriculum",
    "BlockDiffusion": "objectives.block_diffusion.block_diffusion",
    "CheckpointError": "checkpoints.checkpoint",
    "Classification": "objectives.classification",
    "CurriculumScheduler": "curricula.curriculum",
    "CurriculumStage": "plans.stages",
    "Recipe": "recipes.recipe",
    "Distillation": "objectives.distillation",
    "NextToken": "objective",
    "Objective": "objective",
    "Trainer": "trainer",
    "TrainingPlan": "plans.plan",
    "register_objective": "objective",
}

__all__ = [*_HOMES, "create_curriculum_batches"]
_former_name = former_names(__name__)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        return _former_name(name)
    return getattr(importlib.import_module(f"highnoon.training.{_HOMES[name]}"), name)
