"""The fusion of hidden states: causal, cached, trained around frozen experts, saved and loaded."""

from __future__ import annotations

import json
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

import highnoon as hn
from highnoon.config import ConfigError, ModelConfig
from highnoon.experts import ExpertRouter, GaussianDiffuser, HiddenFusion, MixtureOfModels
from highnoon.models import ModelFolderError
from highnoon.models.arrays import load_arrays
from highnoon.testing import check_model as battery
from highnoon.tokenization import ByteTokenizer
from highnoon.training.frozen_models import weights_hash
from highnoon.training.objective import NextToken

WIDTH = 16
SHAPE = {"embedding_dim": WIDTH, "num_reasoning_blocks": 1, "num_heads": 2, "ffn_dim": 24, "state_dim": 4}
ROUTER = {"num_heads": 2, "ffn_dim": 24}
CONFIG = ModelConfig(vocab_size=23, max_seq_length=32, **SHAPE)
TOKEN_IDS = np.random.default_rng(0).integers(1, 23, (3, 9)).astype("int32")


class PoolingRouter(ExpertRouter):
    """Weighs the experts by the mean of the row, which holds tokens that are yet to come."""

    def call(self, inputs, training=None):
        hidden = self.backbone(inputs, training=training)
        return self.log_weights_of(ops.mean(hidden, axis=1, keepdims=True) + 0 * hidden)


class PoolingDiffuser(GaussianDiffuser):
    """Adds the mean of the row's states, as a denoiser does that attends both ways."""

    def denoised(self, states, *arguments, **options):
        return super().denoised(states, *arguments, **options) + ops.mean(states, axis=1, keepdims=True)


def make_expert(pattern="attention+mlp", seed=0, vocab_size=23, dtype=None, **fields):
    keras.utils.set_random_seed(seed)
    shape = {**SHAPE, "vocab_size": vocab_size, "max_seq_length": 32, **fields}
    model = hn.LanguageModel(block_pattern=pattern, dtype=dtype, **shape)
    battery._wake(model)
    return model


def make_diffuser(cls=GaussianDiffuser, state_dim=WIDTH, dtype=None):
    keras.utils.set_random_seed(3)
    diffuser = cls(state_dim, 8, 1, 32, num_heads=1, ffn_dim=8, dtype=dtype)
    battery._wake(diffuser)
    return diffuser


def make_experts(vocab_size=23, dtype=None, diffuser=GaussianDiffuser):
    """A transformer, a wider state-space model, and a diffuser of the transformer's states."""
    language_models = [
        make_expert("attention+mlp", 0, vocab_size, dtype),
        make_expert("mamba2", 1, vocab_size, dtype, embedding_dim=24),
    ]
    return [*language_models, make_diffuser(diffuser, dtype=dtype)]


def make_fusion(vocab_size=23, dtype=None, router_class=ExpertRouter, diffuser=GaussianDiffuser, **fields):
    """A fusion in place of the model that the battery makes of a configuration."""
    experts = make_experts(vocab_size, dtype, diffuser)
    keras.utils.set_random_seed(9)
    router = router_class(3, vocab_size, WIDTH, 1, 32, dtype=dtype, **ROUTER)
    return HiddenFusion(experts, router, sampling_steps=3)


def awake_fusion(**fields):
    fusion = make_fusion(**fields)
    battery._wake(fusion)
    return fusion


def pair():
    return [make_expert(), make_expert(seed=1)]


@pytest.mark.slow
def test_the_fusion_passes_the_battery_of_a_language_model():
    for check in ("causality", "packing", "batch_mates", "cached_decoding", "loss", "gradient", "bfloat16"):
        getattr(battery, f"check_{check}")(CONFIG, model_class=make_fusion)


@pytest.mark.parametrize("broken", [{"router_class": PoolingRouter}, {"diffuser": PoolingDiffuser}])
def test_the_battery_fails_for_a_router_or_a_diffuser_that_pools_over_time(broken):
    with pytest.raises(AssertionError, match="change earlier logits"):
        battery.check_causality(CONFIG, model_class=lambda **fields: make_fusion(**broken, **fields))


def test_later_tokens_and_padding_and_batch_mates_change_nothing():
    fusion = awake_fusion()
    before = np.asarray(fusion(TOKEN_IDS))
    changed = TOKEN_IDS.copy()
    changed[:, 5:] = 1 + changed[:, 5:] % 22
    after = np.asarray(fusion(changed))
    np.testing.assert_allclose(after[:, :5], before[:, :5], atol=1e-5)
    assert np.abs(after[:, 5:] - before[:, 5:]).max() > 1e-2
    for mask in (np.arange(9) < np.array([[9], [4], [7]]), np.arange(9) >= np.array([[0], [5], [2]])):
        padded = np.asarray(fusion({"token_ids": TOKEN_IDS * mask, "padding_mask": mask.astype("int32")}))
        for row in range(3):
            alone = np.asarray(fusion(TOKEN_IDS[row : row + 1, mask[row]]))[0]
            np.testing.assert_allclose(padded[row, mask[row]], alone, atol=1e-5)


def test_logits_are_those_of_a_naive_weighted_sum_of_stitched_states():
    fusion = awake_fusion()
    transformer, mamba, diffuser = fusion.experts
    given = np.asarray(transformer.backbone(TOKEN_IDS))
    states = [given, np.asarray(mamba.backbone(TOKEN_IDS)), np.asarray(diffuser.denoised(given, 3))]
    weights = np.exp(np.asarray(fusion.router(TOKEN_IDS)))
    fused = np.zeros((3, 9, WIDTH))
    for row, place in np.ndindex(3, 9):
        for number, state in enumerate(states):
            stitched = state[row, place] @ np.asarray(fusion.stitches[number].kernel)
            fused[row, place] += weights[row, place, number] * stitched
    expected = fused @ np.asarray(fusion.router.backbone.token_embedding.embeddings).T
    np.testing.assert_allclose(fusion(TOKEN_IDS), expected, atol=1e-4)
    assert weights.std() > 1e-2


@pytest.mark.parametrize("fields", [{}, {"tie_embeddings": False, "logit_softcap": 3.0}])
def test_a_new_fusion_with_all_weight_on_the_transformer_is_the_transformer(fields):
    experts = [make_expert("mamba2", 1, embedding_dim=24), make_expert(**fields)]
    fusion = HiddenFusion(experts, transformer=1, **ROUTER)
    np.testing.assert_array_equal(fusion.stitches[0].kernel, np.eye(24, WIDTH))
    np.testing.assert_allclose(np.exp(fusion.router(TOKEN_IDS)), 0.5, atol=1e-6)
    fusion.router.head.bias.assign([-100.0, 100.0])
    np.testing.assert_allclose(fusion(TOKEN_IDS), experts[1](TOKEN_IDS), atol=1e-4)


def test_router_stitches_and_embedding_are_trained_and_the_experts_are_not():
    fusion = make_fusion()
    own = {id(weight) for weight in fusion.own_weights}
    assert {id(weight) for weight in fusion.trainable_weights} == own
    frozen = HiddenFusion(pair(), trains_embedding=False, **ROUTER)
    embedding = frozen.router.backbone.token_embedding.embeddings
    assert not any(weight is embedding for weight in frozen.trainable_weights)
    assert len(frozen.trainable_weights) == len(frozen.own_weights) - 1


def test_parts_of_a_batch_have_gradients_that_add_up_to_that_of_the_whole():
    fusion, objective, batch = awake_fusion(), NextToken(), battery._batch(CONFIG, 4, 6)
    is_token = np.arange(6) < np.array([[6], [2], [5], [0]])  # the last row is padding
    batch["segment_ids"] = is_token.astype("int32")
    batch["loss_weights"] = (np.random.default_rng(1).random((4, 6)) * is_token).astype("float32")
    fusion.entropy_reg = 5.0

    def sums_and_gradients(rows):
        tensors = {name: tf.convert_to_tensor(array[rows]) for name, array in batch.items()}
        with tf.GradientTape() as tape:
            terms = objective.terms(fusion, tensors, training=True)
            total = terms.loss_sum + objective.aux_weight(tensors) * terms.aux_loss
        return total, tape.gradient(total, [weight.value for weight in fusion.trainable_weights])

    whole = sums_and_gradients(slice(0, 4))
    parts = [sums_and_gradients(rows) for rows in (slice(0, 1), slice(1, 4))]
    assert float(whole[0]) == pytest.approx(sum(float(total) for total, _ in parts), rel=1e-5)
    for weight, gradient, *given in zip(
        fusion.trainable_weights, whole[1], *(of_part for _, of_part in parts), strict=True
    ):
        found = sum(np.asarray(tf.convert_to_tensor(part)) for part in given)
        expected = np.asarray(tf.convert_to_tensor(gradient))
        np.testing.assert_allclose(found, expected, atol=1e-4, err_msg=weight.path)
        assert np.abs(expected).max() > 0, weight.path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """`paths` of three experts, their `hashes`, and a `fusion` of them that the Trainer trained."""
    folder = tmp_path_factory.mktemp("experts")
    experts = make_experts(vocab_size=263)
    experts[2].outputs_description = {"transformer_hash": weights_hash(experts[0])}
    paths = []
    for number, expert in enumerate(experts):
        expert.tokenizer = ByteTokenizer()
        paths.append(str(hn.save_model(expert, folder / f"expert_{number}")))
    hashes = tuple(map(weights_hash, experts))
    fusion = hn.create_model(
        "expert_hidden_fusion", experts=paths, contains_experts=False, sampling_steps=2, **ROUTER
    )
    before = [np.asarray(weight) for weight in fusion.own_weights]
    trainer = hn.Trainer(fusion, learning_rate=1e-2, batch_size=4, max_seq_length=16, jit_compile=False)
    trainer.add_curriculum_stage("texts", ["the dog ran", "the cat came back"] * 8, steps=2)
    trainer.train(save_checkpoints=False, log_dir=None, verbose=False)
    return types.SimpleNamespace(folder=folder, paths=paths, hashes=hashes, fusion=fusion, before=before)


def test_training_changes_every_weight_of_its_own_and_none_of_an_expert(trained):
    assert tuple(map(weights_hash, trained.fusion.experts)) == trained.hashes
    trained.fusion.require_unchanged()
    for weight, before in zip(trained.fusion.own_weights, trained.before, strict=True):
        assert np.abs(np.asarray(weight) - before).max() > 0, weight.path


def test_a_fusion_that_names_its_experts_holds_none_and_refuses_another(trained, tmp_path):
    folder = hn.save_model(trained.fusion, tmp_path / "fusion")
    assert len(load_arrays(folder / "model.safetensors")) == len(trained.fusion.own_weights)
    described = json.loads((folder / "config.json").read_text())
    assert [entry["hash"] for entry in described["experts"]] == list(trained.hashes)
    again = hn.load_model(folder)
    assert type(again) is HiddenFusion and again.options == trained.fusion.options
    np.testing.assert_array_equal(again(TOKEN_IDS), trained.fusion(TOKEN_IDS))
    described["experts"][1]["hash"] = "0123"
    (folder / "config.json").write_text(json.dumps(described))
    (folder / "manifest.json").unlink()
    with pytest.raises(ModelFolderError, match=r"`experts\[1\]`.*must have weights 0123"):
        hn.load_model(folder)


@pytest.mark.slow
def test_a_fusion_that_contains_its_experts_generates_as_before(trained, tmp_path):
    fusion = HiddenFusion(trained.paths, trained.fusion.router, **trained.fusion.options)
    again = hn.load_model(hn.save_model(fusion, tmp_path / "fusion"))
    assert again.expert_hashes == trained.hashes and again.tokenizer.vocab_size == 263
    assert again.experts[2].outputs_description == {"transformer_hash": trained.hashes[0]}
    np.testing.assert_array_equal(again(TOKEN_IDS), fusion(TOKEN_IDS))
    greedy = np.asarray(again.generate(TOKEN_IDS[:1], max_length=5, temperature=0, tokenizer=None))
    logits = np.asarray(fusion(greedy))[0, 8:13]
    np.testing.assert_allclose(logits[np.arange(5), greedy[0, 9:]], logits.max(axis=-1), atol=1e-4)
    assert greedy.shape == (1, 14)


def test_a_diffuser_of_another_transformer_is_refused(trained):
    paths = [trained.paths[number] for number in (1, 0, 2)]
    assert HiddenFusion(paths, transformer=1, **ROUTER).router.config.embedding_dim == WIDTH
    with pytest.raises(ConfigError, match=r"`experts\[2\]` must have the state_dim=24 of `experts\[0\]`"):
        HiddenFusion(paths, **ROUTER)
    other = hn.load_model(trained.paths[0])
    other.weights[0].assign_add(ops.ones_like(other.weights[0]))
    with pytest.raises(ConfigError, match=r"with which the diffuser `experts\[2\]` was trained"):
        HiddenFusion([other, *trained.paths[1:]], **ROUTER)


def diffusion_model():
    model = make_expert()
    model.outputs_description = {"expert_kind": "block_diffusion", "mask_id": 22, "block_sizes": [1]}
    return model


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: HiddenFusion([make_expert()]), "list of at least two models or paths"),
        (lambda: HiddenFusion([make_expert(), make_diffuser()], transformer=1), "index of a language model"),
        (lambda: HiddenFusion(pair(), transformer=2), "model among the experts; received 2"),
        (lambda: HiddenFusion([*pair(), make_diffuser(), make_diffuser()]), "at most one diffuser"),
        (lambda: HiddenFusion([*pair(), make_diffuser(state_dim=8)]), "must have the state_dim=16"),
        (lambda: HiddenFusion([*pair(), make_diffuser()], sampling_steps=101), "at most training_steps=100"),
        (lambda: HiddenFusion([make_expert(), diffusion_model()]), "received a model of block diffusion"),
        (lambda: HiddenFusion(pair(), embedding_dim=8), "`router` must have the embedding_dim=16"),
        (lambda: HiddenFusion(pair(), entropy_reg=-1.0), "`entropy_reg` must not be negative"),
        (lambda: HiddenFusion([make_expert(), MixtureOfModels(pair())]), r"`experts\[1\]` must be a model"),
        (lambda: HiddenFusion(pair(), ExpertRouter(3, 23, WIDTH, **ROUTER)), "num_experts=2"),
    ],
)
def test_bad_input_is_one_line_that_names_it(make, message):
    with pytest.raises(ConfigError, match=message) as error:
        make()
    assert "\n" not in str(error.value)
