import keras
import numpy as np
import pytest

from highnoon.layers.recurrence.state_space_duality import StateSpaceDuality
from highnoon.testing.check_mixer import check_mixer
from highnoon.testing.gradients import layer_gradients

OTHERS = {
    "state_dim": 5,
    "head_dim": 4,
    "expand": 3,
    "num_groups": 2,
    "conv_kernel_size": 3,
    "chunk_length": 4,
    "use_bias": True,
    "use_conv_bias": False,
    "norm_epsilon": 0.01,
    "time_step_min": 0.01,
    "time_step_max": 0.2,
    "time_step_floor": 0.02,
    "time_step_limit": (0.05, 0.9),
    "dropout": 0.1,
    "kernel_initializer": "he_normal",
    "output_initializer": "he_uniform",
}


@pytest.mark.slow
def test_it_keeps_the_mixer_protocol():
    check_mixer(
        StateSpaceDuality(state_dim=5, head_dim=4, num_groups=2, chunk_length=4, use_bias=True), width=8
    )


def test_every_argument_survives_the_configuration():
    config = StateSpaceDuality(**OTHERS).get_config()
    copy = StateSpaceDuality.from_config(config)
    assert copy.get_config() == config
    for name, value in OTHERS.items():
        kept = config[name]["class_name"] if "initializer" in name else config[name]
        assert kept == {"he_normal": "HeNormal", "he_uniform": "HeUniform"}.get(value, value)


@pytest.mark.parametrize("time", [1, 7, 8, 9, 21])
def test_any_length_equals_decoding_step_by_step(time):
    layer = StateSpaceDuality(state_dim=4, head_dim=4, chunk_length=8)
    x = np.random.default_rng(time).standard_normal((1, time, 6)).astype("float32")
    whole = layer(x)
    cache, outputs = layer.initial_cache(1, time), []
    for t in range(time):
        y, cache = layer.step(x[:, t : t + 1], cache, t)
        outputs.append(keras.ops.convert_to_numpy(y))
    np.testing.assert_allclose(np.concatenate(outputs, 1), whole, atol=1e-5)


def test_the_state_stays_float32_in_low_precision():
    keras.utils.set_random_seed(0)
    layer = StateSpaceDuality(state_dim=4, head_dim=4, dtype="mixed_bfloat16")
    x = np.random.default_rng(0).standard_normal((2, 9, 8)).astype("float32")
    y, cache = layer(x), layer.initial_cache(2, 9)
    _, cache = layer.step(x, cache, 0)
    assert keras.backend.standardize_dtype(y.dtype) == "bfloat16"
    assert keras.backend.standardize_dtype(cache["state"].dtype) == "float32"
    precise = StateSpaceDuality(state_dim=4, head_dim=4)
    precise.build(x.shape)
    precise.set_weights(layer.get_weights())
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(keras.ops.cast(y, "float32")), precise(x), atol=0.02
    )


def test_weights_start_as_published():
    layer = StateSpaceDuality(state_dim=4, head_dim=2)
    layer.build((None, None, 256))
    rates = np.exp(keras.ops.convert_to_numpy(layer.A_log))
    steps = np.log1p(np.exp(keras.ops.convert_to_numpy(layer.dt_bias)))
    assert 1 <= rates.min() < 2 and 15 < rates.max() <= 16
    assert 0.001 <= steps.min() * 1.001 < 0.0015 and 0.07 < steps.max() <= 0.1001
    assert 0.3 < np.mean(np.log10(steps) < -2) < 0.7
    kernel = keras.ops.convert_to_numpy(layer.in_proj.kernel)
    assert 0.062 < np.abs(kernel).max() <= 0.0625
    np.testing.assert_array_equal(layer.D, np.ones(256))


def test_dropout_acts_in_training_alone():
    layer = StateSpaceDuality(state_dim=4, head_dim=4, dropout=0.5)
    x = np.random.default_rng(0).standard_normal((2, 9, 8)).astype("float32")
    y = keras.ops.convert_to_numpy(layer(x, training=True))
    assert 0.3 < np.mean(y == 0) < 0.7
    np.testing.assert_array_equal(layer(x), layer(x, training=False))


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"state_dim": 0}, "`state_dim` must be at least 1; received 0"),
        ({"dropout": 1.0}, r"`dropout` must be in \[0, 1\); received 1.0"),
        ({"time_step_limit": (0.2, 0.1)}, r"0 <= low < high; received \(0.2, 0.1\)"),
        ({"time_step_min": 0.2}, "0 < minimum <= maximum; received minimum=0.2, maximum=0.1"),
        ({"head_dim": 5}, "expand \\* width = 16 must be a multiple of head_dim=5"),
        ({"head_dim": 4, "num_groups": 3}, "`num_groups` must divide the 4 heads"),
    ],
)
def test_arguments_that_cannot_be_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        StateSpaceDuality(**arguments).build((None, None, 8))


@pytest.mark.slow
@pytest.mark.parametrize("num_groups, limit, bias", [(1, (0.0, float("inf")), False), (2, (0.01, 0.5), True)])
def test_outputs_and_gradients_equal_transformers(num_groups, limit, bias):
    torch = pytest.importorskip("torch", reason="needs torch")
    pytest.importorskip("transformers", reason="needs transformers")
    from transformers import Mamba2Config
    from transformers.models.mamba2.modeling_mamba2 import Mamba2Mixer

    torch.manual_seed(0)
    theirs = Mamba2Mixer(
        Mamba2Config(
            hidden_size=16,
            num_heads=8,
            head_dim=4,
            state_size=6,
            n_groups=num_groups,
            chunk_size=8,
            expand=2,
            conv_kernel=4,
            use_bias=bias,
            time_step_limit=limit,
            num_hidden_layers=1,
        ),
        layer_idx=0,
    )
    for weight in theirs.parameters():
        weight.data += 0.1 * torch.randn_like(weight)
    ours = StateSpaceDuality(
        state_dim=6, head_dim=4, num_groups=num_groups, chunk_length=8, use_bias=bias, time_step_limit=limit
    )
    ours.build((None, None, 16))
    pairs = [
        (ours.in_proj.kernel, theirs.in_proj.weight),
        (ours.out_proj.kernel, theirs.out_proj.weight),
        (ours.conv1d.kernel, theirs.conv1d.weight),
        (ours.conv1d.bias, theirs.conv1d.bias),
        (ours.dt_bias, theirs.dt_bias),
        (ours.A_log, theirs.A_log),
        (ours.D, theirs.D),
        (ours.norm.scale, theirs.norm.weight),
    ]
    if bias:
        pairs += [(ours.in_proj.bias, theirs.in_proj.bias), (ours.out_proj.bias, theirs.out_proj.bias)]
    assert len(pairs) == len(ours.weights) == len(list(theirs.parameters()))
    for mine, other in pairs:
        mine.assign(other.detach().numpy().squeeze().T)

    x, target = np.random.default_rng(0).standard_normal((2, 2, 21, 16)).astype("float32")
    tensor = torch.tensor(x, requires_grad=True)
    y = theirs(tensor)
    (y * torch.tensor(target)).sum().backward()
    np.testing.assert_allclose(ours(x), y.detach().numpy(), atol=1e-4)
    gradients = layer_gradients(ours, x, target)
    np.testing.assert_allclose(gradients["x"], tensor.grad.numpy(), atol=1e-4)
    for mine, other in pairs:
        expected = other.grad.numpy().squeeze().T
        np.testing.assert_allclose(gradients[mine.path], expected, atol=1e-4 * max(1, np.abs(expected).max()))
