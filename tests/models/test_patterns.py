"""The grammar of a reasoning block."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from highnoon.config import ConfigError, ModelConfig
from highnoon.models.initializers import initializers
from highnoon.models.parts import mixer_names
from highnoon.models.patterns import NAMED_PATTERNS, parse_pattern

MIXERS = mixer_names()


@pytest.mark.parametrize(
    "pattern, pairs",
    [
        ("transformer", [("attention", "mlp")]),
        ("moe_only", [("attention", "moe")]),
        ("mamba_only", [("mamba2", None)]),
        (
            "mamba_timecrystal_wlam_moe_hybrid",
            [("mamba2", "moe"), ("gated_delta_rule", "moe"), ("sliding_attention", "moe")],
        ),
        (" attention + moe ,attention+mlp", [("attention", "moe"), ("attention", "mlp")]),
        ("mamba, latent_attention+mlp", [("mamba", None), ("latent_attention", "mlp")]),
    ],
)
def test_patterns_and_their_names_are_pairs(pattern, pairs):
    assert parse_pattern(pattern) == pairs


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "mlp",
        "moe+attention",
        "attention+",
        "attention+moe,",
        "attention+moe+mlp",
        "rnn+moe",
        "no_such_pattern",
    ],
)
def test_anything_else_is_an_error_that_lists_what_exists(pattern):
    with pytest.raises(ConfigError) as error:
        parse_pattern(pattern)
    for word in (*MIXERS, "mlp", "moe", *NAMED_PATTERNS):
        assert word in str(error.value)


@pytest.mark.parametrize(
    "pattern, words",
    [
        (None, "must be a text; received None"),
        (["attention"], "must be a text"),
        (7, "must be a text"),
        ("mamba," * 10**6, "at most 4,096 entries; received 1,000,001"),
        ("x" * 10**6, "(1,000,000 characters)"),
        ("attention+" + "\x1b[31m" * 9, "x1b"),
        ("+" * 10**5, "has no layer"),
        ("\ud800", "has no layer"),
    ],
)
def test_a_pattern_of_any_size_or_type_is_refused_in_one_line(pattern, words):
    with pytest.raises(ConfigError) as error:
        parse_pattern(pattern)
    message = str(error.value)
    assert words in message and "\n" not in message and "\x1b" not in message and len(message) < 1000
    message.encode()


_PIECES = st.sampled_from(
    [
        *MIXERS,
        "mlp",
        "moe",
        *NAMED_PATTERNS,
        "+",
        ",",
        ", ",
        " ",
        "\n",
        "\0",
        "\ud800",
        "(",
        ")",
        "(state_dim=",
        "8",
        "=",
    ]
)


@settings(max_examples=500, deadline=None, database=None, derandomize=True)
@given(st.lists(st.one_of(_PIECES, _PIECES, st.text(max_size=3)), max_size=12).map("".join))
def test_any_text_is_a_pattern_or_an_error_of_one_line(pattern):
    try:
        pairs = parse_pattern(pattern)
    except ConfigError as error:
        str(error).encode()
        assert "\n" not in str(error) and len(str(error)) < 1000
    else:
        assert pairs and all(mixer in MIXERS for mixer, _ in pairs)


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
