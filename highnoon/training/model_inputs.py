"""What a model of others is called with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from highnoon.config import ConfigError

_KNOWN = ("token_ids", "padding_mask", "segment_ids")


def model_inputs(model: Any, batch: Mapping[str, Any]) -> Any:
    """Returns token ids and padding mask in the form that a model takes.

    A functional model gets the inputs that it names among `token_ids`, `padding_mask` and `segment_ids` (all
    zeros: a row is one text), in the structure that it was made with; its only input gets the token ids,
    whatever its name. A subclassed model gets the token ids alone if it was built on one array, else a dict
    of `token_ids` and `padding_mask`.

    Args:
        model: A Keras model, or a function of a dict.
        batch: `token_ids` and `padding_mask`, of shape (rows, tokens).

    Raises:
        ConfigError: a functional model has an input of another name, which is not its only one of integers.
    """
    arrays = {name: ops.convert_to_tensor(batch[name]) for name in ("token_ids", "padding_mask")}
    if not isinstance(model, keras.Model):
        return arrays
    structure = getattr(model, "_inputs_struct", None)
    if structure is None:
        return arrays["token_ids"] if _is_built_on_one_array(model) else arrays
    arrays["segment_ids"] = ops.zeros_like(arrays["token_ids"])
    if isinstance(structure, keras.KerasTensor):
        return _cast(arrays["token_ids"], structure)
    if isinstance(structure, Mapping):
        return {name: _cast(_known(arrays, name, structure), of) for name, of in structure.items()}
    return [_cast(_known(arrays, tensor.name, structure), tensor) for tensor in structure]


def _is_built_on_one_array(model: keras.Model) -> bool:
    """Whether the first call of a model, which built it, had an array and not a dict."""
    shape = (model.get_build_config() or {}).get("input_shape")
    return isinstance(shape, (tuple, list)) and all(isinstance(size, (int, type(None))) for size in shape)


def _known(arrays: Mapping[str, Any], name: str, structure: Any) -> Any:
    if name not in arrays:
        only = list(structure.values() if isinstance(structure, Mapping) else structure)
        if len(only) == 1 and len(only[0].shape) == 2 and "int" in only[0].dtype:
            return arrays["token_ids"]
        raise ConfigError(
            f"the inputs of a model must be among {', '.join(_KNOWN)}; received a model with the input "
            f"`{name}`"
        )
    return arrays[name]


def _cast(array: Any, tensor: Any) -> Any:
    return ops.cast(array, tensor.dtype)
