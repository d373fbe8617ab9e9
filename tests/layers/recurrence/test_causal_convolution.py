import keras
import numpy as np
import pytest

from highnoon.layers.recurrence.causal_convolution import CausalConvolution
from highnoon.testing.check_mixer import check_mixer
from highnoon.testing.gradients import layer_gradients


def naive(x, kernel, bias, segments):
    """The sum over earlier places of the same run of a segment, place by place."""
    y = np.zeros_like(x) + bias
    for t in range(x.shape[0]):
        for lag in range(len(kernel)):
            if lag > t or segments[t - lag] != segments[t]:
                break
            y[t] += kernel[len(kernel) - 1 - lag] * x[t - lag]
    return y


@pytest.fixture
def built():
    layer = CausalConvolution(4, bias_initializer="normal")
    layer.build((None, None, 6))
    return layer


def test_it_keeps_the_mixer_protocol():
    check_mixer(CausalConvolution(3, activation="silu", bias_initializer="ones"), width=6)


@pytest.mark.parametrize("segments", [[1] * 9, [1, 1, 2, 2, 2, 2, 1, 0, 0]])
def test_outputs_equal_a_loop_over_time(built, segments):
    x = np.random.default_rng(0).standard_normal((9, 6)).astype("float32")
    y = built(x[None], segment_ids=np.array([segments]))
    expected = naive(x, *(keras.ops.convert_to_numpy(w) for w in (built.kernel, built.bias)), segments)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(y[0]), expected, atol=1e-6)


def test_gradients_equal_finite_differences(built):
    random = np.random.default_rng(1)
    x, target = random.standard_normal((2, 1, 7, 6)).astype("float32")
    segment_ids = np.array([[1, 1, 1, 2, 2, 2, 2]])
    gradients = layer_gradients(built, x, target, segment_ids=segment_ids)
    kernel, bias = (keras.ops.convert_to_numpy(w).astype("float64") for w in (built.kernel, built.bias))

    def loss(x, kernel):
        return float(np.sum(naive(x[0].astype("float64"), kernel, bias, segment_ids[0]) * target[0]))

    for name, value in (("x", x.astype("float64")), (built.kernel.path, kernel)):
        numeric = np.zeros_like(value)
        for place in np.ndindex(value.shape):
            step = np.zeros_like(value)
            step[place] = 1e-4
            more, less = value + step, value - step
            pair = [(more, kernel), (less, kernel)] if name == "x" else [(x, more), (x, less)]
            numeric[place] = (loss(*pair[0]) - loss(*pair[1])) / 2e-4
        np.testing.assert_allclose(gradients[name], numeric, atol=1e-4)


def test_a_kernel_of_one_place_sees_only_itself():
    layer = CausalConvolution(1, use_bias=False)
    x = np.random.default_rng(2).standard_normal((1, 3, 2)).astype("float32")
    y, cache = layer(x), layer.initial_cache(1, 8)
    np.testing.assert_allclose(y, x * keras.ops.convert_to_numpy(layer.kernel), atol=1e-6)
    assert tuple(layer.step(x, cache, 0)[1]["inputs"].shape) == (1, 0, 2)


def test_the_published_kernel_starts_within_one_over_the_root_of_its_size():
    layer = CausalConvolution(4)
    layer.build((None, None, 500))
    kernel = keras.ops.convert_to_numpy(layer.kernel)
    assert 0.49 < np.abs(kernel).max() <= 0.5


def test_low_precision_is_kept():
    y = CausalConvolution(4, dtype="mixed_bfloat16")(np.ones((1, 3, 2), "float32"))
    assert keras.backend.standardize_dtype(y.dtype) == "bfloat16"


def test_a_kernel_without_places_is_refused():
    with pytest.raises(ValueError, match="`kernel_size` must be at least 1; received 0"):
        CausalConvolution(0)
