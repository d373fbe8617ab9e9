"""One reasoning block applied several times, mixers that are whole blocks, and what is around the blocks."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
from keras import ops

import highnoon as hn
from highnoon.config import ConfigError, ModelConfig
from highnoon.layers import Mixer
from highnoon.models import LanguageModel, count_parameters, upcycle
from highnoon.models.costs import activation_bytes, flops_per_token
from highnoon.models.memory import bytes_to_run
from highnoon.models.parts import PARTS, Activations, MixerPart, register_part
from highnoon.models.patterns import parse_pattern
from highnoon.testing import check_model as battery

CONFIG = ModelConfig(
    vocab_size=31,
    embedding_dim=16,
    num_reasoning_blocks=3,
    max_seq_length=32,
    num_heads=2,
    ffn_dim=24,
    block_pattern="attention+mlp",
    share_blocks=True,
)
IDS = np.random.default_rng(0).integers(1, 31, (2, 9)).astype("int32")


@keras.saving.register_keras_serializable(package="tests")
class Rotation(Mixer):
    """Moves each token by the one before it, as many features as its level says: a block of its own."""

    def build(self, x_shape):
        self.scale = self.add_weight((x_shape[-1],), initializer="ones", name="scale")

    def call(self, x, segment_ids=None, positions=None, training=None, level=0):
        before = ops.pad(x, [[0, 0], [1, 0], [0, 0]])[:, :-1]
        if segment_ids is not None:
            last = ops.pad(segment_ids, [[0, 0], [1, 0]])[:, :-1]
            before = ops.where((segment_ids == last)[..., None], before, 0.0)
        return x + ops.tanh(ops.roll(before, level, axis=-1) * ops.cast(self.scale, x.dtype))

    def initial_cache(self, batch_size, max_length, dtype=None):
        return {"last": ops.zeros((batch_size, self.scale.shape[0]), self.compute_dtype)}

    def step(self, x, cache, index, padding=None, level=0):
        before = ops.concatenate([cache["last"][:, None], x], axis=1)[:, :-1]
        if padding is not None:
            before_index = index - 1 + ops.arange(x.shape[1])
            before = ops.where((before_index >= padding[:, None])[..., None], before, 0.0)
        y = x + ops.tanh(ops.roll(before, level, axis=-1) * ops.cast(self.scale, x.dtype))
        return y, {"last": x[:, -1]}


class RotationPart(MixerPart):
    is_whole_block = True

    def build(self, config, **kwargs):
        return Rotation(**kwargs)

    def parameters(self, config):
        return config.embedding_dim

    def cache_numbers(self, config):
        return config.embedding_dim

    def activations(self, config, length):
        return Activations(0, 3 * config.embedding_dim)


@pytest.fixture
def rotation(monkeypatch):
    monkeypatch.setattr(PARTS, "_classes", dict(PARTS._classes))
    register_part("rotation")(RotationPart)
    return "rotation"


def shared(**changes) -> ModelConfig:
    return dataclasses.replace(CONFIG, **changes)


def test_a_shared_block_computes_what_separate_blocks_of_equal_weights_do():
    one = battery.new_model(CONFIG)
    separate = battery.new_model(shared(share_blocks=False))
    separate.backbone.token_embedding.set_weights(one.backbone.token_embedding.get_weights())
    separate.backbone.final_norm.set_weights(one.backbone.final_norm.get_weights())
    for block in separate.backbone.reasoning_blocks:
        block.set_weights(one.backbone.reasoning_blocks[0].get_weights())
    np.testing.assert_array_equal(battery.logits_of(one, IDS), battery.logits_of(separate, IDS))
    fewer = battery.new_model(shared(num_reasoning_blocks=2))
    fewer.set_weights(one.get_weights())
    assert np.abs(battery.logits_of(fewer, IDS) - battery.logits_of(one, IDS)).max() > 1e-4


def test_a_shared_block_is_counted_once_and_computed_each_time():
    separate, three, one = (
        shared(share_blocks=False),
        CONFIG,
        shared(num_reasoning_blocks=1),
    )
    block = 4 * 16**2 + 3 * 16 * 24 + 2 * 16
    assert count_parameters(three) == count_parameters(one) == 31 * 16 + block + 16
    assert LanguageModel(**three.to_dict()).count_params() == count_parameters(three)
    assert flops_per_token(three, 32) == flops_per_token(separate, 32)
    assert activation_bytes(three, 2, 32, "float32") == activation_bytes(separate, 2, 32, "float32")
    cache = 4 * 3 * 2 * 16 * 32
    assert bytes_to_run(three) == 4 * count_parameters(three) + cache


def test_caches_are_those_of_separate_blocks():
    model = battery.new_model(CONFIG)
    names = [f"reasoning_block_{level}" for level in range(3)]
    assert list(model.initial_cache(1, 8)) == names
    battery.check_cached_decoding(CONFIG)
    battery.check_packing(CONFIG)


def test_a_shared_block_keeps_through_saving(tmp_path):
    config = shared(embedding_norm="layer", final_norm=False, initializer_range=0.3, tie_embeddings=False)
    battery.check_save_and_load(config, tmp_path)
    model = battery.new_model(config)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(battery.logits_of(again, IDS), battery.logits_of(model, IDS))


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="JAX has no slopes of the loss")
@pytest.mark.parametrize("is_checkpointed", [False, True])
def test_gradients_of_a_shared_block_are_its_slopes(is_checkpointed, monkeypatch):
    new_model = battery.new_model

    def checkpointed(*arguments, **options):
        model = new_model(*arguments, **options)
        model.gradient_checkpointing_enable()
        return model

    if is_checkpointed:
        monkeypatch.setattr(battery, "new_model", checkpointed)
    battery.check_gradient(CONFIG)


def test_the_embedding_norm_has_no_weights_and_no_final_norm_leaves_the_blocks_output():
    config = shared(embedding_norm="layer", final_norm=False)
    assert count_parameters(config) == count_parameters(CONFIG) - 16
    model = battery.new_model(config)
    assert model.count_params() == count_parameters(config)
    embedded = ops.convert_to_numpy(model.backbone._embed(IDS, None)).astype("float64")
    raw = ops.convert_to_numpy(model.backbone.token_embedding(IDS)).astype("float64")
    raw -= raw.mean(-1, keepdims=True)
    np.testing.assert_allclose(embedded, raw / np.sqrt((raw**2).mean(-1, keepdims=True) + 1e-5), atol=1e-5)


def test_the_initial_range_is_that_of_embedding_and_kernels():
    model = battery.new_model(shared(initializer_range=0.5, vocab_size=999))
    assert np.std(model.backbone.token_embedding.get_weights()[0]) == pytest.approx(0.5, rel=0.05)


def test_a_whole_block_has_no_norms_around_it_and_knows_its_level(rotation):
    config = shared(block_pattern=rotation, share_blocks=True, post_norms=True, final_norm=False)
    model = battery.new_model(config)
    assert model.count_params() == count_parameters(config) == 31 * 16 + 16
    x = np.asarray(model.backbone.token_embedding(IDS))
    for level in range(3):
        before = np.pad(x, [[0, 0], [1, 0], [0, 0]])[:, :-1]
        x = x + np.tanh(np.roll(before, level, axis=-1))
    np.testing.assert_allclose(ops.convert_to_numpy(model.backbone(IDS)), x, atol=1e-5)
    battery.check_cached_decoding(config)
    battery.check_cached_decoding(dataclasses.replace(config, share_blocks=False))
    assert activation_bytes(config, 1, 8, "float32") is not None


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="blocks are compiled by TensorFlow")
def test_compiled_and_recomputed_blocks_know_their_level(rotation):
    for share_blocks in (True, False):
        model = battery.new_model(shared(block_pattern=rotation, share_blocks=share_blocks))
        batch = {"token_ids": IDS, "labels": IDS, "loss_weights": np.ones(IDS.shape, "float32")}
        plain = float(model.loss_terms(batch)["loss_sum"])
        model.gradient_checkpointing_enable()
        with model.compiled_parts():
            assert float(model.loss_terms(batch)["loss_sum"]) == pytest.approx(plain, rel=1e-6)


def test_a_whole_block_takes_no_feed_forward(rotation):
    assert parse_pattern("rotation, attention+mlp") == [("rotation", None), ("attention", "mlp")]
    with pytest.raises(
        ConfigError, match="`rotation` is a complete block, without a feed-forward; write `rot"
    ):
        parse_pattern("rotation+mlp")


def test_published_families_have_no_shared_blocks(tmp_path):
    model = battery.new_model(CONFIG)
    with pytest.raises(ValueError, match="share_blocks=True"):
        hn.export_model(model, tmp_path / "out")


def test_adapters_and_experts_of_a_shared_block():
    model = battery.new_model(CONFIG)
    before = battery.logits_of(model, IDS)
    sparse = upcycle(model, num_experts=2)
    assert sparse.config.share_blocks and len(sparse.backbone.reasoning_blocks) == 1
    np.testing.assert_allclose(battery.logits_of(sparse, IDS), before, atol=1e-4)
    model.backbone.enable_lora(2)
    factors = [weight for weight in model.trainable_weights if "lora" in weight.path]
    assert len(factors) == len(model.trainable_weights) == 4  # query and value, once
    for factor in factors:
        factor.assign(np.random.default_rng(1).standard_normal(factor.shape))
    after = battery.logits_of(model, IDS)
    assert np.abs(after - before).max() > 1e-3
    model.merge_lora()
    np.testing.assert_allclose(battery.logits_of(model, IDS), after, atol=1e-4)
