"""The cosine schedule, and sampling with the levels of the steps at which the model is evaluated."""

from __future__ import annotations

import numpy as np
import pytest
from keras import ops

from highnoon.config import ConfigError
from highnoon.experts.diffuser.noise_schedule import alpha_bars, sample_ddim, sampling_steps


def test_levels_are_the_closed_form_up_to_the_clipped_last_step():
    levels = alpha_bars(100)
    closed = np.cos((np.arange(101) / 100 + 0.008) / 1.008 * np.pi / 2) ** 2
    np.testing.assert_allclose(levels[:100], closed[:100] / closed[0], rtol=1e-9)
    assert closed[100] < 1e-20 and levels[100] == pytest.approx(levels[99] * 1e-3)
    assert levels[0] == 1 and (np.diff(levels) < 0).all()


def test_sampling_starts_at_the_most_noise_and_is_evenly_spaced():
    assert sampling_steps(100, 10).tolist() == list(range(100, 0, -10))
    assert sampling_steps(5, 5).tolist() == [5, 4, 3, 2, 1]
    assert sampling_steps(100, 1).tolist() == [100]
    with pytest.raises(ConfigError, match="`sampling_steps` must be at most training_steps=4; received 5"):
        sampling_steps(4, 5)


def naive_ddim(predict_noise, x, levels, steps):
    """Equation 12 of the paper with sigma = 0, in float64."""
    for step, after in zip(steps, [*steps[1:], 0], strict=True):
        noise = predict_noise(x, step)
        clean = (x - np.sqrt(1 - levels[step]) * noise) / np.sqrt(levels[step])
        x = np.sqrt(levels[after]) * clean + np.sqrt(1 - levels[after]) * noise
    return x


@pytest.mark.parametrize("count", [1, 4, 10])
def test_ddim_equals_a_naive_loop_over_predicted_noise(count):
    levels, rng = alpha_bars(20), np.random.default_rng(0)
    matrix = 0.3 * rng.normal(size=(6, 6))
    start = rng.normal(size=(2, 3, 6))

    def velocity(x, step):  # of any network: here a linear one that depends on the step
        return ops.matmul(x, ops.convert_to_tensor(matrix, "float32")) * ops.cos(ops.cast(step, "float32"))

    def predict_noise(x, step):
        found = x @ matrix * np.cos(step)
        return np.sqrt(levels[step]) * found + np.sqrt(1 - levels[step]) * x

    found = sample_ddim(velocity, ops.convert_to_tensor(start, "float32"), levels, count)
    expected = naive_ddim(predict_noise, start, levels, sampling_steps(20, count).tolist())
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_exact_predictions_end_at_the_clean_value():
    levels, rng = alpha_bars(50), np.random.default_rng(1)
    clean, start = (rng.normal(size=(4, 6)).astype("float32") for _ in range(2))
    table = ops.convert_to_tensor(levels, "float32")

    def velocity(x, step):
        level = ops.take(table, step)
        noise = (x - ops.sqrt(level) * clean) / ops.sqrt(1 - level)
        return ops.sqrt(level) * noise - ops.sqrt(1 - level) * clean

    found = sample_ddim(velocity, ops.convert_to_tensor(start), levels, 7)
    np.testing.assert_allclose(found, clean, atol=1e-4)
