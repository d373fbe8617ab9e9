"""The diffuser denoises a state given those before it, and nothing later passes into it."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import highnoon as hn
from highnoon.config import ConfigError
from highnoon.experts import GaussianDiffuser
from highnoon.experts.diffuser.noise_schedule import sampling_steps
from highnoon.testing import check_model as battery

WIDTH, LENGTH = 6, 8
RNG = np.random.default_rng(0)
STATES = RNG.normal(size=(3, LENGTH, WIDTH)).astype("float32")
NOISY = RNG.normal(size=(3, LENGTH, WIDTH)).astype("float32")
STEPS = RNG.integers(1, 21, (3, LENGTH)).astype("int32")


def make_diffuser(**fields):
    keras.utils.set_random_seed(0)
    shape = {
        "embedding_dim": 8,
        "num_reasoning_blocks": 1,
        "max_seq_length": 16,
        "num_heads": 1,
        "ffn_dim": 8,
    }
    diffuser = GaussianDiffuser(WIDTH, **{**shape, "training_steps": 20, **fields})
    battery._wake(diffuser)
    return diffuser


@pytest.fixture(scope="module")
def diffuser():
    return make_diffuser()


def noise_of(diffuser, states=STATES, noisy=NOISY, steps=STEPS, **layout):
    given = {"states": states, "noisy_states": noisy, "steps": steps, **layout}
    return np.asarray(diffuser(given))


def test_a_prediction_depends_on_earlier_states_and_its_own_noisy_one_alone(diffuser):
    before = noise_of(diffuser)
    states, noisy, steps = STATES.copy(), NOISY.copy(), STEPS.copy()
    states[:, 4:] += 1.0
    np.testing.assert_array_equal(noise_of(diffuser, states=states)[:, :5], before[:, :5])
    assert np.abs(noise_of(diffuser, states=states) - before)[:, 5:].min(axis=(0, 2)).max() > 1e-4
    noisy[:, 4] += 1.0
    steps[:, 4] = 21 - steps[:, 4]
    moved = np.abs(noise_of(diffuser, noisy=noisy, steps=steps) - before).max(axis=(0, 2))
    assert moved[4] > 1e-3 and np.delete(moved, 4).max() == 0.0


def test_a_new_diffuser_predicts_what_a_velocity_of_zero_means():
    keras.utils.set_random_seed(0)
    new = GaussianDiffuser(WIDTH, 8, 1, 16, training_steps=20, num_heads=1)
    expected = np.sqrt(1 - new.alpha_bars[STEPS])[..., None] * NOISY
    np.testing.assert_allclose(noise_of(new), expected, atol=1e-6)


def test_denoised_states_are_those_of_a_naive_loop_from_the_saved_start(diffuser):
    positions = np.tile(np.arange(LENGTH), (3, 1))
    x = np.broadcast_to(np.asarray(diffuser.start_noise), STATES.shape).astype("float64")
    steps, levels = sampling_steps(20, 4).tolist(), diffuser.alpha_bars
    for step, after in zip(steps, [*steps[1:], 0], strict=True):
        noise = noise_of(diffuser, noisy=x.astype("float32"), steps=np.full_like(STEPS, step))
        clean = (x - np.sqrt(1 - levels[step]) * noise) / np.sqrt(levels[step])
        x = np.sqrt(levels[after]) * clean + np.sqrt(1 - levels[after]) * noise
    expected = np.where(positions[..., None] == 0, STATES, x)  # the first state is given
    np.testing.assert_allclose(diffuser.denoised(STATES, num_steps=4), expected, atol=2e-3)


def test_steps_with_a_cache_sample_what_one_pass_does(diffuser):
    padding, states = np.array([0, 3, 1], "int32"), STATES.copy()
    cache, parts = diffuser.initial_cache(3, LENGTH + 2), []
    for start, end in ((0, 5), (5, 6), (6, LENGTH)):
        found, new = diffuser.step(states[:, start:end], cache, start, padding, num_steps=3)
        last, _ = diffuser.step(states[:, start:end], cache, start, padding, num_steps=3, last_only=True)
        np.testing.assert_allclose(last, np.asarray(found)[:, -1:], atol=1e-5)
        cache = new
        parts.append(np.asarray(found))
    sampled = np.concatenate(parts, axis=1)
    for row, size in enumerate(padding):
        alone = np.asarray(diffuser.denoised(states[row : row + 1, size:], 3))[0]
        np.testing.assert_allclose(sampled[row, size:], alone, atol=1e-4)


def test_documents_of_a_row_and_batch_mates_do_not_see_one_another(diffuser):
    segment_ids = np.array([[1, 1, 1, 2, 2, 2, 2, 0]] * 3, "int32")
    positions = np.array([[0, 1, 2, 0, 1, 2, 3, 0]] * 3, "int32")
    packed = np.asarray(diffuser.denoised(STATES, 3, segment_ids, positions))
    for row in range(3):
        for here in (slice(0, 3), slice(3, 7)):
            alone = np.asarray(diffuser.denoised(STATES[row : row + 1, here], 3))[0]
            np.testing.assert_allclose(packed[row, here], alone, atol=1e-5)
    assert np.isfinite(packed).all()


def test_a_saved_diffuser_comes_back_with_its_start_and_its_transformer(tmp_path, diffuser):
    diffuser.outputs_description = {"transformer_hash": "0123"}
    again = hn.load_model(hn.save_model(diffuser, tmp_path / "diffuser"))
    assert type(again) is GaussianDiffuser and again.outputs_description == {"transformer_hash": "0123"}
    np.testing.assert_array_equal(again.denoised(STATES, 3), diffuser.denoised(STATES, 3))
    np.testing.assert_array_equal(again.start_noise, diffuser.start_noise)
    assert again.training_steps == 20 and again.get_config() == diffuser.get_config()


def test_sixteen_bit_layers_give_noise_in_float32(diffuser):
    half = make_diffuser(dtype="mixed_bfloat16")
    assert noise_of(half).dtype == np.float32
    np.testing.assert_allclose(noise_of(half), noise_of(diffuser), atol=0.1)
    assert all(weight.dtype == "float32" for weight in half.weights)


def test_bad_arguments_are_refused_in_one_line(diffuser):
    for fields, message in (
        ({"training_steps": 0}, "`training_steps` must be"),
        ({"embedding_dim": 0}, "`embedding_dim` must be"),
        ({"dropout": 1.0}, "`dropout` must be"),
    ):
        with pytest.raises(ConfigError, match=message) as refusal:
            make_diffuser(**fields)
        assert "\n" not in str(refusal.value)
    with pytest.raises(ConfigError, match="`sampling_steps` must be at most training_steps=20"):
        diffuser.denoised(STATES, num_steps=21)
