"""Logits processors: what changes the logits of the next token inside the compiled decoding loop."""

from __future__ import annotations

from highnoon.inference.logits_processors.frequency_penalty import FrequencyPenalty
from highnoon.inference.logits_processors.logit_bias import LogitBias
from highnoon.inference.logits_processors.logits_processor import LogitsProcessor
from highnoon.inference.logits_processors.presence_penalty import PresencePenalty
from highnoon.inference.logits_processors.repetition_penalty import RepetitionPenalty

__all__ = ["FrequencyPenalty", "LogitBias", "LogitsProcessor", "PresencePenalty", "RepetitionPenalty"]
