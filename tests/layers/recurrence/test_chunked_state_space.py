import numpy as np
import pytest
from keras import ops

from highnoon.layers.recurrence.chunked_state_space import chunked_state_space, state_space_step
from highnoon.layers.recurrence.segment_restarts import count_restarts
from highnoon.testing.gradients import value_and_gradients


def inputs(time, groups=2, heads=3, head_dim=4, state_dim=5, seed=0):
    random = np.random.default_rng(seed)

    def normal(*shape):
        return random.standard_normal(shape).astype("float32")

    return [
        normal(2, time, groups, heads, head_dim),
        np.log1p(np.exp(normal(2, time, groups, heads))),
        -np.exp(normal(groups, heads)),
        normal(2, time, groups, state_dim),
        normal(2, time, groups, state_dim),
        normal(2, groups, state_dim, heads, head_dim),
    ]


def loop(x, step, rate, write, read, state, segments=None):
    """The recurrence place by place, in keras.ops, for its gradients too."""
    outputs = []
    for t in range(x.shape[1]):
        if segments is not None and t and segments[t] != segments[t - 1]:
            state = ops.zeros_like(state)
        y, state = state_space_step(x[:, t], step[:, t], rate, write[:, t], read[:, t], state)
        outputs.append(y)
    return ops.stack(outputs, axis=1), state


def loop_in_numpy(x, step, rate, write, read, state):
    outputs = []
    for t in range(x.shape[1]):
        decay = np.exp(step[:, t] * rate)
        state = np.einsum("bgr,bgnrk->bgnrk", decay, state)
        state = state + np.einsum("bgr,bgn,bgrk->bgnrk", step[:, t], write[:, t], x[:, t])
        outputs.append(np.einsum("bgn,bgnrk->bgrk", read[:, t], state))
    return np.stack(outputs, axis=1), state


def test_one_step_is_the_recurrence_of_the_paper():
    arrays = inputs(6)
    for actual, expected in zip(loop(*arrays), loop_in_numpy(*arrays), strict=True):
        np.testing.assert_allclose(actual, expected, atol=1e-5)


@pytest.mark.parametrize("time", [1, 3, 4, 5, 11])
def test_outputs_state_and_gradients_equal_a_loop_over_time(time):
    arrays = inputs(time)
    random = np.random.default_rng(1)
    segments = np.sort(random.integers(1, 4, time))
    counts = count_restarts(np.stack([segments, segments]))
    by_y = random.standard_normal(arrays[0].shape).astype("float32")
    by_state = random.standard_normal(arrays[-1].shape).astype("float32")

    def loss(function):
        def run(*tensors):
            y, state = function(*tensors)
            return ops.sum(y * by_y) + ops.sum(state * by_state)

        return run

    for cut, whole in (
        (lambda *a: chunked_state_space(*a, chunk_length=4), loop),
        (lambda *a: chunked_state_space(*a, counts, chunk_length=4), lambda *a: loop(*a, segments=segments)),
    ):
        for actual, expected in zip(cut(*arrays), whole(*arrays), strict=True):
            np.testing.assert_allclose(actual, expected, atol=1e-5)
        actual = value_and_gradients(loss(cut), *arrays)[1]
        expected = value_and_gradients(loss(whole), *arrays)[1]
        for a, e in zip(actual, expected, strict=True):
            np.testing.assert_allclose(a, e, atol=1e-5 * max(1, np.abs(e).max()))


def test_a_step_of_size_zero_leaves_the_state_alone():
    arrays = inputs(7)
    arrays[1][:] = 0
    np.testing.assert_array_equal(chunked_state_space(*arrays, chunk_length=4)[1], arrays[-1])


def test_decays_beyond_the_range_of_floats_stay_finite():
    arrays = inputs(9)
    arrays[1] = arrays[1] * 1000
    y, state = chunked_state_space(*arrays, chunk_length=4)
    assert np.isfinite(y).all() and np.isfinite(state).all()
    gradients = value_and_gradients(lambda *a: ops.sum(chunked_state_space(*a, chunk_length=4)[0]), *arrays)[
        1
    ]
    assert all(np.isfinite(gradient).all() for gradient in gradients)
