"""Mixers and feed-forwards of reasoning blocks: one file each, with all that the package knows of it."""

from highnoon.models.parts.part import Activations, BoundPart, FeedForwardPart, MixerPart, Part
from highnoon.models.parts.part_registry import (
    PARTS,
    feed_forward_names,
    mixer_names,
    register_part,
    whole_block_names,
)

__all__ = [
    "PARTS",
    "Activations",
    "BoundPart",
    "FeedForwardPart",
    "MixerPart",
    "Part",
    "feed_forward_names",
    "mixer_names",
    "register_part",
    "whole_block_names",
]
