"""Runs blocks in training: compiled once for all blocks, or recomputed to save memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops


class BlockCalls:
    """Runs the blocks of one model as functions of their weights (TensorFlow only).

    Blocks that differ in the values of their weights alone share one function, so that a deep model is
    traced and compiled as fast as one block. State that a block changes while it runs, such as that of its
    dropout, changes once a call.

    Args:
        compiles: Whether XLA compiles the block's mixers. Feed-forwards are matrix products that gain nothing
            from it (on CPU they lose a fifth), and mixtures of experts need shapes that depend on the load.
        recomputes: Whether only a block's input is stored for the gradient, which runs the block again with
            the same dropout.

    Raises:
        NotImplementedError: the backend is not TensorFlow.

    Recomputation: Chen et al. 2016 (arXiv:1604.06174), section 3, with one segment a block.
    """

    def __init__(self, compiles: bool, recomputes: bool) -> None:
        if keras.backend.backend() != "tensorflow":
            # JAX's own checkpoint rejects custom gradients that close over values, such as those of gathers.
            raise NotImplementedError(
                "gradient checkpointing and compiled blocks run on the tensorflow backend; this is "
                f"{keras.backend.backend()!r}. Train without them, or set KERAS_BACKEND=tensorflow"
            )
        self._compiles = compiles
        self._recomputes = recomputes
        self._functions: dict[Any, _PureCall] = {}

    def __call__(
        self,
        block: keras.layers.Layer,
        x,
        training: bool | None = None,
        level: int | None = None,
        **tensors: Any,
    ):
        """Returns `block(x, training=training, **tensors)`, a nest of floating point tensors.

        A block that depends on its index in the stack is given it as `level`, and has a function for each.
        """
        variables = _variables([block])
        kind = (training, level, *((tuple(v.shape), v.dtype, v.trainable) for v in variables))
        if kind not in self._functions:
            options = {"training": training, **({"run_mixer": _compiled_mixer} if self._compiles else {})}
            options |= {} if level is None else {"level": level}
            self._functions[kind] = _PureCall(
                lambda x, tensors: block(x, **options, **tensors),
                variables,
                wrap=_graph_function if self._compiles else None,
                recomputes=self._recomputes,
            )
        return self._functions[kind](variables, x, tensors)


def _compiled_mixer(layers: Sequence[keras.layers.Layer], function: Callable[..., Any], x):
    """Returns `function(x)`, compiled by XLA; it reads and changes only the variables of `layers`."""
    variables = _variables(layers)
    return _PureCall(lambda x, _: function(x), variables, wrap=xla_function)(variables, x, {})


class _PureCall:
    """A function of the values of some variables, for any variables of the same shapes and dtypes."""

    def __init__(self, function, variables: Sequence[keras.Variable], wrap=None, recomputes=False) -> None:
        self._function, self._variables = function, variables
        self._recomputes = recomputes
        self._run = wrap(self._plain) if wrap else self._plain

    def __call__(self, variables: Sequence[keras.Variable], x, tensors: dict[str, Any]):
        """Runs with the values of `variables`, and assigns the values that changed."""
        # Read here: the recomputation must not see what the first run changed.
        values = [ops.copy(variable) for variable in variables]
        if self._recomputes:
            outputs, changed = _recomputed(lambda x, *values: self._run(list(values), x, tensors), x, *values)
        else:
            outputs, changed = self._run(values, x, tensors)
        for index, value in changed.items():
            variables[index].assign(value)
        return outputs

    def _plain(self, values: list[Any], x, tensors: dict[str, Any]):
        pairs = zip(self._variables, values, strict=True)
        # `stop_gradient`: frozen weights need no gradient.
        given = [(v, value if v.trainable else ops.stop_gradient(value)) for v, value in pairs]
        with keras.StatelessScope(state_mapping=given) as scope:
            outputs = self._function(x, tensors)
        after = [scope.get_current_value(variable) for variable in self._variables]
        return outputs, {
            index: new
            for index, (new, (_, old)) in enumerate(zip(after, given, strict=True))
            if new is not old
        }


def _variables(layers: Sequence[keras.layers.Layer]) -> list[keras.Variable]:
    """The layers' variables, and the counters that they add to during a step, which are no weights."""
    parts = [part for layer in layers for part in layer._flatten_layers()]
    counters = [v for part in parts for v in getattr(part, "step_variables", [])]
    return [v for layer in layers for v in layer.variables] + counters


def _graph_function(function: Callable[..., Any]) -> Callable[..., Any]:
    import tensorflow as tf

    return tf.function(function, autograph=False)


def xla_function(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns the function compiled by XLA, to be called inside a TensorFlow graph or alone."""
    import tensorflow as tf

    return tf.function(function, jit_compile=True, autograph=False)


def _recomputed(run: Callable[..., Any], *inputs):
    import tensorflow as tf

    seen: list[
        Any
    ] = []  # of the first run: its structure, and the changed state, which is not floating point

    # TensorFlow watches all inputs, and warns of those that are not floating point: dropout's states.
    floating = [index for index, value in enumerate(inputs) if value.dtype.is_floating]

    def floats(*values):
        given = dict(zip(floating, values, strict=True))
        outputs, changed = run(*(given.get(index, value) for index, value in enumerate(inputs)))
        if not seen:
            seen.extend([outputs, changed])
        return keras.tree.flatten(outputs)

    flat = tf.recompute_grad(floats)(*(inputs[index] for index in floating))
    return keras.tree.pack_sequence_as(seen[0], flat), seen[1]
