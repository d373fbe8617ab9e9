"""Keras layers: tensors in, tensors out."""

from highnoon.layers.attention.causal_self_attention import CausalSelfAttention
from highnoon.layers.attention.convolved_attention import ConvolvedAttention
from highnoon.layers.attention.latent_attention import LatentAttention
from highnoon.layers.attention.rotary_embedding import RotaryEmbedding
from highnoon.layers.configured_layer import ConfiguredLayer
from highnoon.layers.experts.moe import MoELayer
from highnoon.layers.feed_forward import FeedForward
from highnoon.layers.gated_feed_forward import GatedFeedForward
from highnoon.layers.mixer import Mixer
from highnoon.layers.recurrence.causal_convolution import CausalConvolution
from highnoon.layers.recurrence.gated_delta_rule import GatedDeltaRule
from highnoon.layers.recurrence.linear_scan import linear_scan
from highnoon.layers.recurrence.selective_state_space import SelectiveStateSpace
from highnoon.layers.recurrence.state_space_duality import StateSpaceDuality
from highnoon.layers.report import Report
from highnoon.layers.token_cross_entropy import token_cross_entropy
from highnoon.layers.token_log_probs import token_log_probs
from highnoon.layers.zero_centered_rms_normalization import ZeroCenteredRMSNormalization

__all__ = [
    "CausalConvolution",
    "CausalSelfAttention",
    "ConfiguredLayer",
    "ConvolvedAttention",
    "FeedForward",
    "GatedDeltaRule",
    "GatedFeedForward",
    "LatentAttention",
    "Mixer",
    "MoELayer",
    "Report",
    "RotaryEmbedding",
    "SelectiveStateSpace",
    "StateSpaceDuality",
    "ZeroCenteredRMSNormalization",
    "linear_scan",
    "token_cross_entropy",
    "token_log_probs",
]
