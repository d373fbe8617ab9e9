"""Names of activations in published configurations."""

from __future__ import annotations

from highnoon.config import ModelConfig
from highnoon.models.hugging_face.settings import Settings

_NAMES = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
}
_PUBLISHED = {"silu": "silu", "gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh", "relu": "relu"}


def read_activation(settings: Settings, name: str, default: str) -> str:
    """Returns the activation, `ffn_activation`, under a setting's name; `default` where it is absent."""
    others = [one for one in _NAMES if one != default]
    return _NAMES[settings.require(name, default, *others)]


def write_activation(config: ModelConfig) -> str:
    return _PUBLISHED[config.ffn_activation]
