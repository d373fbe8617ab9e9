"""The grammar of a reasoning block."""

from __future__ import annotations

import pytest

from highnoon.config import ConfigError, ModelConfig
from highnoon.models.patterns import MIXERS, NAMED_PATTERNS, initializers, parse_pattern


@pytest.mark.parametrize("pattern, pairs", [
    ("transformer", [("attention", "mlp")]),
    ("moe_only", [("attention", "moe")]),
    ("mamba_only", [("mamba2", None)]),
    ("mamba_timecrystal_wlam_moe_hybrid",
     [("mamba2", "moe"), ("gated_delta_rule", "moe"), ("sliding_attention", "moe")]),
    (" attention + moe ,attention+mlp", [("attention", "moe"), ("attention", "mlp")]),
    ("mamba, latent_attention+mlp", [("mamba", None), ("latent_attention", "mlp")]),
])
def test_patterns_and_their_names_are_pairs(pattern, pairs):
    assert parse_pattern(pattern) == pairs


@pytest.mark.parametrize("pattern", [
    "", "mlp", "moe+attention", "attention+", "attention+moe,", "attention+moe+mlp", "rnn+moe",
    "no_such_pattern",
])
def test_anything_else_is_an_error_that_lists_what_exists(pattern):
    with pytest.raises(ConfigError) as error:
        parse_pattern(pattern)
    for word in (*MIXERS, "mlp", "moe", *NAMED_PATTERNS):
        assert word in str(error.value)


def test_kernels_that_write_into_the_residual_stream_shrink_with_depth():
    shallow, deep = (
        initializers(ModelConfig(num_reasoning_blocks=n, block_pattern="attention+moe, attention+mlp"))
        for n in (1, 4)
    )
    assert shallow["kernel_initializer"].stddev == deep["kernel_initializer"].stddev
    assert shallow["output_initializer"].stddev == pytest.approx(2 * deep["output_initializer"].stddev)
    assert shallow["output_initializer"].stddev == pytest.approx((2 / (5 * 512) / 4) ** 0.5)


def test_a_mixer_alone_is_one_residual_branch():
    alone, pair = (initializers(ModelConfig(block_pattern=p)) for p in ("mamba", "mamba+mlp"))
    ratio = alone["output_initializer"].stddev / pair["output_initializer"].stddev
    assert ratio == pytest.approx(2**0.5)
