"""BDH as a part of a model, and its presets."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
from keras import ops

import highnoon as hn
from highnoon.config import PRESETS, ConfigError, ModelConfig, get_preset_config
from highnoon.layers.hatching import BDHLayer
from highnoon.layers.hatching.adjacent_rotation import adjacent_rotation
from highnoon.models.costs import activation_bytes, flops_per_token
from highnoon.models.memory import cache_bytes, count_parameters
from highnoon.models.patterns import bind_pattern
from highnoon.testing import check_model as battery
from highnoon.testing.check_part import check_part

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

CONFIG = ModelConfig(
    **{
        **get_preset_config("hatching-nano").model.to_dict(),
        "vocab_size": 31,
        "embedding_dim": 16,
        "num_heads": 2,
        "num_reasoning_blocks": 3,
        "max_seq_length": 32,
        "block_pattern": "bdh(multiplier=4)",
        "dropout": 0.0,
    }
)
SHORT = dataclasses.replace(CONFIG, embedding_dim=32, max_seq_length=24)  # the cache is a list of tokens
IDS = np.random.default_rng(0).integers(1, 31, (2, 9)).astype("int32")
HATCHING = [name for name in PRESETS if name.startswith("hatching-")]


def norm(x):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5)


def rotated(x):
    """(t, n) with adjacent pairs turned by position / 65536^(i/n) for the pair that starts at i."""
    time, size = x.shape
    angle = np.arange(time)[:, None] / 65536.0 ** (np.arange(0, size, 2) / size)
    y = np.empty_like(x)
    y[:, 0::2] = x[:, 0::2] * np.cos(angle) - x[:, 1::2] * np.sin(angle)
    y[:, 1::2] = x[:, 1::2] * np.cos(angle) + x[:, 0::2] * np.sin(angle)
    return y


def naive_logits(weights, ids, num_levels):
    """The model as published, one document, in float64."""
    embedding, encoder, encoder_v, decoder, head = (weight.astype("float64") for weight in weights)
    x = norm(embedding[ids])
    for _ in range(num_levels):
        gated = []
        for of_head, of_head_v in zip(encoder, encoder_v, strict=True):
            sparse = np.maximum(x @ of_head, 0)
            key = rotated(sparse)
            attended = np.tril(key @ key.T, -1) @ x
            gated.append(sparse * np.maximum(norm(attended) @ of_head_v, 0))
        x = norm(x + norm(np.concatenate(gated, axis=1) @ decoder))
    return x @ head


def weights_of(model):
    layer = model.backbone.reasoning_blocks[0].mixers[0]
    embedding = model.backbone.token_embedding
    weights = (
        embedding.embeddings,
        layer.encoder,
        layer.encoder_v,
        layer.decoder,
        embedding.reverse_embeddings,
    )
    return [ops.convert_to_numpy(weight) for weight in weights]


@pytest.mark.parametrize("form", ["quadratic", "chunked"])
def test_logits_are_those_of_the_published_equations(form):
    pattern = f"bdh(multiplier=4, form={form}, chunk_length=4)"
    model = battery._awake(dataclasses.replace(CONFIG, block_pattern=pattern), hn.LanguageModel)
    logits = battery.logits_of(model, IDS)
    for row, ids in zip(logits, IDS, strict=True):
        expected = naive_logits(weights_of(model), ids, 3)
        np.testing.assert_allclose(row, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("config", [CONFIG, SHORT], ids=["state", "list"])
def test_the_cache_holds_and_counts_what_it_chooses_by_length(config):
    fields = {"embedding_dim": config.embedding_dim, "max_seq_length": config.max_seq_length}
    check_part("bdh(multiplier=4)", **fields)
    model = battery.new_model(config)
    cache = model.initial_cache(1, config.max_seq_length)
    kind = {"state"} if config is CONFIG else {"keys", "values"}
    assert set(cache["reasoning_block_2"]["pair_0_bdh"]) == kind
    numbers = sum(int(np.prod(leaf.shape)) for leaf in keras.tree.flatten(cache))
    assert cache_bytes(config) == 4 * numbers
    battery.check_cached_decoding(config)


def test_documents_batch_mates_and_later_tokens_change_nothing():
    battery.check_packing(CONFIG)
    battery.check_causality(CONFIG)
    battery.check_batch_mates(CONFIG)


def test_bfloat16_keeps_weights_and_phases_exact():
    battery.check_bfloat16(CONFIG)
    neurons = np.ones((1, 1, 1, 64), "float32")
    turned = adjacent_rotation(ops.cast(neurons, "bfloat16"), ops.convert_to_tensor([30_001]))
    angle = 30_001 / 65536.0 ** (np.arange(0, 64, 2) / 64)
    expected = np.stack([np.cos(angle) - np.sin(angle), np.cos(angle) + np.sin(angle)], axis=-1).ravel()
    np.testing.assert_allclose(
        ops.convert_to_numpy(ops.cast(turned, "float32"))[0, 0, 0], expected, atol=0.01
    )


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="recomputation runs on TensorFlow")
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_recomputed_blocks_have_the_same_gradient(dtype):
    config = dataclasses.replace(CONFIG, dropout=0.2)
    batch = {"token_ids": IDS, "labels": IDS, "loss_weights": np.ones(IDS.shape, "float32")}
    gradients = []
    for is_checkpointed in (False, True):
        keras.utils.set_random_seed(1)
        model = hn.LanguageModel(**config.to_dict(), dtype=dtype)
        if is_checkpointed:
            model.gradient_checkpointing_enable()

        with tf.GradientTape() as tape:
            loss = model.loss_terms(batch)["loss_sum"]
        variables = [variable.value for variable in model.trainable_variables]
        gradients.append(tape.gradient(loss, variables))
    for plain, recomputed in zip(*gradients, strict=True):
        plain, recomputed = (ops.convert_to_numpy(ops.convert_to_tensor(g)) for g in (plain, recomputed))
        scale = np.abs(plain).max()
        assert scale > 0
        np.testing.assert_allclose(recomputed, plain, atol=1e-5 * scale)


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="JAX has no slopes of the loss")
def test_the_gradient_is_the_slope_and_one_batch_overfits(tmp_path):
    battery.check_gradient(CONFIG)
    battery.check_one_batch_overfits(CONFIG, num_steps=300)
    battery.check_loss(CONFIG)
    battery.check_save_and_load(CONFIG, tmp_path)


@pytest.mark.parametrize(("rows", "length", "measured"), [(8, 256, 2112), (2, 1024, 2372)])
def test_the_estimate_of_activations_is_near_what_a_step_was_measured_to_take(rows, length, measured):
    """MiB of `hatching-nano`: what the peak of a step grows by from 2 to 8 rows of 256, and from 1 to 2 rows
    of 1,024, for as many rows, as benchmarks/training_memory.py measures it on a CPU."""
    config = get_preset_config("hatching-nano").model
    config = dataclasses.replace(config, max_seq_length=length, dropout=0.1)
    expected = activation_bytes(config, rows, length, "float32") / 2**20
    assert 1 / 1.5 < expected / measured < 1.5


def test_what_bdh_stores_a_token_is_counted_tensor_by_tensor():
    neurons, width, heads, length = 4 * 16, 16, 2, 8
    rotation = {"pairs": neurons, "sines": neurons / 2 / heads, "cosines": neurons / 2 / heads}
    attention = {"queries": neurons, "keys": neurons, "products": heads * length}
    gate = {"sparse": neurons, "recalled": neurons, "gated": neurons}
    normalized = 3 * heads * width + 8 * width + heads * width + 2 * width
    part = bind_pattern(dataclasses.replace(CONFIG, dropout=0.0))[0][0]
    stored = part.part.activations(part.config, length)
    wide = sum([*rotation.values(), *attention.values()])
    assert stored.wide + stored.narrow == wide + sum(gate.values()) + normalized
    assert part.part.activations(part.config, 40).wide == stored.wide - heads * length  # in chunks


@pytest.mark.parametrize("name", HATCHING)
def test_a_preset_is_bdh_of_the_documented_size(name):
    config = get_preset_config(name)
    model, training = config.model, config.training
    sizes = (model.num_reasoning_blocks, model.embedding_dim, training.batch_size, model.max_seq_length)
    expected = {
        "hatching-nano": (6, 128, 8, 256),
        "hatching-small": (4, 128, 16, 256),
        "hatching-medium": (6, 256, 32, 512),
        "hatching-large": (12, 512, 64, 1024),
    }
    assert sizes == expected[name]
    assert float(training.learning_rate) == 1e-3 and training.weight_decay == 0.1
    multiplier = 32 if name == "hatching-nano" else 128
    neurons = multiplier * model.embedding_dim
    assert model.vocab_size == 263 and model.num_heads == 4
    assert count_parameters(model) == (3 * neurons + 2 * 263) * model.embedding_dim
    # Two operations forward and four backward for each weight of each application and of the head.
    matrices = 6 * (3 * neurons * model.num_reasoning_blocks + 263) * model.embedding_dim
    products = 3 * model.num_reasoning_blocks * model.max_seq_length * (neurons + 4 * model.embedding_dim)
    assert flops_per_token(model, model.max_seq_length) == matrices + products


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="training runs on TensorFlow")
def test_hatching_nano_trains_and_generates(tmp_path):
    model = hn.create_model("hatching-nano", num_reasoning_blocks=2, block_pattern="bdh(multiplier=4)")
    assert model.config.share_blocks and len(model.backbone.reasoning_blocks) == 1
    model.tokenizer = hn.tokenization.ByteTokenizer()
    text = tmp_path / "text.txt"
    text.write_text("the bird hatches and the bird fires. " * 400)
    trainer = hn.Trainer(model, batch_size=2, max_seq_length=64)
    assert trainer.config.weight_decay == 0.1 and trainer.config.learning_rate == 1e-3
    trainer.add_curriculum_stage("bytes", str(text), steps=30)
    summary = trainer.train(checkpoint_dir=tmp_path / "run", log_dir=None, log_interval=10)
    assert summary["stages_completed"][0]["final_loss"] < 4.0
    greedy = model.generate("the bird", max_length=8, temperature=0.0)
    prompt = model.tokenizer.encode("the bird", add_special_tokens=False)
    ids = [model.tokenizer.bos_token_id, *prompt]
    for _ in range(8):
        ids.append(int(battery.logits_of(model, np.array([ids]))[0, -1].argmax()))
    assert greedy == "the bird" + model.tokenizer.decode(ids[-8:])


def test_active_neurons_are_reported_and_bounded():
    model = battery.new_model(CONFIG)
    batch = {"token_ids": IDS, "labels": IDS, "loss_weights": np.ones(IDS.shape, "float32")}
    metrics = model.loss_terms(batch)["metrics"]
    assert 0.3 < float(metrics["activation/active_neurons"]) < 0.7  # new weights: half are above zero
    assert 0 < float(metrics["activation/gated_neurons"]) < float(metrics["activation/active_neurons"])


def test_what_bdh_does_not_have_is_refused_in_one_line(tmp_path):
    model = battery.new_model(CONFIG)
    with pytest.raises(ConfigError, match="kernels of BDHLayer cannot be quantized"):
        model.quantize("int8")
    with pytest.raises(ValueError, match="no mixer of block_pattern='bdh.multiplier=4.' has layers that get"):
        model.backbone.enable_lora(2)
    with pytest.raises(ValueError, match="is no model of transformers"):
        hn.export_model(model, tmp_path / "out")
    with pytest.raises(ConfigError, match="`bdh` is a complete block"):
        hn.create_model("hatching-nano", block_pattern="bdh+mlp")
    with pytest.raises(ConfigError, match="`bdh` has no option `neurons`"):
        hn.create_model("hatching-nano", block_pattern="bdh(neurons=4)")
    assert isinstance(model.backbone.reasoning_blocks[0].mixers[0], BDHLayer)
