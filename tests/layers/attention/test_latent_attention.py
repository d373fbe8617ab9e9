import keras
import numpy as np
import pytest

from highnoon.layers.attention.latent_attention import LatentAttention
from highnoon.testing.check_mixer import check_mixer
from highnoon.testing.gradients import layer_gradients

SIZES = {"kv_lora_rank": 6, "qk_nope_head_dim": 5, "qk_rope_head_dim": 4, "v_head_dim": 3}
OTHERS = {
    **SIZES,
    "q_lora_rank": 7,
    "rope_theta": 500.0,
    "rope_interleaved": False,
    "rope_scaling": {"rope_type": "linear", "factor": 2.0},
    "softmax_scale": 0.3,
    "use_bias": True,
    "norm_epsilon": 0.01,
    "dropout": 0.1,
    "chunk_length": 3,
    "kernel_initializer": "he_normal",
    "output_initializer": "he_uniform",
}


@pytest.fixture
def built():
    layer = LatentAttention(2, **SIZES)
    layer.build((None, None, 8))
    return layer


@pytest.mark.slow
def test_it_keeps_the_mixer_protocol():
    check_mixer(LatentAttention(2, **SIZES, q_lora_rank=7, chunk_length=4, use_bias=True), width=8)


def test_every_argument_survives_the_configuration():
    config = LatentAttention(2, **OTHERS).get_config()
    assert LatentAttention.from_config(config).get_config() == config
    for name, value in OTHERS.items():
        kept = config[name]["class_name"] if "initializer" in name else config[name]
        assert kept == {"he_normal": "HeNormal", "he_uniform": "HeUniform"}.get(str(value), value)


def naive(layer, x, positions):
    """Head by head and token by token, with the weights as they are stored."""
    w = {weight.path.split("/", 1)[-1]: keras.ops.convert_to_numpy(weight) for weight in layer.weights}
    heads, nope, rope, value = 2, 5, 4, 3

    def norm(u, scale):
        return u / np.sqrt((u**2).mean(-1, keepdims=True) + layer.norm_epsilon) * scale

    def turn(u, position):
        pairs = u[..., ::2] + 1j * u[..., 1::2]
        pairs = pairs * np.exp(1j * position[:, None] / 10000.0 ** (np.arange(rope // 2) * 2 / rope))
        return np.stack([pairs.real, pairs.imag], -1).reshape(u.shape)

    query = (x @ w["q_proj/kernel"]).reshape(len(x), heads, nope + rope)
    joined = x @ w["kv_a_proj_with_mqa/kernel"]
    latent, rotary_key = norm(joined[:, :6], w["kv_a_layernorm/scale"]), turn(joined[:, 6:], positions)
    both = (latent @ w["kv_b_proj/kernel"]).reshape(len(x), heads, nope + value)
    out = np.zeros((len(x), heads, value))
    for h in range(heads):
        rotary_query = turn(query[:, h, nope:], positions)
        scores = query[:, h, :nope] @ both[:, h, :nope].T + rotary_query @ rotary_key.T
        for t in range(len(x)):
            p = np.exp(scores[t, : t + 1] / np.sqrt(nope + rope))
            out[t, h] = p / p.sum() @ both[: t + 1, h, nope:]
    return out.reshape(len(x), -1) @ w["o_proj/kernel"]


def test_outputs_equal_a_loop_over_heads_and_tokens(built):
    x = np.random.default_rng(0).standard_normal((7, 8)).astype("float32")
    np.testing.assert_allclose(built(x[None])[0], naive(built, x, np.arange(7)), atol=1e-5)
    later = built(x[None], positions=np.arange(40, 47))[0]
    np.testing.assert_allclose(later, naive(built, x, np.arange(40, 47)), atol=1e-5)


@pytest.mark.parametrize("time, is_absorbed", [(1, True), (6, False)])
def test_both_forms_of_a_step_equal_the_full_pass(time, is_absorbed):
    layer = LatentAttention(2, kv_lora_rank=32, qk_nope_head_dim=5, qk_rope_head_dim=4, v_head_dim=3)
    x = np.random.default_rng(0).standard_normal((2, 12, 8)).astype("float32")
    whole, cache = layer(x), layer.initial_cache(2, 12)
    assert layer._is_absorbed(time, 12) == is_absorbed
    for start in range(0, 12, time):
        y, cache = layer.step(keras.ops.convert_to_tensor(x[:, start : start + time]), cache, start)
        np.testing.assert_allclose(y, whole[:, start : start + time], atol=1e-5)


def test_the_cache_holds_one_latent_a_token_for_all_heads(built):
    sizes = [int(np.prod(array.shape)) for array in built.initial_cache(3, 10).values()]
    assert sum(sizes) == 3 * 10 * (6 + 4)


def test_low_precision_is_close_to_full():
    low = LatentAttention(2, **SIZES, dtype="mixed_bfloat16")
    x = np.random.default_rng(0).standard_normal((2, 9, 8)).astype("float32")
    y, full = low(x), LatentAttention(2, **SIZES)
    full.build(x.shape)
    full.set_weights(low.get_weights())
    assert keras.backend.standardize_dtype(y.dtype) == "bfloat16"
    y = keras.ops.convert_to_numpy(keras.ops.cast(y, "float32"))
    np.testing.assert_allclose(y, full(x), atol=0.05)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"num_heads": 0}, "`num_heads` must be at least 1; received 0"),
        ({"num_heads": 2, "qk_rope_head_dim": 3}, "`qk_rope_head_dim` must be even.* received 3"),
        ({"num_heads": 2, "dropout": 1.0}, r"`dropout` must be in \[0, 1\); received 1.0"),
        ({"num_heads": 2, "softmax_scale": 0.0}, "`softmax_scale` must be above 0; received 0.0"),
    ],
)
def test_arguments_that_cannot_be_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        LatentAttention(**arguments)


@pytest.mark.slow
@pytest.mark.parametrize("q_lora_rank, bias", [(None, False), (6, True)])
def test_outputs_and_gradients_equal_transformers(q_lora_rank, bias):
    torch = pytest.importorskip("torch", reason="needs torch")
    pytest.importorskip("transformers", reason="needs transformers")
    from transformers import DeepseekV2Config
    from transformers.models.deepseek_v2.modeling_deepseek_v2 import (
        DeepseekV2Attention,
        DeepseekV2RotaryEmbedding,
    )

    torch.manual_seed(0)
    config = DeepseekV2Config(
        hidden_size=16,
        num_attention_heads=4,
        q_lora_rank=q_lora_rank,
        kv_lora_rank=10,
        qk_nope_head_dim=6,
        qk_rope_head_dim=4,
        v_head_dim=5,
        attention_bias=bias,
        attn_implementation="eager",
    )
    theirs = DeepseekV2Attention(config, layer_idx=0)
    for weight in theirs.parameters():
        weight.data += 0.3 * torch.randn_like(weight)
    ours = LatentAttention(
        4, 10, q_lora_rank, qk_nope_head_dim=6, qk_rope_head_dim=4, v_head_dim=5, use_bias=bias
    )
    ours.build((None, None, 16))
    theirs_by_name = {
        name.replace(".", "/").replace("norm/weight", "norm/scale").replace("weight", "kernel"): weight
        for name, weight in theirs.named_parameters()
    }
    pairs = [(weight, theirs_by_name.pop(weight.path.split("/", 1)[-1])) for weight in ours.weights]
    assert not theirs_by_name
    for mine, other in pairs:
        mine.assign(other.detach().numpy().T)

    x, target = np.random.default_rng(0).standard_normal((2, 2, 11, 16)).astype("float32")
    tensor = torch.tensor(x, requires_grad=True)
    angles = DeepseekV2RotaryEmbedding(config)(tensor, torch.arange(11)[None])
    mask = torch.full((11, 11), float("-inf")).triu(1)[None, None]
    y = theirs(tensor, attention_mask=mask, position_embeddings=angles)[0]
    (y * torch.tensor(target)).sum().backward()
    np.testing.assert_allclose(ours(x), y.detach().numpy(), atol=1e-4)
    gradients = layer_gradients(ours, x, target)
    np.testing.assert_allclose(gradients["x"], tensor.grad.numpy(), atol=1e-4)
    for mine, other in pairs:
        expected = other.grad.numpy().T
        np.testing.assert_allclose(gradients[mine.path], expected, atol=1e-4 * max(1, np.abs(expected).max()))
