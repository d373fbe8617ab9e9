"""Mamba: models of selective state spaces alone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import keras

from highnoon.config import ModelConfig
from highnoon.models.causal_lm import LanguageModel
from highnoon.models.hugging_face.family import Family, layer_kinds, repeated_pattern
from highnoon.models.hugging_face.settings import Settings
from highnoon.models.hugging_face.stack_weights import dense, frame_weights, norm, stack_layers
from highnoon.models.hugging_face.tensor_rules import CONVOLUTION, SAME, Weight
from highnoon.models.parts.mamba import Mamba


def read_state_space(settings: Settings, tied: bool) -> dict[str, Any]:
    """Returns the fields that both Mambas share; `tied` is the default of `tie_embeddings`."""
    settings.require("hidden_act", "silu")
    settings.require("use_bias", False)
    settings.require("use_conv_bias", True)
    settings.require("rms_norm", True)
    # Initialization, choices among equal computations, and repetitions of other settings.
    settings.ignore(
        "time_step_min",
        "time_step_max",
        "time_step_floor",
        "time_step_scale",
        "time_step_init_scheme",
        "rescale_prenorm_residual",
        "residual_in_fp32",
        "use_mambapy",
        "use_associative_scan",
        "fused_add_norm",
        "pad_vocab_size_multiple",
        "ssm_cfg",
        "d_model",
        "d_inner",
        "n_layer",
    )
    return {
        "vocab_size": settings.count("vocab_size"),
        "embedding_dim": settings.count("hidden_size"),
        "max_seq_length": settings.count("max_position_embeddings", default=ModelConfig.max_seq_length),
        "state_dim": settings.count("state_size"),
        "ssm_expand": settings.count("expand", default=2),
        "conv_kernel_size": settings.count("conv_kernel", default=4),
        "norm_epsilon": settings.number("layer_norm_epsilon", default=1e-5),
        "tie_embeddings": settings.flag("tie_word_embeddings", default=tied),
    }


def write_state_space(config: ModelConfig, state_dim: int) -> dict[str, Any]:
    """Returns the settings that both Mambas share."""
    return {
        "vocab_size": config.vocab_size,
        "hidden_size": config.embedding_dim,
        "num_hidden_layers": len(layer_kinds(config)),
        "max_position_embeddings": config.max_seq_length,
        "state_size": state_dim,
        "expand": config.ssm_expand,
        "conv_kernel": config.conv_kernel_size,
        "layer_norm_epsilon": config.norm_epsilon,
        "tie_word_embeddings": config.tie_embeddings,
        "hidden_act": "silu",
        "use_bias": False,
        "use_conv_bias": True,
    }


def convolution(layer: keras.Layer, name: str) -> Iterator[Weight]:
    yield Weight(layer.kernel, (f"{name}.weight",), CONVOLUTION)
    yield Weight(layer.bias, (f"{name}.bias",), SAME)


def _read(settings: Settings) -> dict[str, Any]:
    fields = read_state_space(settings, tied=True)
    width = fields["embedding_dim"]
    settings.require("intermediate_size", fields["ssm_expand"] * width)
    rank = settings.text_or_count("time_step_rank", "auto")
    return {
        **fields,
        **repeated_pattern(["mamba"] * settings.num_layers()),
        "ssm_time_step_rank": math.ceil(width / 16) if rank is None else rank,
    }


def _write(config: ModelConfig) -> dict[str, Any]:
    return {
        **write_state_space(config, Mamba().state_dim(config)),
        "intermediate_size": config.ssm_inner_dim,
        "time_step_rank": Mamba().time_step_rank(config),
    }


def _weights(model: LanguageModel) -> Iterator[Weight]:
    yield from frame_weights(model, "backbone.embeddings.weight", "backbone.norm_f")
    for layer in stack_layers(model):
        prefix, mixer = f"backbone.layers.{layer.number}.mixer", layer.mixer
        yield norm(layer.mixer_norm, f"backbone.layers.{layer.number}.norm")
        yield from convolution(mixer.conv1d, f"{prefix}.conv1d")
        for name in ("in_proj", "x_proj", "dt_proj", "out_proj"):
            yield dense(getattr(mixer, name), f"{prefix}.{name}")
        yield Weight(mixer.dt_bias, (f"{prefix}.dt_proj.bias",), SAME)
        yield Weight(mixer.A_log, (f"{prefix}.A_log",), SAME)
        yield Weight(mixer.D, (f"{prefix}.D",), SAME)


MAMBA = Family("mamba", "MambaForCausalLM", "mamba", _read, _write, _weights, prefix="backbone.")
