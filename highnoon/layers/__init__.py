"""Keras layers: tensors in, tensors out."""

from highnoon.layers.causal_self_attention import CausalSelfAttention
from highnoon.layers.gated_feed_forward import GatedFeedForward
from highnoon.layers.moe import MoELayer
from highnoon.layers.rotary_embedding import RotaryEmbedding
from highnoon.layers.token_cross_entropy import token_cross_entropy

__all__ = ["CausalSelfAttention", "GatedFeedForward", "MoELayer", "RotaryEmbedding", "token_cross_entropy"]
