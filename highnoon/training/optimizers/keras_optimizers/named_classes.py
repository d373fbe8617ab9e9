"""The names of classes of optimizers and schedules in saved runs, and the classes of these names."""

from __future__ import annotations

from typing import Any

import keras

from highnoon.config import ConfigError
from highnoon.config.optimizer_choice import SEPARATOR
from highnoon.files.nearest_name import nearest_name
from highnoon.files.shown import shown

_GIVEN: dict[str, type] = {}
"""Classes that this process was given as objects, by name: a saved run names classes and imports none."""


def name_of_class(cls: type, namespace: Any) -> str:
    """Returns the name under which `class_of_name` finds a class again.

    Args:
        cls: A class.
        namespace: The module of Keras that has Keras's own, such as `keras.optimizers`.
    """
    if getattr(namespace, cls.__name__, None) is cls:
        return cls.__name__
    registered = keras.saving.get_registered_name(cls)
    name = registered if SEPARATOR in registered else f"{cls.__module__}{SEPARATOR}{cls.__qualname__}"
    _GIVEN[name] = cls
    return name


def class_of_name(name: str, namespace: Any, base: type) -> Any:
    """Returns the class of a name.

    Args:
        name: Of a class of Keras, or `package>name` of one that is registered or that this process was given.
        namespace: The module of Keras that has Keras's own.
        base: What it must derive from.

    Raises:
        ConfigError: there is none.
    """
    if SEPARATOR in name:
        found = _GIVEN.get(name) or keras.saving.get_registered_object(name)
        remedy = (
            "pass the object, as in Trainer(optimizer=...), or register its class with "
            "@keras.saving.register_keras_serializable() first"
        )
    else:
        found = getattr(namespace, name, None)
        near = nearest_name(name, [known for known in dir(namespace) if known[0].isupper()])
        remedy = f"did you mean `{near}`?" if near else f"see `{namespace.__name__}`"
    if not isinstance(found, type) or not issubclass(found, base):
        raise ConfigError(f"there is no {base.__name__} {shown(name)} here; {remedy}")
    return found
