"""Configurations: values, aliases, files, presets."""

from __future__ import annotations

import copy
import dataclasses
import math
import time

import numpy as np
import pytest

from highnoon import config as module
from highnoon.config import (
    Config,
    ConfigError,
    ModelConfig,
    TrainingConfig,
    canonical_keys,
    default,
    get_preset_config,
    is_given,
    override,
    read_yaml,
)
from highnoon.training.recipes.recipe import Recipe


def test_documented_defaults_stand():
    model, training = ModelConfig(), TrainingConfig()
    assert (model.vocab_size, model.embedding_dim, model.num_reasoning_blocks) == (60000, 512, 6)
    assert (model.max_seq_length, model.num_moe_experts) == (4096, 8)
    assert (training.learning_rate, training.batch_size, training.epochs) == (1e-4, 8, 100)
    assert (training.warmup_steps, training.gradient_clip, training.weight_decay) == (1000, 1.0, 0.01)
    assert (training.adam_beta1, training.adam_beta2, training.adam_epsilon) == (0.9, 0.999, 1e-8)
    assert (module.TOP_K_EXPERTS, module.EXPERT_CAPACITY_FACTOR, module.AUX_LOSS_WEIGHT) == (2, 1.25, 0.01)


def test_configurations_cannot_be_changed_in_place():
    with pytest.raises(dataclasses.FrozenInstanceError):
        ModelConfig().vocab_size = 3


@pytest.mark.parametrize("alias, field", [(a, f) for a, f in module.ALIASES.items()])
def test_every_alias_sets_its_field(alias, field):
    values = {"num_experts_per_tok": 1, "num_heads": 1, "on_repeated_faults": ("go_back",), "run_name": "a"}
    value = values.get(field, 8)
    if field in {f.name for f in dataclasses.fields(Recipe)}:
        assert getattr(Recipe.from_dict({alias: value}), field) == value
        return
    owner = ModelConfig if field in {f.name for f in dataclasses.fields(ModelConfig)} else TrainingConfig
    assert getattr(owner(**{alias: value}), field) == value


@pytest.mark.parametrize(
    "make, words",
    [
        (
            lambda: ModelConfig(num_expert=3),
            "ModelConfig has no key `num_expert`; did you mean `num_experts`?",
        ),
        (lambda: ModelConfig(zzz=3), "ModelConfig has no key `zzz`; known keys: "),
        (
            lambda: ModelConfig(num_experts=3, num_moe_experts=3),
            "got `num_experts` and `num_moe_experts`, which",
        ),
        (lambda: TrainingConfig(grad_clip=1, gradient_clip=1), "which name the same field `gradient_clip`"),
        (lambda: ModelConfig(vocab_size=0), "`vocab_size` must be at least 1; received 0"),
        (lambda: ModelConfig(vocab_size=3.5), "`vocab_size` must be a whole number; received 3.5"),
        (lambda: ModelConfig(dropout=1.0), "`dropout` must be in .0, 1.; received 1.0"),
        (lambda: ModelConfig(dropout="much"), "`dropout` must be a number; received 'much'"),
        (lambda: ModelConfig(tie_embeddings=1), "`tie_embeddings` must be true or false; received 1"),
        (lambda: ModelConfig(top_k=9), "`num_experts_per_tok` must be between 1 and num_moe_experts=8"),
        (lambda: ModelConfig(num_heads=7), "`embedding_dim` must be a multiple of 2 . num_heads=14"),
        (
            lambda: ModelConfig(num_heads=8, num_kv_heads=3),
            "`num_heads` must be a multiple of num_kv_heads=3",
        ),
        (lambda: ModelConfig(capacity_factor=0), "`capacity_factor` must be above 0 or None"),
        (lambda: ModelConfig(expert_dim=0), "`expert_dim` must be at least 1 or None"),
        (lambda: ModelConfig(aux_loss_weight=-1), "`aux_loss_weight` must not be negative"),
        (lambda: TrainingConfig(learning_rate=0), "`learning_rate` must be above 0"),
        (lambda: TrainingConfig(batch_size=0), "`batch_size` must be at least 1"),
        (lambda: TrainingConfig(adam_beta1=1), "`adam_beta1` must be in .0, 1.; received 1.0"),
        (lambda: TrainingConfig(weight_decay=-1), "`weight_decay` must not be negative"),
        (lambda: TrainingConfig(warmup_steps=-1), "`warmup_steps` must not be negative"),
        (lambda: TrainingConfig(gradient_clip=0), "`gradient_clip` must be above 0 or None"),
        (
            lambda: TrainingConfig(early_stopping_patience=0),
            "`early_stopping_patience` must be at least 1 or",
        ),
        (lambda: TrainingConfig(schedule="square"), "`schedule` must be one of cosine, linear, wsd"),
        (lambda: TrainingConfig(optimizer="adamm"), "`optimizer` must be one of adamw, adafactor"),
        (lambda: TrainingConfig(ema_momentum=1.0), "`ema_momentum` must be in"),
        (lambda: TrainingConfig(decay_ratio=0.0), "`decay_ratio` must be in"),
        (lambda: TrainingConfig(global_batch_size=0), "`global_batch_size` must be at least 1"),
        (lambda: TrainingConfig(spike_threshold=-1.0), "`spike_threshold` must be above 0"),
        (lambda: TrainingConfig(max_skipped_steps=0), "`max_skipped_steps` must be at least 1"),
        (lambda: TrainingConfig(learning_rate_scaling="cube"), "`learning_rate_scaling` must be"),
        (lambda: Config.from_dict({"modle": {}}), "Config has no key `modle`; did you mean `model`?"),
        (lambda: Config.from_dict({"model": 3}), "`model` must be a mapping; received 3"),
    ],
)
def test_what_cannot_be_used_is_named(make, words):
    with pytest.raises(ConfigError, match=words):
        make()


def test_whole_floats_and_numbers_of_numpy_are_read():
    config = TrainingConfig(learning_rate=np.float32(0.5), batch_size=4.0, warmup_steps=np.int64(7))
    assert config == TrainingConfig(learning_rate=0.5, batch_size=4, warmup_steps=7)
    assert [type(value) for value in (config.learning_rate, config.batch_size, config.warmup_steps)] == [
        float,
        int,
        int,
    ]


NUMERIC_FIELDS = [
    (cls, field.name)
    for cls in (ModelConfig, TrainingConfig)
    for field in dataclasses.fields(cls)
    if str(field.type).startswith(("int", "float"))
]


@pytest.mark.parametrize(("cls", "name"), NUMERIC_FIELDS)
def test_no_numeric_field_takes_what_is_not_a_finite_number_in_its_range(cls, name):
    for value in (math.nan, math.inf, -math.inf, 1e39, 10**400, -1, "8", True, [8], {}, 10**5000):
        with pytest.raises(ConfigError, match=f"^`{name}` must [^\n]*received") as refusal:
            cls(**{name: value})
        assert len(str(refusal.value)) < 300


@pytest.mark.parametrize("name", ["learning_rate", "adam_epsilon", "gradient_clip"])
def test_a_number_that_float32_rounds_to_zero_is_not_above_zero(name):
    with pytest.raises(ConfigError, match=f"`{name}` must be above 0, at least 1.17549e-38"):
        TrainingConfig(**{name: 1e-40})


def test_a_size_beyond_32_bits_is_refused_at_once():
    start = time.perf_counter()
    for name in ("vocab_size", "embedding_dim", "max_seq_length", "num_reasoning_blocks", "num_moe_experts"):
        with pytest.raises(ConfigError, match=f"`{name}` must be at most"):
            ModelConfig(**{name: 10**12})
    assert ModelConfig(embedding_dim=2**31 - 2).resolved_num_heads <= (2**31 - 2) // 64
    assert time.perf_counter() - start < 1.0


def test_a_default_is_the_number_but_not_given():
    assert default(10) == 10 and repr(default(1e-4)) == "0.0001"
    assert not is_given(default(10)) and is_given(10)
    assert is_given(TrainingConfig(epochs=100).epochs)
    kept = copy.deepcopy(dataclasses.replace(TrainingConfig(), batch_size=4))
    assert not is_given(kept.epochs) and TrainingConfig() == TrainingConfig(epochs=100)


@pytest.mark.parametrize("width, heads", [(64, 1), (128, 2), (512, 8), (96, 1), (30, 1)])
def test_heads_are_about_one_for_64_dimensions(width, heads):
    config = ModelConfig(embedding_dim=width)
    assert config.resolved_num_heads == config.resolved_num_kv_heads == heads
    assert width % (2 * config.resolved_num_heads) == 0


def test_a_token_passes_as_many_parameters_as_in_the_dense_network():
    config = ModelConfig(embedding_dim=768, num_experts_per_tok=2)
    assert config.resolved_ffn_dim == 2048
    assert config.resolved_expert_dim * config.num_experts_per_tok == config.resolved_ffn_dim


@pytest.mark.parametrize("name", ["run.yaml", "run.json"])
def test_files_bring_back_every_field(tmp_path, name):
    training = TrainingConfig(learning_rate=1e-5, warmup_steps=None)
    config = Config(ModelConfig(embedding_dim=64, dropout=0.1), training)
    config.save(tmp_path / name)
    assert Config.load(tmp_path / name) == config


def test_yaml_takes_aliases_and_numbers_in_scientific_form(tmp_path):
    (tmp_path / "run.yaml").write_text("model: {d_model: 64}\ntraining: {lr: 3e-4, adam_epsilon: 1E-6}\n")
    config = Config.load(tmp_path / "run.yaml")
    assert config.model == ModelConfig(embedding_dim=64)
    assert config.training == TrainingConfig(learning_rate=3e-4, adam_epsilon=1e-6)


@pytest.mark.parametrize(
    "text, words",
    [
        ("model: {vocab_size: 3, vocab_size: 4}", "line 1: `vocab_size` is given twice"),
        ("model: {", "is not valid YAML"),
        ("- 3", "must hold a mapping of keys to values"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, text, words):
    (tmp_path / "run.yaml").write_text(text)
    with pytest.raises(ConfigError, match=words):
        read_yaml(tmp_path / "run.yaml")
    with pytest.raises(ConfigError, match="no configuration file at"):
        read_yaml(tmp_path / "absent.yaml")


def test_presets_are_found_by_both_names_and_overridden_by_keyword():
    assert get_preset_config("3b") == get_preset_config("highnoon-3b")
    assert get_preset_config("3b").model.embedding_dim == 2048
    config = get_preset_config("nano", dropout=0.2, lr=1e-2)
    assert config.model.dropout == 0.2 and config.training.learning_rate == 1e-2
    assert get_preset_config("nano").model.dropout == 0


@pytest.mark.parametrize(
    "name, hint",
    [
        ("highnoon-3bb", "did you mean `highnoon-3b`"),
        ("zzzzz", "presets: high"),
    ],
)
def test_an_unknown_preset_is_an_error_with_the_nearest(name, hint):
    with pytest.raises(ConfigError, match=hint):
        get_preset_config(name)


def test_an_override_of_a_shared_name_is_the_models():
    config = override(Config(), max_seq_length=77, grad_clip=2)
    assert (config.model.max_seq_length, config.training.max_seq_length) == (77, 2048)
    assert config.training.gradient_clip == 2.0


def test_the_former_name_of_a_field_is_read_from_files_and_saved_runs(tmp_path):
    (tmp_path / "run.yaml").write_text("training: {fault_ladder: [go_back]}\n")
    config = Config.load(tmp_path / "run.yaml").training
    assert config.on_repeated_faults == config.fault_ladder == ("go_back",)
    saved = config.to_dict()
    saved["fault_ladder"] = list(saved.pop("on_repeated_faults"))
    assert TrainingConfig(**saved) == TrainingConfig.of_model(saved) == config
    assert canonical_keys(saved) == {**config.to_dict(), "on_repeated_faults": ["go_back"]}


@pytest.mark.parametrize(
    "config", [ModelConfig(), TrainingConfig()], ids=lambda config: type(config).__name__
)
def test_the_range_of_a_number_stands_with_its_field(config):
    """So that a new field cannot be left unchecked."""
    for field in dataclasses.fields(config):
        if str(field.type).startswith("float"):
            assert field.metadata["limits"], field.name
        if str(field.type).startswith("tuple"):
            assert field.metadata["choices"], field.name
