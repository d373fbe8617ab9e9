"""Which model an adapter belongs to: hashes of the configuration and of the weights without factors."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

import keras
import numpy as np

from highnoon.config import ModelConfig
from highnoon.models.arrays import variable_names
from highnoon.models.causal_lm import LanguageModel
from highnoon.models.lora_factors import factor_names, layers_with_factors


def base_identity(model: LanguageModel) -> dict[str, str]:
    """Returns the hashes of a model's configuration and of its weights without LoRA factors.

    Every weight is read once, one at a time. A field of the configuration that has its default is left out,
    so that a later version with more fields gives the same hash.
    """
    return {"config": config_hash(model.config), "weights": base_hash(model)}


def config_hash(config: ModelConfig) -> str:
    """Returns a hash of the fields that differ from their defaults."""
    given = {
        field.name: getattr(config, field.name)
        for field in dataclasses.fields(config)
        if getattr(config, field.name) != field.default
    }
    return hashlib.blake2b(json.dumps(given, sort_keys=True).encode(), digest_size=16).hexdigest()


def base_hash(model: LanguageModel) -> str:
    """Returns a hash of the weights without LoRA factors: their names, types, shapes and values."""
    state = hashlib.blake2b(digest_size=16)
    variables = _base_variables(model)
    for name, variable in zip(variable_names(variables), variables, strict=True):
        array = np.ascontiguousarray(keras.ops.convert_to_numpy(variable.value))
        state.update(f"{name} {array.dtype} {array.shape}\n".encode())
        state.update(array.view(np.uint8).reshape(-1).data)
    return state.hexdigest()


def _base_variables(model: LanguageModel) -> list[Any]:
    factors = {
        id(getattr(layer, name))
        for layer in layers_with_factors(model.backbone).values()
        for name in factor_names(layer)
    }
    return [variable for variable in model.weights if id(variable) not in factors]
