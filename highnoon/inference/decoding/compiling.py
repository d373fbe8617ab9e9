"""Functions of a model, compiled for the Keras backend; the only backend-specific file here."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable
from typing import Any

import keras

from highnoon.layers.graph_function import graph_function


def compile_for(model: Any, function: Callable[..., Any], jit_compile: bool) -> Callable[..., Any]:
    """Returns `lambda *args: function(model, *args)`, compiled once for each shape of `args`.

    The result reads the model's weights at every call, and does not keep the model alive.

    Args:
        model: A model whose weights `function` reads.
        function: Takes the model and nested structures of arrays; returns a nested structure.
        jit_compile: Whether to use XLA under TensorFlow; JAX always does.

    Raises:
        NotImplementedError: the backend is neither TensorFlow nor JAX.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        return _compile_tensorflow(model, function, jit_compile)
    if backend == "jax":
        return _compile_jax(model, function)
    raise NotImplementedError(f"generation runs on the tensorflow and jax backends; this is {backend!r}")


def _compile_tensorflow(model: Any, function: Callable[..., Any], jit_compile: bool) -> Callable[..., Any]:
    reference = weakref.ref(model)
    return graph_function(lambda *args: function(reference(), *args), jit_compile=jit_compile)


def _compile_jax(model: Any, function: Callable[..., Any]) -> Callable[..., Any]:
    import jax

    reference = weakref.ref(model)

    # Weights are arguments: otherwise a traced function would keep those of its first call.
    def stateless(values: list[Any], *args: Any) -> Any:
        owner = reference()
        assert owner is not None
        with keras.StatelessScope(state_mapping=list(zip(owner.variables, values, strict=True))):
            return function(owner, *args)

    compiled = jax.jit(stateless)

    def call(*args: Any) -> Any:
        owner = reference()
        assert owner is not None
        return compiled([variable.value for variable in owner.variables], *args)

    return call


@dataclasses.dataclass(frozen=True)
class Shape:
    """The shape of an array, as one leaf of a nested structure, in which a tuple would be a branch."""

    dims: tuple[int, ...]


def shapes_of(function: Callable[[], Any]) -> Any:
    """Returns the nested structure that `function` would return, each array as its `Shape`.

    Nothing is computed or allocated.

    Raises:
        NotImplementedError: the backend is neither TensorFlow nor JAX.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        with tf.Graph().as_default():
            arrays = function()
    elif backend == "jax":
        import jax

        arrays = jax.eval_shape(function)
    else:
        raise NotImplementedError(f"generation runs on the tensorflow and jax backends; this is {backend!r}")
    return keras.tree.map_structure(lambda array: Shape(tuple(array.shape)), arrays)
