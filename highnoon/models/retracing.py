"""Traces Keras's `fit`, `evaluate` and `predict` again after a model's structure has changed."""

from __future__ import annotations

import functools
from typing import Any

from highnoon.inference.model_structure import ModelStructure

_FUNCTIONS = ("train_function", "test_function", "predict_function")


def retraces_when_changed(cls: type) -> type:
    """Makes a model class trace its functions again after `enable_lora`, `quantize` or replaced layers.

    Keras reuses the first trace until `compile`, and a trace computes with the layers and variables that
    it was made with. A mixin cannot do this: Keras replaces the bases of functional models.

    Args:
        cls: A subclass of `keras.Model`.

    Example:

    ```python
    import keras
    from highnoon.models.retracing import retraces_when_changed

    @retraces_when_changed
    class Classifier(keras.Model):
        pass
    ```
    """
    for name in _FUNCTIONS:
        setattr(cls, f"make_{name}", _fresh(getattr(cls, f"make_{name}")))
    return cls


def _fresh(make: Any) -> Any:
    @functools.wraps(make)
    def make_fresh(self: Any, *args: Any, **kwargs: Any) -> Any:
        traced = getattr(self, "_traced_structure", None)
        if traced is None or not traced.matches(self):
            for name in _FUNCTIONS:
                setattr(self, name, None)
            self._traced_structure = ModelStructure(self)
        return make(self, *args, **kwargs)

    return make_fresh
