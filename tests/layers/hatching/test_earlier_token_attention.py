"""Linear attention whose keys decay, in all of its forms."""

from __future__ import annotations

import numpy as np
import pytest
from keras import ops

from highnoon.layers.hatching.earlier_token_attention import attend_with_state, earlier_token_attention
from highnoon.testing.gradients import value_and_gradients

TIME = 13
COUNTS = np.array([[0] * 6 + [1] * 7, [0] * TIME])


@pytest.fixture(scope="module")
def tensors() -> list[np.ndarray]:
    random = np.random.default_rng(0)
    shapes = ((2, 3, TIME, 4), (2, 3, TIME, 4), (2, 1, TIME, 5))
    return [random.standard_normal(shape).astype("float32") for shape in shapes]


def naive(query, key, value, counts, decay):
    y = np.zeros((*query.shape[:3], value.shape[-1]))
    for row in range(2):
        for head in range(3):
            for t in range(TIME):
                for s in range(t):
                    if counts[row, t] == counts[row, s]:
                        product = query[row, head, t].astype("float64") @ key[row, head, s]
                        y[row, head, t] += decay ** (t - 1 - s) * product * value[row, 0, s]
    return y


@pytest.mark.parametrize("decay", [1.0, 0.8])
@pytest.mark.parametrize("chunk_length", [None, 4, 64])
def test_each_form_is_the_sum_over_earlier_tokens(chunk_length, decay, tensors):
    y = earlier_token_attention(*tensors, ops.convert_to_tensor(COUNTS), chunk_length, decay)
    np.testing.assert_allclose(ops.convert_to_numpy(y), naive(*tensors, COUNTS, decay), atol=1e-4)


def test_gradients_of_chunks_are_those_of_all_products(tensors):
    weight = np.random.default_rng(1).standard_normal((2, 3, TIME, 5)).astype("float32")
    counts = ops.convert_to_tensor(COUNTS)

    def loss(chunk_length):
        return lambda *given: ops.sum(earlier_token_attention(*given, counts, chunk_length, 0.8) * weight)

    _, expected = value_and_gradients(loss(None), *tensors)
    _, ours = value_and_gradients(loss(4), *tensors)
    for one, other in zip(ours, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


@pytest.mark.parametrize("decay", [1.0, 0.8])
@pytest.mark.parametrize("sizes", [(13,), (1, 3, 9), (4, 9), (5, 1, 1, 6)])
def test_a_state_continues_where_the_last_tokens_ended(sizes, decay, tensors):
    state, start, parts = ops.zeros((2, 3, 4, 5)), 0, []
    for size in sizes:
        given = [ops.convert_to_tensor(tensor[:, :, start : start + size]) for tensor in tensors]
        y, state = attend_with_state(*given, state, 4, decay)
        parts.append(ops.convert_to_numpy(y))
        start += size
    expected = naive(*tensors, np.zeros((2, TIME)), decay)
    np.testing.assert_allclose(np.concatenate(parts, axis=2), expected, atol=1e-4)
