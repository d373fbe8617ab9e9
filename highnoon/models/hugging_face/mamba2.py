"""Mamba-2: models of state space duality alone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from highnoon.config import ModelConfig
from highnoon.models.causal_lm import LanguageModel
from highnoon.models.hugging_face.family import Family, repeated_pattern
from highnoon.models.hugging_face.mamba import convolution, read_state_space, write_state_space
from highnoon.models.hugging_face.settings import Settings
from highnoon.models.hugging_face.stack_weights import dense, frame_weights, norm, stack_layers
from highnoon.models.hugging_face.tensor_rules import SAME, Weight
from highnoon.models.parts.mamba2 import Mamba2

_NO_LIMIT = [0.0, math.inf]


def _read(settings: Settings) -> dict[str, Any]:
    fields = read_state_space(settings, tied=False)
    # `transformers` gates before the norm whatever `norm_before_gate` says, the chunk size changes no
    # result, and the time step has no bottleneck here.
    settings.ignore("chunk_size", "norm_before_gate", "time_step_rank")
    settings.require(
        "time_step_limit", _NO_LIMIT, [0.0, {"__float__": "Infinity"}], [0.0, None], (0.0, math.inf)
    )
    size, inner = settings.count("head_dim", default=64), fields["ssm_expand"] * fields["embedding_dim"]
    settings.require("num_heads", inner // size)
    settings.require("intermediate_size", inner)
    return {
        **fields,
        **repeated_pattern(["mamba2"] * settings.num_layers()),
        "ssm_head_dim": size,
        "ssm_num_groups": settings.count("n_groups", default=8),
    }


def _write(config: ModelConfig) -> dict[str, Any]:
    size = config.resolved_ssm_head_dim
    return {
        **write_state_space(config, Mamba2().state_dim(config)),
        "head_dim": size,
        "num_heads": config.ssm_inner_dim // size,
        "n_groups": config.ssm_num_groups,
    }


def _weights(model: LanguageModel) -> Iterator[Weight]:
    yield from frame_weights(model, "backbone.embeddings.weight", "backbone.norm_f")
    for layer in stack_layers(model):
        prefix, mixer = f"backbone.layers.{layer.number}.mixer", layer.mixer
        yield norm(layer.mixer_norm, f"backbone.layers.{layer.number}.norm")
        yield norm(mixer.norm, f"{prefix}.norm")
        yield from convolution(mixer.conv1d, f"{prefix}.conv1d")
        yield dense(mixer.in_proj, f"{prefix}.in_proj")
        yield dense(mixer.out_proj, f"{prefix}.out_proj")
        for name in ("dt_bias", "A_log", "D"):
            yield Weight(getattr(mixer, name), (f"{prefix}.{name}",), SAME)


MAMBA2 = Family("mamba2", "Mamba2ForCausalLM", "mamba2", _read, _write, _weights, prefix="backbone.")
