import keras
import numpy as np
import pytest

from highnoon.layers.recurrence.gated_delta_rule import GatedDeltaRule
from highnoon.testing.check_mixer import check_mixer
from highnoon.testing.gradients import layer_gradients

OTHERS = {
    "num_key_heads": 2,
    "key_head_dim": 3,
    "value_head_dim": 5,
    "conv_kernel_size": 3,
    "chunk_length": 8,
    "norm_epsilon": 0.01,
    "time_step_min": 0.01,
    "time_step_max": 0.2,
    "time_step_floor": 0.02,
    "dropout": 0.1,
    "kernel_initializer": "he_normal",
    "output_initializer": "he_uniform",
}


@pytest.mark.slow
def test_it_keeps_the_mixer_protocol():
    check_mixer(GatedDeltaRule(4, 2, key_head_dim=3, value_head_dim=5, chunk_length=4), width=8)


def test_every_argument_survives_the_configuration():
    config = GatedDeltaRule(4, **OTHERS).get_config()
    assert GatedDeltaRule.from_config(config).get_config() == config
    for name, value in OTHERS.items():
        kept = config[name]["class_name"] if "initializer" in name else config[name]
        assert kept == {"he_normal": "HeNormal", "he_uniform": "HeUniform"}.get(value, value)


@pytest.mark.parametrize("time", [1, 7, 8, 9, 21])
def test_any_length_equals_decoding_step_by_step(time):
    layer = GatedDeltaRule(2, key_head_dim=3, value_head_dim=4, chunk_length=8)
    x = np.random.default_rng(time).standard_normal((1, time, 6)).astype("float32")
    whole = layer(x)
    cache, outputs = layer.initial_cache(1, time), []
    for t in range(time):
        y, cache = layer.step(x[:, t : t + 1], cache, t)
        outputs.append(keras.ops.convert_to_numpy(y))
    np.testing.assert_allclose(np.concatenate(outputs, 1), whole, atol=1e-5)


def test_the_state_stays_float32_in_low_precision():
    layer = GatedDeltaRule(2, key_head_dim=4, value_head_dim=4, dtype="mixed_bfloat16")
    x = np.random.default_rng(0).standard_normal((2, 9, 8)).astype("float32")
    y, cache = layer(x), layer.initial_cache(2, 9)
    _, cache = layer.step(x, cache, 0)
    assert keras.backend.standardize_dtype(y.dtype) == "bfloat16"
    assert keras.backend.standardize_dtype(cache["state"].dtype) == "float32"
    precise = GatedDeltaRule(2, key_head_dim=4, value_head_dim=4)
    precise.build(x.shape)
    precise.set_weights(layer.get_weights())
    y = keras.ops.convert_to_numpy(keras.ops.cast(y, "float32"))
    np.testing.assert_allclose(y, precise(x), atol=0.05)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"num_value_heads": 0}, "`num_value_heads` must be at least 1; received 0"),
        ({"num_value_heads": 4, "num_key_heads": 3}, "must divide num_value_heads=4; received 3"),
        ({"num_value_heads": 4, "chunk_length": 12}, "`chunk_length` must be a power of two; received 12"),
        ({"num_value_heads": 4, "dropout": 1.0}, r"`dropout` must be in \[0, 1\); received 1.0"),
    ],
)
def test_arguments_that_cannot_be_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        GatedDeltaRule(**arguments)


@pytest.mark.slow
def test_outputs_and_gradients_equal_transformers():
    torch = pytest.importorskip("torch", reason="needs torch")
    pytest.importorskip("transformers", reason="needs transformers")
    from transformers import Qwen3NextConfig
    from transformers.models.qwen3_next.modeling_qwen3_next import Qwen3NextGatedDeltaNet

    torch.manual_seed(0)
    theirs = Qwen3NextGatedDeltaNet(
        Qwen3NextConfig(
            hidden_size=16,
            linear_num_value_heads=4,
            linear_num_key_heads=2,
            linear_key_head_dim=3,
            linear_value_head_dim=5,
            linear_conv_kernel_dim=4,
            num_hidden_layers=1,
        ),
        layer_idx=0,
    )
    for weight in theirs.parameters():
        weight.data += 0.1 * torch.randn_like(weight)
    ours = GatedDeltaRule(4, 2, key_head_dim=3, value_head_dim=5, chunk_length=8)
    ours.build((None, None, 16))
    pairs = [
        (ours.in_proj_qkvz.kernel, theirs.in_proj_qkvz.weight),
        (ours.in_proj_ba.kernel, theirs.in_proj_ba.weight),
        (ours.conv1d.kernel, theirs.conv1d.weight),
        (ours.dt_bias, theirs.dt_bias),
        (ours.A_log, theirs.A_log),
        (ours.norm.scale, theirs.norm.weight),
        (ours.out_proj.kernel, theirs.out_proj.weight),
    ]
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
