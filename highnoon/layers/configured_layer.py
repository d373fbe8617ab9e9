"""A layer whose configuration follows from its constructor's signature."""

from __future__ import annotations

import inspect
from typing import Any

import keras
import numpy as np

_SKIPPED = ("self", *inspect.signature(keras.layers.Layer.__init__).parameters)


class ConfiguredLayer(keras.layers.Layer):
    """A layer that derives `get_config` from its constructor: each argument once, in the signature.

    The configuration holds every argument as it was given, or its default. Numbers, texts, booleans, None
    and lists or dicts of them stay as they are; an initializer, a router or any other object with a
    `get_config` is serialized by Keras. The constructor must accept the serialized form of such an argument,
    as `keras.initializers.get` does.

    Keras derives configurations too, but gives up where an argument is an object or a dtype policy is set.

    Example:

    ```python
    from highnoon.layers.configured_layer import ConfiguredLayer

    class Scale(ConfiguredLayer):
        def __init__(self, factor=2.0, **kwargs):
            super().__init__(**kwargs)
            self.factor = factor

        def call(self, x):
            return self.factor * x

    assert Scale.from_config(Scale(3.0).get_config()).factor == 3.0
    ```
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> ConfiguredLayer:
        layer = super().__new__(cls, *args, **kwargs)
        # Not by `setattr`: Keras would track the values and wrap lists and dicts.
        object.__setattr__(layer, "_given_arguments", _bind(cls, args, kwargs))
        return layer

    def get_config(self) -> dict[str, Any]:
        arguments = {}
        for name, value in self._given_arguments.items():
            # An initializer given by its name is described in full, as Keras does it.
            made = getattr(self, name, None) if isinstance(value, str) else None
            arguments[name] = _plain(made if hasattr(made, "get_config") else value)
        return {**keras.layers.Layer.get_config(self), **arguments}


def _bind(cls: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The constructor's arguments by name, without those that Keras's own `Layer` takes."""
    signature = inspect.signature(cls.__init__)
    try:
        bound = signature.bind(None, *args, **kwargs)
    except TypeError:
        return {}  # the constructor, which runs next, raises the same error under its own name
    bound.apply_defaults()
    arguments: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        is_rest = signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD
        arguments.update(value if is_rest else {name: value})
    return {name: value for name, value in arguments.items() if name not in _SKIPPED}


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return keras.saving.serialize_keras_object(value)
