"""What a compiled function of a model has fixed: layers, variables, dtypes, LoRA and quantization."""

from __future__ import annotations

import inspect
import operator
import types
import weakref
from collections.abc import Iterable
from typing import Any

import keras

_SCALARS = frozenset((bool, int, float, str, type(None)))
# Settings that Keras changes after a layer was constructed, besides its constructor's arguments.
_STATE = ("lora_enabled", "lora_rank", "lora_alpha", "_is_quantized", "_int4_block_size")
_IGNORED = frozenset(("self", "name", "trainable", "kwargs", "args"))


class ModelStructure:
    """A snapshot of everything in a model that a compiled function reads once, when it is traced.

    That is the identity of every layer and variable, each layer's dtype policy, LoRA and quantization
    state, and the numbers, strings and functions that its constructor received. Values of variables are not
    part of it: a compiled function reads them at every call.

    Args:
        model: A Keras model, or any object that contains layers or variables. The snapshot does not keep
            the model alive.

    Example:

    ```python
    import keras
    from highnoon.inference.model_structure import ModelStructure

    model = keras.Sequential([keras.layers.Dense(4)])
    model.build((None, 3))
    before = ModelStructure(model)
    model.layers[0].bias.assign([1, 2, 3, 4])
    assert before.matches(model)
    model.layers[0].enable_lora(2)
    assert not before.matches(model)
    ```
    """

    def __init__(self, model: Any) -> None:
        walk = _Walk(model)
        # References compare by identity: one to a dead object never equals one to a new object that took
        # its address.
        self._references, self._settings = walk.references, walk.settings

    def matches(self, model: Any) -> bool:
        """Whether the model's structure is still that of the snapshot."""
        now = _Walk(model)
        return (
            len(now.references) == len(self._references)
            and all(map(operator.is_, now.references, self._references))
            and now.settings == self._settings
        )


class _Walk:
    """Visits a model's layers in a fixed order, each once, and lists what it finds."""

    def __init__(self, model: Any) -> None:
        self.references: list[weakref.ref[Any]] = []
        self.settings: list[Any] = []
        self._seen: set[int] = set()
        self._is_tensorflow = keras.backend.backend() == "tensorflow"
        self._visit_owner(model)

    def _visit_owner(self, owner: Any) -> None:
        self.references.append(weakref.ref(owner))
        if id(owner) in self._seen:
            return
        self._seen.add(id(owner))
        attributes = vars(owner)
        if isinstance(owner, keras.Layer):
            self._add_dtype_policy(owner._dtype_policy)
            self.settings += [
                value if type(value) in _SCALARS else _frozen(value)
                for value in map(attributes.get, _setting_names(type(owner)))
            ]
        self._visit_all(attributes.values())

    def _visit_all(self, values: Iterable[Any]) -> None:
        for value in values:
            kind = _KINDS.get(type(value)) or _kind(type(value))
            if kind == "other":
                continue
            if kind == "owner":
                self._visit_owner(value)
            elif kind == "variable":
                self.references.append(weakref.ref(value))
                # TensorFlow's graphs capture the variable inside; JAX's is the value itself.
                if self._is_tensorflow and value._value is not None:
                    self.references.append(weakref.ref(value._value))
            elif id(value) not in self._seen:
                self._seen.add(id(value))
                self._visit_all(value.values() if kind == "dict" else value)

    def _add_dtype_policy(self, policy: Any) -> None:
        if not isinstance(policy, keras.dtype_policies.DTypePolicyMap):
            self.settings.append(policy.name)
        elif id(policy) not in self._seen:
            self._seen.add(id(policy))
            self.settings.append([(path, part.name) for path, part in policy.items()])


def _frozen(value: Any) -> Any:
    """The value of a setting that is a function or a sequence of scalars; None for any other object."""
    if isinstance(value, types.FunctionType):
        return value
    if isinstance(value, (list, tuple)) and all(type(item) in _SCALARS for item in value):
        return tuple(value)
    return None


_KINDS: dict[type, str] = {}
_SETTING_NAMES: dict[type, tuple[str, ...]] = {}


def _kind(cls: type) -> str:
    """How to visit a value of a class: `"owner"`, `"variable"`, `"dict"`, `"list"` or `"other"`."""
    if issubclass(cls, keras.Layer):
        kind = "owner"
    elif issubclass(cls, keras.Variable):
        kind = "variable"
    elif issubclass(cls, dict):
        kind = "dict"
    else:
        kind = "list" if issubclass(cls, (list, tuple)) else "other"
    return _KINDS.setdefault(cls, kind)


def _setting_names(cls: type) -> tuple[str, ...]:
    """The attributes of a layer class in which its constructor's arguments are kept."""
    if cls not in _SETTING_NAMES:
        bases = [base for base in cls.__mro__ if issubclass(base, keras.Layer) and base is not keras.Layer]
        signatures = [inspect.signature(vars(base)["__init__"]) for base in bases if "__init__" in vars(base)]
        names = {name for signature in signatures for name in signature.parameters}
        _SETTING_NAMES[cls] = (*_STATE, *sorted(names - _IGNORED))
    return _SETTING_NAMES[cls]
