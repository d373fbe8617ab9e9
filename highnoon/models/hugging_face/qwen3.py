"""Qwen3, dense: Qwen2 with norms on queries and keys in place of biases."""

from __future__ import annotations

from typing import Any

from highnoon.config import ModelConfig
from highnoon.models.hugging_face.attention_settings import read_heads
from highnoon.models.hugging_face.family import Family
from highnoon.models.hugging_face.llama import dense_stack_weights
from highnoon.models.hugging_face.qwen2 import read_dense, write_dense
from highnoon.models.hugging_face.settings import Settings

_HEAD_DIM = 128  # the default of config.json


def _read(settings: Settings) -> dict[str, Any]:
    has_bias = settings.flag("attention_bias", default=False)
    return {
        **read_dense(settings),
        **read_heads(settings, _HEAD_DIM),
        "qk_norm": True,
        "attention_bias": "all" if has_bias else "none",
    }


def _write(config: ModelConfig) -> dict[str, Any]:
    return {**write_dense(config), "attention_bias": config.attention_bias == "all"}


QWEN3 = Family(
    "qwen3",
    "Qwen3ForCausalLM",
    "attention+mlp and sliding_attention+mlp with qk_norm=True",
    _read,
    _write,
    dense_stack_weights,
)
