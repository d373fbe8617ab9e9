"""Keras layers: tensors in, tensors out."""

from highnoon.layers.causal_convolution import CausalConvolution
from highnoon.layers.causal_self_attention import CausalSelfAttention
from highnoon.layers.gated_delta_rule import GatedDeltaRule
from highnoon.layers.gated_feed_forward import GatedFeedForward
from highnoon.layers.latent_attention import LatentAttention
from highnoon.layers.moe import MoELayer
from highnoon.layers.rotary_embedding import RotaryEmbedding
from highnoon.layers.selective_state_space import SelectiveStateSpace
from highnoon.layers.state_space_duality import StateSpaceDuality
from highnoon.layers.token_cross_entropy import token_cross_entropy

__all__ = [
    "CausalConvolution",
    "CausalSelfAttention",
    "GatedDeltaRule",
    "GatedFeedForward",
    "LatentAttention",
    "MoELayer",
    "RotaryEmbedding",
    "SelectiveStateSpace",
    "StateSpaceDuality",
    "token_cross_entropy",
]
