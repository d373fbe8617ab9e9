import keras
import numpy as np
import pytest

from highnoon.layers.recurrence.selective_state_space import SelectiveStateSpace
from highnoon.testing.check_mixer import check_mixer
from highnoon.testing.gradients import layer_gradients

OTHERS = {
    "state_dim": 5,
    "expand": 3,
    "conv_kernel_size": 3,
    "time_step_rank": 2,
    "num_parts": 3,
    "use_bias": True,
    "use_conv_bias": False,
    "time_step_min": 0.01,
    "time_step_max": 0.2,
    "time_step_floor": 0.02,
    "time_step_scale": 0.5,
    "dropout": 0.1,
    "kernel_initializer": "he_normal",
    "output_initializer": "he_uniform",
}


@pytest.mark.slow
def test_it_keeps_the_mixer_protocol():
    check_mixer(SelectiveStateSpace(state_dim=3, num_parts=3, use_bias=True), width=8)


def test_every_argument_survives_the_configuration():
    config = SelectiveStateSpace(**OTHERS).get_config()
    assert SelectiveStateSpace.from_config(config).get_config() == config
    for name, value in OTHERS.items():
        kept = config[name]["class_name"] if "initializer" in name else config[name]
        assert kept == {"he_normal": "HeNormal", "he_uniform": "HeUniform"}.get(value, value)


@pytest.mark.parametrize("time, num_parts", [(1, None), (7, 3), (9, 3), (10, 3), (10, 1)])
def test_any_length_equals_decoding_step_by_step(time, num_parts):
    layer = SelectiveStateSpace(state_dim=3, num_parts=num_parts)
    x = np.random.default_rng(time).standard_normal((1, time, 6)).astype("float32")
    whole = layer(x)
    cache, outputs = layer.initial_cache(1, time), []
    for t in range(time):
        y, cache = layer.step(x[:, t : t + 1], cache, t)
        outputs.append(keras.ops.convert_to_numpy(y))
    np.testing.assert_allclose(np.concatenate(outputs, 1), whole, atol=1e-5)


def test_the_state_stays_float32_in_low_precision():
    layer = SelectiveStateSpace(state_dim=3, dtype="mixed_bfloat16")
    x = np.random.default_rng(0).standard_normal((2, 9, 8)).astype("float32")
    y, cache = layer(x), layer.initial_cache(2, 9)
    _, cache = layer.step(x, cache, 0)
    assert keras.backend.standardize_dtype(y.dtype) == "bfloat16"
    assert keras.backend.standardize_dtype(cache["state"].dtype) == "float32"
    precise = SelectiveStateSpace(state_dim=3)
    precise.build(x.shape)
    precise.set_weights(layer.get_weights())
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(keras.ops.cast(y, "float32")), precise(x), atol=0.02
    )


def test_weights_start_as_published():
    layer = SelectiveStateSpace(state_dim=4)
    layer.build((None, None, 256))
    steps = np.log1p(np.exp(keras.ops.convert_to_numpy(layer.dt_bias)))
    np.testing.assert_allclose(np.exp(layer.A_log), np.tile([1, 2, 3, 4], (512, 1)), rtol=1e-6)
    assert 0.001 <= steps.min() * 1.001 < 0.0015 and 0.07 < steps.max() <= 0.1001
    assert layer.rank == 16 and 0.24 < np.abs(keras.ops.convert_to_numpy(layer.dt_proj.kernel)).max() <= 0.25
    np.testing.assert_array_equal(layer.D, np.ones(512))


def test_a_small_batch_is_cut_into_more_parts():
    layer = SelectiveStateSpace()
    layer.build((None, None, 384))
    parts = [layer._num_parts(np.empty((batch, 4, 768))) for batch in (1, 4, 32)]
    assert parts == [10, 2, 1]


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"state_dim": 0}, "`state_dim` must be at least 1; received 0"),
        ({"num_parts": 0}, "`num_parts` must be at least 1; received 0"),
        ({"dropout": -0.1}, r"`dropout` must be in \[0, 1\); received -0.1"),
        ({"time_step_scale": 0}, "`time_step_scale` must be above 0; received 0"),
        ({"time_step_floor": 0}, "`floor` must be above 0; received 0"),
    ],
)
def test_arguments_that_cannot_be_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        SelectiveStateSpace(**arguments)


@pytest.mark.slow
@pytest.mark.parametrize("bias", [False, True])
def test_outputs_and_gradients_equal_transformers(bias):
    torch = pytest.importorskip("torch", reason="needs torch")
    pytest.importorskip("transformers", reason="needs transformers")
    from transformers import MambaConfig
    from transformers.models.mamba.modeling_mamba import MambaMixer

    torch.manual_seed(0)
    theirs = MambaMixer(
        MambaConfig(
            hidden_size=16,
            state_size=6,
            expand=2,
            conv_kernel=4,
            use_bias=bias,
            num_hidden_layers=1,
        ),
        layer_idx=0,
    )
    for weight in theirs.parameters():
        weight.data += 0.1 * torch.randn_like(weight)
    ours = SelectiveStateSpace(state_dim=6, use_bias=bias, num_parts=3)
    ours.build((None, None, 16))
    pairs = [
        (ours.in_proj.kernel, theirs.in_proj.weight),
        (ours.out_proj.kernel, theirs.out_proj.weight),
        (ours.conv1d.kernel, theirs.conv1d.weight),
        (ours.conv1d.bias, theirs.conv1d.bias),
        (ours.x_proj.kernel, theirs.x_proj.weight),
        (ours.dt_proj.kernel, theirs.dt_proj.weight),
        (ours.dt_bias, theirs.dt_proj.bias),
        (ours.A_log, theirs.A_log),
        (ours.D, theirs.D),
    ]
    if bias:
        pairs += [(ours.in_proj.bias, theirs.in_proj.bias), (ours.out_proj.bias, theirs.out_proj.bias)]
    assert len(pairs) == len(ours.weights) == len(list(theirs.parameters()))

    def as_ours(tensor, mine):
        """Dense and convolution kernels are turned, A_log is kept as it is."""
        array = tensor.detach().numpy()
        return array if mine is ours.A_log else array.reshape(array.shape[0], -1).T.reshape(mine.shape)

    for mine, other in pairs:
        mine.assign(as_ours(other, mine))
    x, target = np.random.default_rng(0).standard_normal((2, 2, 21, 16)).astype("float32")
    tensor = torch.tensor(x, requires_grad=True)
    y = theirs(tensor)
    (y * torch.tensor(target)).sum().backward()
    np.testing.assert_allclose(ours(x), y.detach().numpy(), atol=1e-4)
    gradients = layer_gradients(ours, x, target)
    np.testing.assert_allclose(gradients["x"], tensor.grad.numpy(), atol=1e-4)
    for mine, other in pairs:
        expected = as_ours(other.grad, mine)
        np.testing.assert_allclose(gradients[mine.path], expected, atol=1e-4 * max(1, np.abs(expected).max()))
