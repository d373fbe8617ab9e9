"""Objectives besides the next token, one a file."""

from highnoon.training.objectives.block_diffusion.block_diffusion import BlockDiffusion
from highnoon.training.objectives.classification import Classification
from highnoon.training.objectives.distillation import Distillation

__all__ = ["BlockDiffusion", "Classification", "Distillation"]
