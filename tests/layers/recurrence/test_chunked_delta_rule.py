import numpy as np
import pytest
from keras import ops

from highnoon.layers.recurrence.chunked_delta_rule import chunked_delta_rule, delta_rule_step
from highnoon.layers.recurrence.segment_restarts import count_restarts
from highnoon.layers.recurrence.triangular_inverse import unit_triangular_inverse
from highnoon.testing.gradients import value_and_gradients


def inputs(time, groups=2, heads=3, key_dim=4, value_dim=5, seed=0):
    random = np.random.default_rng(seed)

    def normal(*shape):
        return random.standard_normal(shape).astype("float32")

    def unit(x):
        return x / np.linalg.norm(x, axis=-1, keepdims=True)

    return [
        unit(normal(2, time, groups, key_dim)),
        unit(normal(2, time, groups, key_dim)),
        normal(2, time, groups, heads, value_dim),
        -np.exp(normal(2, time, groups, heads)),
        1 / (1 + np.exp(-normal(2, time, groups, heads))),
        normal(2, groups, heads, key_dim, value_dim),
    ]


def loop(query, key, value, log_decay, strength, state, segments=None):
    """The recurrence place by place, in keras.ops, for its gradients too."""
    outputs = []
    for t in range(query.shape[1]):
        if segments is not None and t and segments[t] != segments[t - 1]:
            state = ops.zeros_like(state)
        y, state = delta_rule_step(
            query[:, t], key[:, t], value[:, t], log_decay[:, t], strength[:, t], state
        )
        outputs.append(y)
    return ops.stack(outputs, axis=1), state


def loop_in_numpy(query, key, value, log_decay, strength, state):
    """Equation 10 of the paper as it stands there, one head at a time."""
    y, state = np.zeros(value.shape), state.astype("float64")
    for b, g, r in np.ndindex(*value.shape[0:1], *value.shape[2:4]):
        memory = state[b, g, r].T  # (v, k)
        for t in range(query.shape[1]):
            k, beta = key[b, t, g], strength[b, t, g, r]
            memory = np.exp(log_decay[b, t, g, r]) * memory @ (np.eye(len(k)) - beta * np.outer(k, k))
            memory = memory + beta * np.outer(value[b, t, g, r], k)
            y[b, t, g, r] = memory @ query[b, t, g]
        state[b, g, r] = memory.T
    return y, state


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
    by_y = random.standard_normal(arrays[2].shape).astype("float32")
    by_state = random.standard_normal(arrays[-1].shape).astype("float32")

    def loss(function):
        def run(*tensors):
            y, state = function(*tensors)
            return ops.sum(y * by_y) + ops.sum(state * by_state)

        return run

    for cut, whole in (
        (lambda *a: chunked_delta_rule(*a, chunk_length=4), loop),
        (lambda *a: chunked_delta_rule(*a, counts, chunk_length=4), lambda *a: loop(*a, segments=segments)),
    ):
        for actual, expected in zip(cut(*arrays), whole(*arrays), strict=True):
            np.testing.assert_allclose(actual, expected, atol=1e-5)
        actual = value_and_gradients(loss(cut), *arrays)[1]
        expected = value_and_gradients(loss(whole), *arrays)[1]
        for a, e in zip(actual, expected, strict=True):
            np.testing.assert_allclose(a, e, atol=1e-5 * max(1, np.abs(e).max()))


def test_a_strength_and_decay_of_zero_leave_the_state_alone():
    arrays = inputs(7)
    arrays[3][:], arrays[4][:] = 0, 0
    np.testing.assert_array_equal(chunked_delta_rule(*arrays, chunk_length=4)[1], arrays[-1])


def test_the_same_key_again_and_again_overwrites_its_value():
    query, key, value, log_decay, strength, state = inputs(64)
    key[:], log_decay[:], strength[:] = key[:, :1], 0, 1
    y, _ = chunked_delta_rule(key, key, value, log_decay, strength, state, chunk_length=64)
    np.testing.assert_allclose(y, value, atol=1e-4)


@pytest.mark.parametrize("size", [1, 2, 16])
def test_the_inverse_undoes_the_matrix(size):
    random = np.random.default_rng(size)
    lower = random.standard_normal((3, size, size)).astype("float32")
    whole = np.eye(size) + np.tril(lower, -1)
    product = np.asarray(unit_triangular_inverse(ops.convert_to_tensor(lower))) @ whole
    np.testing.assert_allclose(product, np.tile(np.eye(size), (3, 1, 1)), atol=2e-3)
