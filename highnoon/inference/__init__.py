"""Cached decoding: from a model and prompts to text, whole, in pieces, or as a conversation."""

from __future__ import annotations

from highnoon.inference.batch_generation import generate_batch
from highnoon.inference.generation import generate
from highnoon.inference.sampling import Sampling
from highnoon.inference.speculative import SpeculativeGenerator
from highnoon.inference.stateful import StatefulWrapper
from highnoon.inference.streaming import StreamingGenerator

__all__ = [
    "Sampling", "SpeculativeGenerator", "StatefulWrapper", "StreamingGenerator", "generate", "generate_batch",
]
