"""What every layer must pass. Each check is a function; `check_layer` calls them all.

A layer's own test adds what only it can know: a naive reference, and what bad arguments raise. A mixer
passes `check_mixer` too.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Collection, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from highnoon.testing.compiled import compiled_forms
from highnoon.testing.gradients import value_and_gradients
from highnoon.testing.slopes import check_slopes

Inputs = Mapping[str, np.ndarray]
_FROM_BASE = {"self", "kwargs"}


def check_layer(
    cls: type[keras.Layer], init: Mapping[str, Any], inputs: Inputs, fixed: Collection[str] = ()
) -> None:
    """Runs every check on a layer.

    Args:
        cls: The layer's class.
        init: Every constructor argument, each at a value other than its default.
        inputs: Call inputs by name, the features (b, t, d) float32 first; at least 2 rows of 4 tokens.
        fixed: Constructor arguments that have one legal value, which `init` gives.

    Raises:
        AssertionError: a check failed; the message says which and by how much.
    """
    check_config(cls, init, fixed)
    check_build_leaves_config(cls, init, inputs)
    check_inference_is_deterministic(cls, init, inputs)
    check_output_form(cls, init, inputs)
    check_bfloat16(cls, init, inputs)
    check_gradients(cls, init, inputs)
    check_causality(cls, init, inputs)
    check_batch_mates(cls, init, inputs)
    check_segments(cls, init, inputs)
    check_compiled_forms(cls, init, inputs)
    check_sizes(cls, init, inputs)


def check_config(cls: type[keras.Layer], init: Mapping[str, Any], fixed: Collection[str] = ()) -> None:
    """Every constructor argument, away from its default, survives JSON and `from_config`."""
    parameters = inspect.signature(cls.__init__).parameters
    expected = set(parameters) - _FROM_BASE
    assert set(init) == expected, f"`init` must give {sorted(expected)}; it gives {sorted(init)}"
    for name, value in init.items():
        is_other = name in fixed or value != parameters[name].default
        assert is_other, f"`{name}` is at its default {value!r}; choose another"
    config = cls(**init).get_config()
    again = cls.from_config(json.loads(json.dumps(config))).get_config()
    assert again == config, f"from_config changed {_differences(config, again)}"
    plain = cls(**{name: init[name] for name in init if parameters[name].default is inspect.Parameter.empty})
    for name in set(init) - set(fixed):
        is_optional = parameters[name].default is not inspect.Parameter.empty
        assert not is_optional or plain.get_config()[name] != config[name], f"get_config ignores `{name}`"


def check_build_leaves_config(cls: type[keras.Layer], init: Mapping[str, Any], inputs: Inputs) -> None:
    """Building and calling change nothing in the configuration."""
    layer = cls(**init)
    before = json.dumps(layer.get_config(), sort_keys=True)
    run(layer, inputs)
    after = json.dumps(layer.get_config(), sort_keys=True)
    assert before == after, f"calling changed the configuration from {before} to {after}"


def check_output_form(cls: type[keras.Layer], init: Mapping[str, Any], inputs: Inputs) -> None:
    """Shape and dtype are those of the features, and those that the layer promises symbolically."""
    layer = cls(**init)
    y, features = run(layer, inputs), _features(inputs)
    assert y.shape == features.shape, f"shape {features.shape} became {y.shape}"
    assert y.dtype == np.float32, f"float32 became {y.dtype}"
    symbols = [keras.KerasTensor(value.shape, str(value.dtype)) for value in inputs.values()]
    promised = _caller(layer, inputs, False)(*symbols)
    assert tuple(promised.shape) == y.shape, f"compute_output_spec promised {promised.shape}, came {y.shape}"
    assert promised.dtype == "float32", f"compute_output_spec promised {promised.dtype}"


def check_bfloat16(cls: type[keras.Layer], init: Mapping[str, Any], inputs: Inputs) -> None:
    """Under mixed_bfloat16 outputs are finite bfloat16, variables float32, values near those of float32."""
    exact = cls(**init)
    reference = run(exact, inputs)
    layer = cls(**init, dtype="mixed_bfloat16")
    run(layer, inputs)
    for ours, theirs in zip(layer.weights, exact.weights, strict=True):
        assert ours.dtype == "float32", f"{ours.path} is {ours.dtype}"
        ours.assign(theirs)
    y = _caller(layer, inputs, False)(*inputs.values())
    dtype = keras.backend.standardize_dtype(y.dtype)
    assert dtype == "bfloat16", f"the output is {dtype}"
    y = ops.convert_to_numpy(ops.cast(y, "float32"))
    assert np.isfinite(y).all(), "the output is not finite"
    error = np.mean(np.abs(y - reference)) / np.mean(np.abs(reference))
    assert error < 0.05, f"bfloat16 is off by {error:.1%} of the mean output"


def check_inference_is_deterministic(cls: type[keras.Layer], init: Mapping[str, Any], inputs: Inputs) -> None:
    """Two calls without training give the same bits."""
    layer = cls(**init)
    np.testing.assert_array_equal(run(layer, inputs), run(layer, inputs))


def check_gradients(cls: type[keras.Layer], init: Mapping[str, Any], inputs: Inputs) -> None:
    """Every weight and the features get the gradient that is the loss's slope, finite and not zero.

    The loss is the mean squared distance from a random target.
    """
    layer = cls(**init)
    target = np.random.default_rng(1).normal(size=run(layer, inputs).shape).astype("float32")
    weights = layer.trainable_variables
    call = _caller(layer, inputs, False)
    others = list(inputs.values())[1:]

    def loss(x: Any, *values: Any) -> Any:
        with keras.StatelessScope(state_mapping=list(zip(weights, values, strict=True))):
            y = call(x, *others)
        # An array without any path to the output would have no gradient; this gives it one of zero.
        return ops.mean(ops.square(y - target)) + sum(ops.sum(value) * 0 for value in (x, *values))

    values = [ops.convert_to_numpy(weight) for weight in weights]
    _, gradients = value_and_gradients(loss, _features(inputs), *values)
    paths = ["the features", *(weight.path for weight in weights)]
    for path, gradient in zip(paths, gradients, strict=True):
        assert np.isfinite(gradient).all(), f"the gradient of {path} is not finite"
        assert np.abs(gradient).max() > 0, f"the gradient of {path} is zero"
    value = loss if keras.backend.backend() == "tensorflow" else compiled_forms(loss)["xla"]
    check_slopes(value, [_features(inputs), *values], gradients, paths)


def check_causality(cls: type[keras.Layer], init: Mapping[str, Any], inputs: Inputs) -> None:
    """Changing x[t+1:] leaves y[:t+1] as it was, at several t, with and without training."""
    layer = cls(**{**init, **({"dropout": 0.0} if "dropout" in init else {})})
    features = _features(inputs)
    length = features.shape[1]
    for training in (False, True):
        y = run(layer, inputs, training=training)
        for last in sorted({0, length // 2, length - 2}):
            changed = features.copy()
            changed[:, last + 1 :] = np.random.default_rng(last).normal(size=changed[:, last + 1 :].shape) * 3
            other = run(layer, _with_features(inputs, changed), training=training)
            cut = last + 1
            assert np.abs(other[:, cut:] - y[:, cut:]).max() > 1e-4, "the change had no effect at all"
            _assert_close(other[:, :cut], y[:, :cut], f"tokens after {last} change earlier outputs")


def check_segments(cls: type[keras.Layer], init: Mapping[str, Any], inputs: Inputs) -> None:
    """Where the layer takes `segment_ids` or `padding_mask`, tokens behind them change nothing.

    Other values at one segment, or at padding, leave the outputs of the other segments as they were. Outputs
    at padding are finite.
    """
    parameters = inspect.signature(cls.call).parameters
    layer = cls(**{**init, **({"dropout": 0.0} if "dropout" in init else {})})
    features = _features(inputs)
    rows, length = features.shape[:2]
    first, second = length // 3, length - length // 4
    segments = np.zeros((rows, length), "int32")
    segments[:, :first], segments[:, first:second] = 1, 2
    masks = {"segment_ids": segments, "padding_mask": segments > 0}
    for name in set(masks) & set(parameters):
        given = {**inputs, name: masks[name]}
        groups = segments if name == "segment_ids" else (segments > 0).astype("int32")
        y = run(layer, given)
        assert np.isfinite(y).all(), "outputs at padding are not finite"
        for group in np.unique(groups):
            changed = np.where((groups == group)[..., None], features * 3 + 1, features)
            other = run(layer, _with_features(given, changed.astype(features.dtype)))
            outside = (groups != group) & (groups > 0)
            what = f"segment {group}" if group else "padding"
            _assert_close(other[outside], y[outside], f"by `{name}`, {what} changes other tokens")


def check_batch_mates(cls: type[keras.Layer], init: Mapping[str, Any], inputs: Inputs) -> None:
    """A row gives the same alone and in a batch, with and without training."""
    layer = cls(**{**init, **({"dropout": 0.0} if "dropout" in init else {})})
    for training in (False, True):
        y = run(layer, inputs, training=training)
        for row in range(len(y)):
            single = {name: value[row : row + 1] for name, value in inputs.items()}
            alone = run(layer, single, training=training)
            _assert_close(alone[0], y[row], f"row {row} depends on its batch mates (training={training})")


def check_compiled_forms(cls: type[keras.Layer], init: Mapping[str, Any], inputs: Inputs) -> None:
    """Eager, graph and XLA give the same."""
    layer = cls(**init)
    layer.build(_features(inputs).shape)
    call = _caller(layer, inputs, False)
    tensors = [ops.convert_to_tensor(value) for value in inputs.values()]
    y = ops.convert_to_numpy(call(*tensors))
    for form, compiled in compiled_forms(call).items():
        _assert_close(ops.convert_to_numpy(compiled(*tensors)), y, f"{form} differs from eager")


def check_sizes(cls: type[keras.Layer], init: Mapping[str, Any], inputs: Inputs) -> None:
    """One row, one token and odd sizes run, and give the same as the start of the longer input."""
    layer = cls(**init)
    y = run(layer, inputs)
    length = y.shape[1]
    for rows, tokens in ((1, length), (len(y), 1), (1, 1), (1, length - 1), (len(y), 3)):
        part = {name: value[:rows, :tokens] for name, value in inputs.items()}
        _assert_close(run(layer, part), y[:rows, :tokens], f"{rows} rows of {tokens} tokens differ")


def run(layer: keras.Layer, inputs: Inputs, training: bool = False) -> np.ndarray:
    """Returns the layer's (first) output as an array."""
    if not layer.built:
        layer.build(_features(inputs).shape)
    call = _caller(layer, inputs, training)
    if keras.backend.backend() == "jax":  # eager JAX compiles every operation by itself, for every shape
        call = compiled_forms(call)["xla"]
    return ops.convert_to_numpy(call(*map(ops.convert_to_tensor, inputs.values())))


def _caller(layer: keras.Layer, inputs: Inputs, training: bool) -> Callable[..., Any]:
    """The layer as a function of its inputs' values alone."""
    first, *others = inputs
    fixed = {"training": training} if "training" in inspect.signature(layer.call).parameters else {}

    def call(x: Any, *values: Any) -> Any:
        return _first(layer(x, **dict(zip(others, values, strict=True)), **fixed))

    return call


def _features(inputs: Inputs) -> np.ndarray:
    return inputs[next(iter(inputs))]


def _with_features(inputs: Inputs, features: np.ndarray) -> Inputs:
    return {**inputs, next(iter(inputs)): features}


def _first(outputs: Any) -> Any:
    return outputs[0] if isinstance(outputs, (tuple, list)) else outputs


def _differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    names = [name for name in {*one, *other} if one.get(name) != other.get(name)]
    return ", ".join(f"`{name}` from {one.get(name)!r} to {other.get(name)!r}" for name in sorted(names))


def _assert_close(ours: np.ndarray, theirs: np.ndarray, message: str) -> None:
    error = float(np.max(np.abs(ours - theirs), initial=0.0))
    limit = 1e-5 * max(1.0, float(np.abs(theirs).max(initial=0.0)))
    assert np.isfinite(error) and error <= limit, f"{message}: by {error:.2e}"
