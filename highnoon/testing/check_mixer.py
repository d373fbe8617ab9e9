"""What every mixer of a reasoning block must keep."""

from __future__ import annotations

import json
from typing import Any

import keras
import numpy as np
from keras import ops

from highnoon.layers.report import split_report
from highnoon.testing.gradients import layer_gradients


def check_mixer(
    mixer: keras.Layer, width: int, time: int = 13, tolerance: float = 1e-5, seed: int = 0
) -> None:
    """Fails where a mixer breaks the protocol of docs/architecture.md.

    Checked are causality, isolation of segments and of batch mates, decoding against the full pass
    with and without left padding, eager against compiled, gradients of every weight, and the way
    through JSON. A mixer that declares `is_causal = False` has no decoding; for it, in place of causality,
    padding must change no token, and a later token must change an earlier one.

    Args:
        mixer: A layer that has not been built; its dtype must be float32.
        width: The model's width d.
        time: Length of the rows, at least 8.
        tolerance: Largest difference of values that should be equal, of values near 1.
        seed: Of the inputs.

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
    assert whole.shape == x.shape, f"expected shape {x.shape}; came {whole.shape}"
    is_causal = getattr(mixer, "is_causal", True)
    if is_causal:
        _check_causality(mixer, x, whole, random, tolerance)
    else:
        _check_padding(mixer, x, random, tolerance)
    _check_segments(mixer, x, whole, random, tolerance)
    if is_causal:
        _check_decoding(mixer, x, whole, tolerance)
        _check_left_padding(mixer, x, whole, random, tolerance)
    _check_compiled(mixer, x, whole, random, tolerance)
    _check_config(mixer, x, whole)


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
    place = x.shape[1] // 2
    changed = x.copy()
    changed[:, place:] = random.standard_normal(changed[:, place:].shape)
    y = _numpy(mixer(changed))
    _assert_close(y[:, :place], whole[:, :place], tolerance, "later tokens change earlier outputs")
    assert np.abs(y[:, place:] - whole[:, place:]).max() > 1e-3, "the output does not depend on the input"
    assert np.abs(_numpy(mixer(x[:, 1:]))[:, 0] - whole[:, 1]).max() > 1e-5, "nothing passes between tokens"


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
    outputs, start = [], 0
    for size in (time - 5, 1, 3, 1):
        y, cache = mixer.step(ops.convert_to_tensor(x[:, start : start + size]), cache, start)
        outputs.append(_numpy(y))
        start += size
    assert keras.tree.map_structure(lambda tensor: tuple(tensor.shape), cache) == shapes, (
        "a step changes the shape of the cache"
    )
    _assert_close(np.concatenate(outputs, 1), whole, tolerance, "decoding differs from the full pass")


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


def _check_compiled(mixer: Any, x: np.ndarray, whole: np.ndarray, random: Any, tolerance: float) -> None:
    target = random.standard_normal(x.shape).astype("float32")
    segment_ids = np.repeat([[1] * 5 + [2] * (x.shape[1] - 5)], 2, axis=0)
    compiled = layer_gradients(mixer, x, target, compiled=True, segment_ids=segment_ids)
    for name, gradient in compiled.items():
        assert np.isfinite(gradient).all(), f"the gradient of {name} is not finite"
        assert np.abs(gradient).max() > 0, f"the gradient of {name} is zero"
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


def _check_config(mixer: Any, x: np.ndarray, whole: np.ndarray) -> None:
    config = json.loads(json.dumps(mixer.get_config()))
    copy = mixer.__class__.from_config(config)
    assert json.loads(json.dumps(copy.get_config())) == config, "the configuration changes on its way"
    copy.build(x.shape)
    assert json.loads(json.dumps(copy.get_config())) == config, "`build` changes the configuration"
    copy.set_weights(mixer.get_weights())
    np.testing.assert_array_equal(_numpy(copy(x)), whole, "a copy by configuration differs")
