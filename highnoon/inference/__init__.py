"""Cached decoding: from a model and prompts to text, complete, in pieces, or as a conversation."""

from __future__ import annotations

from highnoon.files.former_names import former_names
from highnoon.inference.batch_generation import generate_batch
from highnoon.inference.block_diffusion.generate_blocks import generate_blocks
from highnoon.inference.decoding.beam import generate_beam
from highnoon.inference.decoding.contrastive import generate_contrastive
from highnoon.inference.decoding.log_probabilities import log_probabilities
from highnoon.inference.decoding.sampling import Sampling
from highnoon.inference.generation import generate
from highnoon.inference.logits_processors import (
    FrequencyPenalty,
    LogitBias,
    LogitsProcessor,
    PresencePenalty,
    RepetitionPenalty,
)
from highnoon.inference.speculative.speculative_generation import SpeculativeGenerator
from highnoon.inference.stateful import StatefulWrapper
from highnoon.inference.streaming import StreamingGenerator

__all__ = [
    "FrequencyPenalty",
    "LogitBias",
    "LogitsProcessor",
    "PresencePenalty",
    "RepetitionPenalty",
    "Sampling",
    "SpeculativeGenerator",
    "StatefulWrapper",
    "StreamingGenerator",
    "generate",
    "generate_batch",
    "generate_beam",
    "generate_blocks",
    "generate_contrastive",
    "log_probabilities",
]

__getattr__ = former_names(__name__)
