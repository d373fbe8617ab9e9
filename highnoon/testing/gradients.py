"""Gradients of a function of arrays, on the backend in use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from highnoon.layers.report import split_report


def value_and_gradients(
    function: Callable[..., Any], *arrays: Any, compiled: bool = False
) -> tuple[float, list[np.ndarray]]:
    """Returns a scalar function's value and its gradients by each array.

    Args:
        function: Takes tensors, returns a scalar tensor; under JAX it must not assign to variables.
        *arrays: Float arrays.
        compiled: Whether it runs through XLA; under JAX it always does.

    Raises:
        RuntimeError: the backend has no automatic differentiation here.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tensors = [tf.convert_to_tensor(array) for array in arrays]

        def run(*tensors: Any) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(tensors)
                value = function(*tensors)
            return value, tape.gradient(value, tensors)

        value, gradients = (tf.function(run, jit_compile=True) if compiled else run)(*tensors)
    elif keras.backend.backend() == "jax":
        import jax

        run = jax.jit(jax.value_and_grad(function, argnums=tuple(range(len(arrays)))))
        value, gradients = run(*map(jax.numpy.asarray, arrays))
    else:
        raise RuntimeError(f"no gradients on the backend {keras.backend.backend()!r}; use tensorflow or jax")
    return float(value), [np.asarray(gradient) for gradient in gradients]


def layer_gradients(
    layer: keras.Layer, x: Any, target: Any, compiled: bool = False, **inputs: Any
) -> dict[str, np.ndarray]:
    """Returns the gradients of sum(target * layer(x)) by `x` and by each trainable weight's path.

    Example:

    ```python
    import keras
    import numpy as np
    from highnoon.testing.gradients import layer_gradients

    x = np.ones((2, 3), "float32")
    gradients = layer_gradients(keras.layers.Dense(4), x, np.ones((2, 4), "float32"))
    assert gradients["x"].shape == (2, 3)
    ```
    """
    layer(x, **inputs)
    weights = layer.trainable_variables
    others = [variable.value for variable in layer.non_trainable_variables]

    def loss(x: Any, *values: Any) -> Any:
        y, _ = layer.stateless_call(list(values), others, x, **inputs)
        y, _ = split_report(y)
        return keras.ops.sum(keras.ops.cast(y, "float32") * target)

    values = [keras.ops.convert_to_numpy(weight) for weight in weights]
    _, gradients = value_and_gradients(loss, x, *values, compiled=compiled)
    return dict(zip(["x", *(weight.path for weight in weights)], gradients, strict=True))
