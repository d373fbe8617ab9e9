"""Training: the Trainer, its stages, curriculum schedulers, the compiled step and checkpoints."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "AdaptiveCurriculumScheduler": "curricula.adaptive_curriculum",
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
    "create_curriculum_batches": "curricula.curriculum_batches",
    "register_objective": "objective",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'highnoon.training' has no attribute {name!r}")
    return getattr(importlib.import_module(f"highnoon.training.{_HOMES[name]}"), name)
