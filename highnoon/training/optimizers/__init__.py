"""Optimizers whose updates are functions of tensors: AdamW, Adafactor, Lion, Muon, and those of Keras."""

from highnoon.training.optimizers.adafactor import Adafactor
from highnoon.training.optimizers.adamw import AdamW
from highnoon.training.optimizers.functional_optimizer import FunctionalOptimizer, is_decayed
from highnoon.training.optimizers.keras_optimizers import StatelessOptimizer
from highnoon.training.optimizers.lion import Lion
from highnoon.training.optimizers.make_optimizer import make_optimizer
from highnoon.training.optimizers.muon import Muon

__all__ = [
    "Adafactor",
    "AdamW",
    "FunctionalOptimizer",
    "Lion",
    "Muon",
    "StatelessOptimizer",
    "is_decayed",
    "make_optimizer",
]
