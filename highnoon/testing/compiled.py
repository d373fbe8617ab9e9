"""Compiled forms of a function, under whichever backend Keras runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras


def compiled_forms(function: Callable[..., Any]) -> dict[str, Callable[..., Any]]:
    """Returns the compiled forms of a function of arrays: graph and XLA, or XLA alone under JAX."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return {"graph": tf.function(function), "xla": tf.function(function, jit_compile=True)}
    import jax

    return {"xla": jax.jit(function)}


def gradient_step(
    function: Callable[[], Any], variables: Sequence[keras.Variable], optimizer: keras.optimizers.Optimizer
) -> Callable[[], float]:
    """Returns a compiled step that moves `variables` down the scalar `function()` and returns its value."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        @tf.function
        def step() -> Any:
            with tf.GradientTape() as tape:
                value = function()
            gradients = tape.gradient(value, [variable.value for variable in variables])
            optimizer.apply([tf.convert_to_tensor(g) for g in gradients], variables)
            return value

        return lambda: float(step())
    import jax

    def stateless(values: Any) -> Any:
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
            return function()

    compiled = jax.jit(jax.value_and_grad(stateless))

    def jax_step() -> float:
        value, gradients = compiled([variable.value for variable in variables])
        optimizer.apply(gradients, variables)
        return float(value)

    return jax_step
