"""What every mixer of a reasoning block must keep."""

from __future__ import annotations

import json
from typing import Any

import keras
import numpy as np
from keras import ops

from highnoon.layers.report import split_report
from highnoon.testing.compiled import compiled_forms
from highnoon.testing.gradients import layer_gradients
from highnoon.testing.slopes import check_slopes


def check_mixer(
    mixer: keras.Layer,
    width: int,
    time: int = 13,
    tolerance: float = 1e-5,
    seed: int = 0,
    compares_slopes: bool = True,
) -> None:
    """Fails where a mixer breaks the protocol of docs/architecture.md.

    Checked are determinism, causality, isolation of segments and of batch mates (also in training, without
    dropout), decoding against the full pass with and without left padding and with a traced index, eager
    against compiled, gradients against the slopes of the function, mixed_bfloat16, and the configuration.

    A mixer that declares `is_causal = False` has no decoding; for it, instead of causality, padding must
    change no token, and a later token must change an earlier one.

    Args:
        mixer: A layer that has not been built; its dtype must be float32.
        width: The model's width d.
        time: Length of the rows, at least 8.
        tolerance: Largest difference of values that should be equal, of values near 1.
        seed: Of the inputs.
        compares_slopes: Whether gradients are compared with slopes; False for spiking mixers, whose
            surrogate gradients are no slopes by design.

    Raises:
        AssertionError: naming what does not hold.

    Example:

    ```python
    from highnoon.layers import CausalSelfAttention
    from highnoon.testing.check_mixer import check_mixer

    check_mixer(CausalSelfAttention(num_heads=2), width=16)
    ```
    """
    random = np.random.default_rng(seed)
    x = random.standard_normal((2, time, width)).astype("float32")
    mixer.build(x.shape)
    _enliven(mixer, random)
    whole = _numpy(mixer(x))
    assert whole.shape == x.shape, f"expected shape {x.shape}; received {whole.shape}"
    np.testing.assert_array_equal(_numpy(mixer(x)), whole, "inference is not deterministic")
    is_causal = getattr(mixer, "is_causal", True)
    if is_causal:
        _check_causality(mixer, x, whole, random, tolerance)
    else:
        _check_padding(mixer, x, random, tolerance)
    _check_segments(mixer, x, whole, random, tolerance)
    if is_causal:
        _check_decoding(mixer, x, whole, tolerance)
        _check_left_padding(mixer, x, whole, random, tolerance)
        _check_traced_index(mixer, x, whole, tolerance)
    _check_compiled(mixer, x, whole, random, tolerance, compares_slopes)
    _check_config(mixer, x, whole)
    _check_training(mixer, x, random, tolerance)
    _check_bfloat16(mixer, x, whole)


def _enliven(mixer: keras.Layer, random: np.random.Generator) -> None:
    """Moves every weight off its start, so that no bias is zero and no scale is one."""
    for weight in mixer.trainable_variables:
        value = ops.convert_to_numpy(weight)
        weight.assign(value + 0.1 * random.standard_normal(value.shape).astype(value.dtype))


def _numpy(x: Any) -> np.ndarray:
    x, _ = split_report(x)
    return ops.convert_to_numpy(ops.cast(x, "float32"))


def _assert_close(actual: Any, expected: Any, tolerance: float, what: str) -> None:
    actual, expected = _numpy(actual), _numpy(expected)
    scale = max(1.0, float(np.abs(expected).max(initial=0.0)))
    difference = float(np.abs(actual - expected).max(initial=0.0))
    assert difference <= tolerance * scale, f"{what}: off by {difference:.2g}"


def _check_causality(mixer: Any, x: np.ndarray, whole: np.ndarray, random: Any, tolerance: float) -> None:
    cut = x.shape[1] // 2
    changed = x.copy()
    changed[:, cut:] = random.standard_normal(changed[:, cut:].shape)
    y = _numpy(mixer(changed))
    _assert_close(y[:, :cut], whole[:, :cut], tolerance, "later tokens change earlier outputs")
    assert np.abs(y[:, cut:] - whole[:, cut:]).max() > 1e-3, "the output does not depend on the input"
    changed = x.copy()
    changed[:, cut] = random.standard_normal(changed[:, cut].shape)
    later = np.abs(_numpy(mixer(changed)) - whole)[:, cut + 1 :]
    assert later.max() > 1e-5, "nothing passes between tokens"


def _check_padding(mixer: Any, x: np.ndarray, random: Any, tolerance: float) -> None:
    """For a mixer that is not causal: what stands at padding is seen by no token, but later tokens are."""
    time = x.shape[1]
    end = time - 3
    segment_ids = np.ones((2, time), "int32")
    segment_ids[:, end:] = 0
    y = _numpy(mixer(x, segment_ids=segment_ids))
    changed = x.copy()
    changed[:, end:] = random.standard_normal(changed[:, end:].shape)
    again = _numpy(mixer(changed, segment_ids=segment_ids))
    _assert_close(again[:, :end], y[:, :end], tolerance, "padding changes tokens")
    changed = x.copy()
    changed[:, end - 1] = random.standard_normal(changed[:, end - 1].shape)
    again = _numpy(mixer(changed, segment_ids=segment_ids))
    assert np.abs(again[:, : end - 1] - y[:, : end - 1]).max() > 1e-5, (
        "no earlier output depends on a later token: the mixer is causal and should say so"
    )


def _check_segments(mixer: Any, x: np.ndarray, whole: np.ndarray, random: Any, tolerance: float) -> None:
    time = x.shape[1]
    first, second = time // 3, time - 2
    segment_ids = np.zeros((2, time), "int32")
    segment_ids[:, :first], segment_ids[:, first:second] = 1, 2
    segment_ids[1] = 1  # a batch mate of one document
    positions = np.concatenate([np.arange(first), np.arange(second - first), np.arange(time - second)])
    positions = np.stack([positions, np.arange(time)])
    y = _numpy(mixer(x, segment_ids=segment_ids, positions=positions))
    assert np.isfinite(y).all(), "outputs at padding are not finite"
    _assert_close(y[1], whole[1], tolerance, "a batch mate's segments change a row")
    is_causal = getattr(mixer, "is_causal", True)
    first_alone = whole[:1, :first] if is_causal else mixer(x[:1, :first])
    _assert_close(y[:1, :first], first_alone, tolerance, "a later segment changes an earlier one")
    alone = mixer(x[:1, first:second])
    _assert_close(y[:1, first:second], alone, tolerance, "an earlier segment passes into the next")


def _check_decoding(mixer: Any, x: np.ndarray, whole: np.ndarray, tolerance: float) -> None:
    time = x.shape[1]
    cache = mixer.initial_cache(2, time + 3, "float32")
    shapes = keras.tree.map_structure(lambda tensor: tuple(tensor.shape), cache)
    wrong = [tuple(tensor.shape) for tensor in keras.tree.flatten(cache) if tensor.shape[0] != 2]
    assert not wrong, f"the first axis of a cache is the batch; received the shape {wrong[0]}"
    outputs, start = [], 0
    for size in (time - 5, 1, 3, 1):
        y, cache = mixer.step(ops.convert_to_tensor(x[:, start : start + size]), cache, start)
        outputs.append(_numpy(y))
        start += size
    assert keras.tree.map_structure(lambda tensor: tuple(tensor.shape), cache) == shapes, (
        "a step changes the shape of the cache"
    )
    _assert_close(np.concatenate(outputs, 1), whole, tolerance, "decoding differs from the full pass")
    y, _ = mixer.step(ops.convert_to_tensor(x[:, :1]), mixer.initial_cache(2, time, "float32"), 0)
    _assert_close(y, whole[:, :1], tolerance, "a second decoding differs: the mixer has a state of its own")


def _check_traced_index(mixer: Any, x: np.ndarray, whole: np.ndarray, tolerance: float) -> None:
    """`step` within a compiled loop, where the index is a tensor."""
    form = "graph" if keras.backend.backend() == "tensorflow" else "xla"
    step = compiled_forms(lambda x, cache, index: mixer.step(x, cache, index))[form]
    cache = mixer.initial_cache(2, x.shape[1], "float32")
    for index in range(3):
        token = ops.convert_to_tensor(x[:, index : index + 1])
        y, cache = step(token, cache, ops.convert_to_tensor(index, "int32"))
        _assert_close(y, whole[:, index : index + 1], tolerance, "a step with a traced index differs")


def _check_left_padding(mixer: Any, x: np.ndarray, whole: np.ndarray, random: Any, tolerance: float) -> None:
    time, gap = x.shape[1], 3
    padding = np.array([gap, 0], "int32")
    padded = np.concatenate([x, random.standard_normal((2, gap, x.shape[2])).astype("float32")], axis=1)
    padded[0, gap:], padded[0, :gap] = x[0], padded[0, -gap:].copy()
    for prefill in (2, time - 2):  # the first cuts within the padding
        cache = mixer.initial_cache(2, time + gap, "float32")
        outputs = []
        for start, end in ((0, prefill), *((i, i + 1) for i in range(prefill, time + gap))):
            y, cache = mixer.step(ops.convert_to_tensor(padded[:, start:end]), cache, start, padding)
            outputs.append(_numpy(y))
        y = np.concatenate(outputs, 1)
        assert np.isfinite(y).all(), "outputs at left padding are not finite"
        _assert_close(y[0, gap:], whole[0], tolerance, "left padding changes a row")
        _assert_close(y[1, :time], whole[1], tolerance, "a batch mate's padding changes a row")


def _check_compiled(
    mixer: Any, x: np.ndarray, whole: np.ndarray, random: Any, tolerance: float, compares_slopes: bool
) -> None:
    target = random.standard_normal(x.shape).astype("float32")
    segment_ids = np.repeat([[1] * 5 + [2] * (x.shape[1] - 5)], 2, axis=0)
    try:
        compiled = layer_gradients(mixer, x, target, compiled=True, segment_ids=segment_ids)
    except Exception as error:
        error.add_note(
            "the mixer does not run under XLA; for a recurrence use `highnoon.layers.linear_scan`: "
            "`ops.scan` and `ops.associative_scan` do not compile there"
        )
        raise
    for name, gradient in compiled.items():
        assert np.isfinite(gradient).all(), f"the gradient of {name} is not finite"
        assert np.abs(gradient).max() > 0, f"the gradient of {name} is zero"
    if compares_slopes:
        _check_gradients(mixer, x, target, segment_ids, compiled)
    if keras.backend.backend() == "jax":
        import jax

        _assert_close(jax.jit(lambda x: mixer(x))(x), whole, tolerance, "XLA differs from eager")
        return
    import tensorflow as tf

    for name, gradient in layer_gradients(mixer, x, target, segment_ids=segment_ids).items():
        _assert_close(compiled[name], gradient, 10 * tolerance, f"XLA's gradient of {name}")
    graph = tf.function(lambda x: mixer(x), input_signature=[tf.TensorSpec((None, None, x.shape[2]))])
    _assert_close(graph(x), whole, tolerance, "graph mode with unknown sizes differs from eager")
    _assert_close(graph(x[:1, :1]), mixer(x[:1, :1]), tolerance, "one token in graph mode")


def _check_gradients(
    mixer: Any, x: np.ndarray, target: np.ndarray, segment_ids: np.ndarray, gradients: dict[str, np.ndarray]
) -> None:
    """Gradients of sum(target * y) are its slopes."""
    weights = mixer.trainable_variables
    others = [variable.value for variable in mixer.non_trainable_variables]

    def value(x: Any, *values: Any) -> Any:
        y, _ = mixer.stateless_call(list(values), others, x, segment_ids=segment_ids)
        y, _ = split_report(y)
        return ops.sum(ops.cast(y, "float32") * target)

    if keras.backend.backend() == "jax":  # eager JAX compiles every operation by itself
        value = compiled_forms(value)["xla"]
    arrays = [x, *map(ops.convert_to_numpy, weights)]
    check_slopes(value, arrays, [gradients[name] for name in gradients], list(gradients))


def _check_training(mixer: Any, x: np.ndarray, random: Any, tolerance: float) -> None:
    """In training, too, nothing passes from later tokens, between segments or between rows."""
    config = mixer.get_config()
    copy = mixer.__class__.from_config({**config, **({"dropout": 0.0} if "dropout" in config else {})})
    copy.build(x.shape)
    copy.set_weights(mixer.get_weights())
    y = _numpy(copy(x, training=True))
    _assert_close(
        copy(x[1:], training=True), y[1:], tolerance, "in training, a row depends on its batch mates"
    )
    cut = x.shape[1] // 2
    segment_ids = np.repeat([[1] * cut + [2] * (x.shape[1] - cut)], 2, axis=0)
    positions = np.concatenate([np.arange(cut), np.arange(x.shape[1] - cut)])
    packed = _numpy(copy(x, segment_ids=segment_ids, positions=positions, training=True))
    alone = copy(x[:, cut:], training=True)
    _assert_close(packed[:, cut:], alone, tolerance, "in training, an earlier segment passes into the next")
    if getattr(mixer, "is_causal", True):
        changed = x.copy()
        changed[:, cut:] = random.standard_normal(changed[:, cut:].shape)
        again = _numpy(copy(changed, training=True))
        _assert_close(
            again[:, :cut], y[:, :cut], tolerance, "in training, later tokens change earlier outputs"
        )


def _check_bfloat16(mixer: Any, x: np.ndarray, whole: np.ndarray) -> None:
    """Under mixed_bfloat16 outputs are bfloat16, weights float32, values near those of float32."""
    copy = mixer.__class__.from_config({**mixer.get_config(), "dtype": "mixed_bfloat16"})
    copy.build(x.shape)
    for weight in copy.weights:
        dtype = keras.backend.standardize_dtype(weight.dtype)
        assert dtype != "bfloat16", f"the weight {weight.path} is {dtype} under mixed_bfloat16"
    copy.set_weights(mixer.get_weights())
    y, _ = split_report(copy(x))
    outputs = {"the output": y}
    if getattr(mixer, "is_causal", True):
        inputs = ops.cast(x[:, :3], "bfloat16")
        outputs["the output of `step`"], _ = copy.step(inputs, copy.initial_cache(2, 3), 0)
    for name, y in outputs.items():
        dtype = keras.backend.standardize_dtype(y.dtype)
        assert dtype == "bfloat16", f"{name} is {dtype} under mixed_bfloat16"
        y, expected = _numpy(y), whole[:, : y.shape[1]]
        error = np.mean(np.abs(y - expected)) / np.mean(np.abs(expected))
        assert error < 0.05, f"under mixed_bfloat16 {name} is off by {error:.1%} of its mean"


def _check_config(mixer: Any, x: np.ndarray, whole: np.ndarray) -> None:
    config = json.loads(json.dumps(mixer.get_config()))
    copy = mixer.__class__.from_config(config)
    assert json.loads(json.dumps(copy.get_config())) == config, "the configuration changes on its way"
    copy.build(x.shape)
    assert json.loads(json.dumps(copy.get_config())) == config, "`build` changes the configuration"
    copy.set_weights(mixer.get_weights())
    np.testing.assert_array_equal(_numpy(copy(x)), whole, "a copy by configuration differs")
