"""Every size and every factor of a layer is a finite number in its range."""

from __future__ import annotations

import math

import pytest

from highnoon.layers import (
    CausalConvolution,
    CausalSelfAttention,
    ConvolvedAttention,
    GatedDeltaRule,
    GatedFeedForward,
    LatentAttention,
    MoELayer,
    SelectiveStateSpace,
    StateSpaceDuality,
)
from highnoon.layers.gated_rms_normalization import GatedRMSNormalization

DELTA = {"num_value_heads": 2}
MOE = {"num_experts": 4, "expert_dim": 8}
INITIALIZERS = {"time_step_min": "minimum", "time_step_max": "maximum", "time_step_floor": "floor"}
MAMBA = ("time_step_min", "time_step_max", "time_step_floor", "dropout")


@pytest.mark.parametrize(
    ("layer", "given", "names"),
    [
        (CausalConvolution, {}, ["kernel_size"]),
        (
            CausalSelfAttention,
            {"num_heads": 2},
            ["num_heads", "num_kv_heads", "head_dim", "window", "chunk_length", "norm_epsilon", "dropout"],
        ),
        (ConvolvedAttention, {"num_heads": 2}, ["num_heads", "conv_kernel_size", "window", "dropout"]),
        (GatedDeltaRule, DELTA, ["num_key_heads", "key_head_dim", "chunk_length", "norm_epsilon", *MAMBA]),
        (GatedFeedForward, {}, ["hidden_dim"]),
        (GatedRMSNormalization, {}, ["num_groups", "epsilon"]),
        (
            LatentAttention,
            {"num_heads": 2},
            ["num_heads", "kv_lora_rank", "q_lora_rank", "v_head_dim", "chunk_length", "norm_epsilon"],
        ),
        (
            MoELayer,
            MOE,
            [
                "num_experts",
                "expert_dim",
                "num_experts_per_tok",
                "num_shared_experts",
                "num_expert_groups",
                "num_groups_per_tok",
                "routed_scale",
            ],
        ),
        (SelectiveStateSpace, {}, ["state_dim", "expand", "time_step_rank", "num_parts", *MAMBA]),
        (StateSpaceDuality, {}, ["state_dim", "head_dim", "num_groups", "norm_epsilon", *MAMBA]),
    ],
)
def test_what_is_no_finite_number_is_refused_by_name(layer, given, names):
    for name in names:
        for value in (math.nan, math.inf, -1, "8"):
            with pytest.raises(ValueError, match=f"`{INITIALIZERS.get(name, name)}` must"):
                layer(**{**given, name: value})
