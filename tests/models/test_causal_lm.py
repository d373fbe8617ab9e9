"""The language model: the battery, its public face, and what KerasHub's users expect of it."""

from __future__ import annotations

import dataclasses
import json

import keras
import keras_hub
import numpy as np
import pytest
from keras import ops

from highnoon.config import ConfigError, ModelConfig, TrainingConfig
from highnoon.layers.experts.routing import METRICS
from highnoon.models import HSMN, HSMNLanguageModel, LanguageModel, ReasoningBackbone
from highnoon.models.arrays import variable_names
from highnoon.models.parts import mixer_names, whole_block_names
from highnoon.testing import check_model as battery
from highnoon.testing.compiled import compiled_forms
from highnoon.tokenization import ByteTokenizer

HYBRID = ModelConfig(
    vocab_size=61,
    embedding_dim=32,
    num_reasoning_blocks=1,
    max_seq_length=64,
    num_moe_experts=4,
    block_pattern="attention+moe, attention+mlp",
    num_heads=4,
    num_kv_heads=2,
    expert_dim=24,
    ffn_dim=40,
    state_dim=8,
)
TOKEN_IDS = np.random.default_rng(0).integers(1, 61, (2, 9)).astype("int32")


def batch_of(rows=3, length=10, **changes):
    rng = np.random.default_rng(1)
    batch = {
        "token_ids": rng.integers(1, 61, (rows, length)).astype("int32"),
        "labels": rng.integers(1, 61, (rows, length)).astype("int32"),
        "loss_weights": (rng.random((rows, length)) > 0.3).astype("float32"),
        "segment_ids": np.sort(rng.integers(0, 3, (rows, length)), axis=1)[:, ::-1].astype("int32"),
        "positions": np.tile(np.arange(length, dtype="int32"), (rows, 1)),
    }
    return batch | changes


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes, num_parameters",
    [
        ({}, 61 * 32 + 2 * (2 * 32**2 + 2 * 32 * 16 + 64) + 32 * 4 + 3 * 4 * 32 * 24 + 3 * 32 * 40 + 32),
        (
            {"block_pattern": "transformer", "tie_embeddings": False, "num_kv_heads": None},
            2 * 61 * 32 + 4 * 32**2 + 64 + 3 * 32 * 40 + 32,
        ),
        (
            {
                "block_pattern": "moe_only",
                "num_reasoning_blocks": 2,
                "num_shared_experts": 1,
                "capacity_factor": 1.5,
            },
            61 * 32 + 2 * (2 * 32**2 + 2 * 32 * 16 + 64 + 32 * 4 + 3 * 5 * 32 * 24) + 32,
        ),
        (
            {"block_pattern": "mamba_only", "num_reasoning_blocks": 2},
            61 * 32 + 2 * (32 + 32 * (64 + 80 + 1) + 5 * 80 + 3 + 64 + 64 * 32) + 32,
        ),
        (
            {
                "block_pattern": "sliding_attention+mlp, attention+mlp",
                "num_reasoning_blocks": 1,
                "sliding_window": 5,
                "ffn_dim": 24,
                "ffn_activation": "gelu_tanh",
                "norm_type": "zero_centered_rms",
                "post_norms": True,
                "scale_embeddings": True,
                "tie_embeddings": False,
                "query_pre_attn_scalar": 5,
                "attention_softcap": 3.0,
                "logit_softcap": 9.0,
            },
            2 * 61 * 32 + 2 * (2 * 32**2 + 2 * 32 * 16 + 4 * 32 + 3 * 32 * 24) + 32,
        ),
        (
            {
                "block_pattern": "attention+plain_mlp",
                "num_reasoning_blocks": 2,
                "ffn_dim": 24,
                "ffn_activation": "gelu_tanh",
                "ffn_bias": True,
                "norm_type": "layer",
                "attention_bias": "all",
                "position_embedding": "learned",
            },
            (61 + HYBRID.max_seq_length) * 32
            + 2 * (2 * 32**2 + 2 * 32 * 16 + 32 + 32 + 32 + 2 * 64 + 2 * 32 * 24 + 24 + 32)
            + 64,
        ),
        (
            {"block_pattern": "mamba+mlp, latent_attention+moe"},
            61 * 32
            + 4 * 32
            + 3 * 32 * 40
            + 32 * 4
            + 3 * 4 * 32 * 24
            + 32
            + 3 * 32 * 64
            + 5 * 64
            + 64 * (2 + 16)
            + 2 * 64
            + 64
            + 64 * 8
            + 64
            + 32 * 4 * (8 + 4)
            + 32 * (16 + 4)
            + 16
            + 16 * 4 * (8 + 8)
            + 4 * 8 * 32,
        ),
        (
            {"block_pattern": "mamba_timecrystal_wlam_moe_hybrid", "sliding_window": 5},
            61 * 32
            + 3 * (64 + 32 * 4 + 3 * 4 * 32 * 24)
            + 32
            + 32 * (64 + 80 + 1)
            + 5 * 80
            + 3
            + 64
            + 64 * 32
            + 32 * 2 * (16 + 32)
            + 32 * 2 * 4
            + 4 * (2 * 16 + 32)
            + 2 * 4
            + 8
            + 32 * 32
            + 2 * 32**2
            + 2 * 32 * 16,
        ),
    ],
)
def test_every_pattern_passes_the_battery(changes, num_parameters, tmp_path):
    battery.check_model(ModelConfig(**{**HYBRID.to_dict(), **changes}), num_parameters, tmp_path)


def test_the_hybrid_is_causal_from_end_to_end():
    battery.check_causality(HYBRID)


def test_a_packed_document_has_the_logits_it_has_alone():
    battery.check_packing(HYBRID)


def test_decoding_over_left_padded_rows_equals_the_full_pass():
    battery.check_cached_decoding(HYBRID)


def test_the_first_loss_is_near_ln_vocab():
    battery.check_first_loss(HYBRID)


YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}
CHANGES = {
    "attention+moe, attention+mlp": {
        "vocab_size": 70,
        "embedding_dim": 64,
        "num_reasoning_blocks": 2,
        "max_seq_length": 32,
        "num_moe_experts": 5,
        "block_pattern": "transformer",
        "num_heads": 2,
        "num_kv_heads": 4,
        "head_dim": 10,
        "qk_norm": True,
        "attention_bias": "qkv",
        "query_pre_attn_scalar": 3,
        "attention_softcap": 0.5,
        "ffn_dim": 48,
        "ffn_activation": "gelu",
        "ffn_bias": True,
        "expert_dim": 16,
        "num_experts_per_tok": 1,
        "num_shared_experts": 1,
        "capacity_factor": 0.5,
        "aux_loss_weight": 1.0,
        "router_z_loss_weight": 1.0,
        "rope_theta": 10.0,
        "rope_scaling": YARN,
        "norm_type": "layer",
        "norm_epsilon": 0.1,
        "post_norms": True,
        "position_embedding": "learned",
        "scale_embeddings": True,
        "logit_softcap": 0.5,
        "dropout": 0.5,
        "tie_embeddings": False,
        "embedding_norm": "layer",
        "final_norm": False,
        "initializer_range": 0.5,
    },
    "latent_attention, mamba, mamba2, sliding_attention": {
        "sliding_window": 3,
        "kv_lora_rank": 12,
        "q_lora_rank": 12,
        "qk_nope_head_dim": 6,
        "qk_rope_head_dim": 6,
        "v_head_dim": 6,
        "state_dim": 4,
        "ssm_expand": 1,
        "ssm_head_dim": 8,
        "ssm_num_groups": 2,
        "ssm_time_step_rank": 3,
        "conv_kernel_size": 3,
    },
}
ROUTING = {
    "router_type",
    "normalize_gates",
    "routed_scale",
    "num_expert_groups",
    "num_groups_per_tok",
    "bias_update_rate",
    "load_entropy_weight",
}


@pytest.mark.slow
@pytest.mark.parametrize("pattern", CHANGES)
def test_every_config_field_changes_something(pattern):
    # With one block there is nothing to share, see test_shared_blocks.py.
    elsewhere = {"share_blocks"} | ROUTING.union(
        *(changes for other, changes in CHANGES.items() if other != pattern)
    )
    config = ModelConfig(**{**HYBRID.to_dict(), "block_pattern": pattern})
    battery.check_every_field_matters(config, CHANGES[pattern], elsewhere)


def test_the_three_names_are_one_class_with_the_documented_defaults(monkeypatch):
    assert HSMN is HSMNLanguageModel is LanguageModel
    made = {}

    def record(self, dtype=None, config=None):
        made.update(config.to_dict())
        raise RuntimeError("seen")

    monkeypatch.setattr(ReasoningBackbone, "__init__", record)
    with pytest.raises(RuntimeError, match="seen"):
        HSMN()
    expected = {"vocab_size": 32000, "embedding_dim": 768, "max_seq_length": 4096, "num_reasoning_blocks": 4}
    assert {name: made[name] for name in expected} == expected


def test_properties_and_logits_of_plain_ids():
    model = HSMN(61, 32, 64, 2, "attention+mlp")
    assert (model.vocab_size, model.embedding_dim, model.num_blocks, model.max_seq_length) == (61, 32, 2, 64)
    assert isinstance(model.config, ModelConfig) and model.training_config is None and model.tokenizer is None
    logits = model(TOKEN_IDS, training=False)
    assert tuple(logits.shape) == (2, 9, 61)
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"


def test_a_model_is_built_when_it_is_made():
    model = battery.new_model(HYBRID)
    assert model.count_params() > 0
    lines = []
    model.summary(print_fn=lines.append)
    assert f"{model.count_params():,}" in "\n".join(lines)


def test_a_wrapped_backbone_keeps_its_weights():
    backbone = ReasoningBackbone(**HYBRID.to_dict())
    model = LanguageModel(backbone=backbone)
    assert model.backbone is backbone and model.config == HYBRID
    with pytest.raises(ValueError, match="a backbone has its own embedding_dim; give"):
        LanguageModel(backbone=backbone, embedding_dim=32)


def test_kerashub_inputs_say_where_padding_is():
    model = battery.new_model(HYBRID)
    padded = np.pad(TOKEN_IDS, ((0, 0), (0, 3)))
    mask = np.pad(np.ones_like(TOKEN_IDS), ((0, 0), (0, 3)))
    logits = battery.logits_of(model, {"token_ids": padded, "padding_mask": mask})
    np.testing.assert_allclose(logits[:, :9], battery.logits_of(model, TOKEN_IDS), atol=1e-5)


@pytest.mark.parametrize(
    "inputs, words",
    [
        (np.array([1, 2, 3]), r"must have shape \(rows, tokens\); received \(3,\). Put a single"),
        ({"padding_mask": TOKEN_IDS}, "must hold `token_ids`; received padding_mask"),
    ],
)
def test_inputs_of_another_form_are_refused(inputs, words):
    with pytest.raises(ValueError, match=words):
        battery.new_model(HYBRID)(inputs)


def test_variable_names_are_readable_unique_and_the_same_for_every_instance():
    names = [variable_names(battery.new_model(HYBRID, seed).variables) for seed in (0, 1)]
    assert names[0] == names[1] and len(set(names[0])) == len(names[0])
    assert {
        "token_embedding/embeddings",
        "reasoning_block_0/pair_0_attention/query/kernel",
        "reasoning_block_0/pair_0_moe/experts/gate_kernel",
        "reasoning_block_0/pair_0_moe/router",
        "reasoning_block_0/pair_1_mlp/down/kernel",
        "final_norm/scale",
    } <= set(names[0])


def test_dropout_draws_from_tracked_seeds_and_acts_in_training_alone():
    model = battery.new_model(ModelConfig(**{**HYBRID.to_dict(), "dropout": 0.5}))
    seeds = [v for v in model.variables if "seed" in v.path]
    assert len(seeds) == 3
    start = [ops.convert_to_numpy(seed).copy() for seed in seeds]
    batch = batch_of()
    still = [float(model.loss_terms(batch, training=False)["loss_sum"]) for _ in range(2)]
    noisy = [float(model.loss_terms(batch, training=True)["loss_sum"]) for _ in range(2)]
    assert still[0] == still[1] and noisy[0] != noisy[1] and still[0] not in noisy
    for seed, value in zip(seeds, start, strict=True):
        seed.assign(value)
    assert float(model.loss_terms(batch, training=True)["loss_sum"]) == noisy[0]


def test_loss_terms_are_the_weighted_cross_entropy_of_the_logits():
    model, batch = battery.new_model(HYBRID), batch_of()
    inputs = {key: batch[key] for key in ("token_ids", "segment_ids", "positions")}
    losses = keras.losses.sparse_categorical_crossentropy(
        batch["labels"], battery.logits_of(model, inputs), from_logits=True
    )
    expected = np.sum(batch["loss_weights"] * ops.convert_to_numpy(losses))
    for training in (False, True):
        terms = model.loss_terms(batch, training=training)
        assert float(terms["loss_sum"]) == pytest.approx(expected, rel=1e-5)
        routers = {name for name in terms["metrics"] if name.startswith("router/")}
        assert routers == {f"router/{name}" for name in METRICS}


def test_loss_terms_add_up_over_rows():
    model, batch = battery.new_model(HYBRID), batch_of(rows=4)
    whole = model.loss_terms(batch, training=True)
    tokens = (batch["segment_ids"] > 0).sum(1)
    loss = aux = 0.0
    for row in range(4):
        terms = model.loss_terms({key: value[row : row + 1] for key, value in batch.items()}, training=True)
        loss += float(terms["loss_sum"])
        aux += float(terms["aux_loss"]) * tokens[row] / tokens.sum()
    assert float(whole["loss_sum"]) == pytest.approx(loss, rel=1e-5)
    assert float(whole["aux_loss"]) == pytest.approx(aux, rel=1e-5)


class _Recorder:
    """Hands on to a layer what it is called with, and keeps it."""

    def __init__(self, layer, seen):
        self.layer, self.seen = layer, seen

    def __call__(self, x):
        self.seen.append(x)
        return self.layer(x)


def test_a_model_without_routers_has_no_router_losses_and_metrics():
    model = HSMN(61, 32, 64, 1, "transformer")
    terms = model.loss_terms(batch_of(), training=True)
    assert float(terms["aux_loss"]) == 0 and set(terms["metrics"]) == {"activation/mean", "activation/std"}


def test_activations_are_measured_over_tokens_that_are_no_padding():
    model, batch = battery.new_model(HYBRID), batch_of()
    seen = []
    model.backbone.final_norm = _Recorder(model.backbone.final_norm, seen)
    metrics = model.loss_terms(batch, training=False)["metrics"]
    values = ops.convert_to_numpy(seen[0])[batch["segment_ids"] > 0]
    assert 0 < (batch["segment_ids"] > 0).mean() < 1
    assert float(metrics["activation/mean"]) == pytest.approx(values.mean(), abs=1e-5)
    assert float(metrics["activation/std"]) == pytest.approx(values.std(), rel=1e-4)


@pytest.mark.slow
def test_loss_terms_are_the_same_when_compiled():
    model, batch = battery.new_model(HYBRID), batch_of()
    expected = model.loss_terms(batch, training=True)
    for form, compiled in compiled_forms(lambda batch: model.loss_terms(batch, training=True)).items():
        terms = compiled(batch)
        for name in ("loss_sum", "aux_loss"):
            assert float(terms[name]) == pytest.approx(float(expected[name]), rel=1e-5), form


def test_half_precision_keeps_weights_and_logits_in_float32():
    model = LanguageModel(**HYBRID.to_dict(), dtype="mixed_bfloat16")
    logits = model(TOKEN_IDS)
    assert {v.dtype for v in model.weights} == {"float32"}
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"
    assert keras.backend.standardize_dtype(model.backbone(TOKEN_IDS).dtype) == "bfloat16"
    terms = model.loss_terms(batch_of(), training=True)
    assert keras.backend.standardize_dtype(terms["loss_sum"].dtype) == "float32"
    cache = model.initial_cache(2, 12)
    decoded, cache = model.decode(TOKEN_IDS, cache, 0)
    assert {keras.backend.standardize_dtype(leaf.dtype) for leaf in keras.tree.flatten(cache)} == {"bfloat16"}
    np.testing.assert_allclose(ops.convert_to_numpy(decoded), ops.convert_to_numpy(logits), atol=0.05)


def test_decode_can_give_the_last_logits_alone():
    model = battery.new_model(HYBRID)
    whole, _ = model.decode(TOKEN_IDS, model.initial_cache(2, 9), 0)
    last, _ = model.decode(TOKEN_IDS, model.initial_cache(2, 9), 0, last_only=True)
    np.testing.assert_allclose(ops.convert_to_numpy(last), ops.convert_to_numpy(whole)[:, -1:], atol=1e-6)


def test_a_tokenizer_with_more_ids_than_the_model_is_refused():
    model = HSMN(61, 32, 64, 1, "transformer")
    with pytest.raises(ValueError, match="the tokenizer has 263 ids and the model takes 61; create"):
        model.tokenizer = ByteTokenizer()
    assert HSMN(263, 32, 64, 1, "transformer", tokenizer=ByteTokenizer()).tokenizer.vocab_size == 263


def test_the_configuration_goes_through_json():
    model = LanguageModel(**HYBRID.to_dict(), training_config=TrainingConfig(batch_size=3))
    again = LanguageModel.from_config(json.loads(json.dumps(model.get_config())))
    assert again.config == HYBRID and again.training_config == TrainingConfig(batch_size=3)


def test_unknown_patterns_and_fields_are_named():
    with pytest.raises(ConfigError, match="has no layer for 'rnn.moe'"):
        HSMN(61, 32, block_pattern="rnn+moe")
    with pytest.raises(ConfigError, match="has no argument `num_hads`; did you mean `num_heads`"):
        HSMN(61, 32, num_hads=2)


def test_weights_are_saved_under_a_bare_name_in_a_new_folder(tmp_path, capsys):
    model, other = battery.new_model(HYBRID, 0), battery.new_model(HYBRID, 1)
    model.save_weights(tmp_path / "final" / "weights")
    assert capsys.readouterr().out == ""
    assert (tmp_path / "final" / "weights.weights.h5").is_file()
    other.load_weights(str(tmp_path / "final" / "weights"))
    np.testing.assert_array_equal(battery.logits_of(other, TOKEN_IDS), battery.logits_of(model, TOKEN_IDS))


def test_weights_of_another_model_and_missing_files_are_refused(tmp_path):
    battery.new_model(HYBRID).save_weights(tmp_path / "weights")
    with pytest.raises(ValueError, match="holds the weights of another model") as error:
        HSMN(61, 64, 64, 1, "transformer").load_weights(tmp_path / "weights")
    assert "\n" not in str(error.value)
    with pytest.raises(FileNotFoundError, match="no weights at .*absent.weights.h5"):
        battery.new_model(HYBRID).load_weights(tmp_path / "absent")


def test_presets_of_kerashub_come_back_as_this_class(tmp_path):
    model = battery.new_model(HYBRID)
    model.save_to_preset(str(tmp_path / "preset"))
    for again in (
        LanguageModel.from_preset(str(tmp_path / "preset")),
        keras_hub.models.CausalLM.from_preset(str(tmp_path / "preset")),
    ):
        assert type(again) is LanguageModel and again.config == HYBRID
        ours, theirs = (battery.logits_of(one, TOKEN_IDS) for one in (again, model))
        np.testing.assert_array_equal(ours, theirs)


def decoded(model):
    """Logits of a prompt and of single tokens after it."""
    cache, parts = model.initial_cache(2, 9), []
    for start, end in [(0, 6), (6, 7), (7, 8), (8, 9)]:
        logits, cache = model.decode(TOKEN_IDS[:, start:end], cache, start)
        parts.append(ops.convert_to_numpy(logits))
    return np.concatenate(parts, axis=1)


@pytest.mark.parametrize("mixer", [name for name in mixer_names() if name not in whole_block_names()])
def test_lora_trains_factors_in_every_mixer_and_starts_from_the_same_logits(mixer):
    model = battery.new_model(ModelConfig(**{**HYBRID.to_dict(), "block_pattern": mixer}))
    before = battery.logits_of(model, TOKEN_IDS)
    model.backbone.enable_lora(2)
    trained = [v.path for v in model.trainable_variables]
    assert {path.split("/")[-1] for path in trained} == {"lora_kernel_a", "lora_kernel_b"}
    assert any(f"pair_0_{mixer}" in path for path in trained)
    np.testing.assert_allclose(battery.logits_of(model, TOKEN_IDS), before, atol=1e-6)
    for variable in model.trainable_variables:
        variable.assign(variable + 0.1)
    moved = battery.logits_of(model, TOKEN_IDS)
    assert np.abs(moved - before).max() > 1e-3
    np.testing.assert_allclose(decoded(model), moved, atol=1e-5)


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
@pytest.mark.slow
@pytest.mark.parametrize("mixer", [name for name in mixer_names() if name not in whole_block_names()])
def test_int8_keeps_what_every_mixer_says_and_decodes(mixer):
    model = battery.new_model(ModelConfig(**{**HYBRID.to_dict(), "block_pattern": mixer}))
    before = battery.logits_of(model, TOKEN_IDS)
    model.quantize("int8")
    after = battery.logits_of(model, TOKEN_IDS)
    assert 0 < np.abs(after - before).max() < 0.1 * np.abs(before).max()
    np.testing.assert_allclose(decoded(model), after, atol=0.1 * float(np.abs(before).max()))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
@pytest.mark.parametrize("tied", [True, False])
def test_int8_shrinks_every_kernel_and_keeps_the_loss(tied):
    model = battery.new_model(ModelConfig(**{**HYBRID.to_dict(), "tie_embeddings": tied}))
    batch = batch_of()
    before = float(model.loss_terms(batch, training=False)["loss_sum"])
    model.quantize("int8")
    large = [v for v in model.weights if int(np.prod(v.shape)) > 500]
    assert {v.dtype for v in large} == {"int8"}
    assert float(model.loss_terms(batch, training=False)["loss_sum"]) == pytest.approx(before, rel=0.02)


@pytest.mark.parametrize("part", ["model", "backbone"])
def test_predict_after_lora_is_not_of_the_old_graph(part):
    config = dataclasses.replace(HYBRID, block_pattern="attention+mlp", num_reasoning_blocks=1)
    whole = battery.new_model(config)
    model = whole if part == "model" else whole.backbone
    model.predict(TOKEN_IDS, verbose=0)
    whole.backbone.enable_lora(2)
    for variable in whole.trainable_variables:
        variable.assign(variable + 0.5)
    now = ops.convert_to_numpy(model(TOKEN_IDS, training=False))
    np.testing.assert_allclose(model.predict(TOKEN_IDS, verbose=0), now, atol=1e-5)
    traced = model.predict_function
    whole.trainable_variables[0].assign(whole.trainable_variables[0] + 0.5)
    model.predict(TOKEN_IDS, verbose=0)
    assert model.predict_function is traced


@pytest.mark.slow
def test_fit_of_keras_trains_it():
    model = battery.new_model(HYBRID)
    model.compile(
        optimizer=keras.optimizers.Adam(5e-3),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        weighted_metrics=[],
    )
    inputs = {"token_ids": TOKEN_IDS, "padding_mask": np.ones_like(TOKEN_IDS)}
    losses = model.fit(inputs, TOKEN_IDS, epochs=6, verbose=0).history["loss"]
    assert losses[-1] < 0.7 * losses[0]
