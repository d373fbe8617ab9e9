"""Which arguments of a Trainer count, and which are refused before anything is done."""

from __future__ import annotations

import math

import numpy as np
import pytest

import highnoon as hn
from highnoon.config import PRESETS, ConfigError, TrainingConfig
from highnoon.training import AdaptiveCurriculumScheduler, CheckpointError, CurriculumScheduler
from highnoon.training.optimizers import Adafactor, AdamW, Lion, Muon
from highnoon.training.preflight.preflight import require_memory_for_rows

QUIET = {"log_dir": None, "verbose": False, "save_checkpoints": False}
NOT_NUMBERS = [math.nan, math.inf, -math.inf, -1.0, "8", True, None]


@pytest.fixture(scope="module")
def model():
    return hn.create_model(
        "highnoon-nano",
        vocab_size=263,
        embedding_dim=32,
        num_reasoning_blocks=1,
        max_seq_length=32,
        num_moe_experts=2,
        num_heads=2,
        expert_dim=32,
    )


def test_an_argument_equal_to_its_default_overrides_the_configuration(model):
    base = TrainingConfig(
        learning_rate=3e-3, batch_size=2, max_seq_length=16, gradient_accumulation_steps=4, epochs=7
    )
    given = hn.Trainer(model, 1e-4, 8, 2048, 1, config=base).config
    assert (given.learning_rate, given.batch_size) == (1e-4, 8)
    assert (given.max_seq_length, given.gradient_accumulation_steps) == (2048, 1)
    assert hn.Trainer(model, config=base).config == base
    assert hn.Trainer(model).config == TrainingConfig(learning_rate=PRESETS["highnoon-nano"]["learning_rate"])


@pytest.mark.parametrize(
    ("dtype", "policy"),
    [("bfloat16", "mixed_bfloat16"), ("float16", "mixed_float16"), ("float64", "float32")],
)
def test_weights_that_small_steps_would_not_move_are_refused_before_data_is_read(tmp_path, dtype, policy):
    shape = {
        "embedding_dim": 16,
        "num_reasoning_blocks": 1,
        "num_heads": 2,
        "block_pattern": "bdh(multiplier=2)",
    }
    trainer = hn.Trainer(hn.create_model("hatching-nano", dtype=dtype, **shape), max_seq_length=16)
    trainer.add_curriculum_stage("all", str(tmp_path / "missing.txt"), steps=1)
    for start in (trainer.train, trainer.plan, trainer.preflight):
        with pytest.raises(ConfigError, match=f"float32; received {dtype} for .* dtype='{policy}'") as found:
            start()
        assert "\n" not in str(found.value)


def test_one_field_under_two_names_is_refused(model):
    with pytest.raises(ConfigError, match="name the same field `learning_rate`"):
        hn.Trainer(model, learning_rate=1e-3, lr=1e-4)


def test_epochs_of_the_configuration_count_where_train_says_none(model, corpus):
    for arguments, epochs in (({}, 10), ({"epochs": 100}, 100), ({"config": TrainingConfig(epochs=3)}, 3)):
        trainer = hn.Trainer(model, tokenizer=hn.tokenization.ByteTokenizer(), **arguments)
        trainer.add_curriculum_stage("all", corpus)
        assert trainer.plan().stages[0].epochs == epochs
        assert trainer.plan(2).stages[0].epochs == 2


def test_epochs_that_no_stage_uses_are_noted_where_they_were_given(model, corpus):
    for arguments, planned, epochs in (({}, None, None), ({"epochs": 4}, None, 4), ({}, 5, 5)):
        trainer = hn.Trainer(model, tokenizer=hn.tokenization.ByteTokenizer(), **arguments)
        trainer.add_curriculum_stage("steps", corpus, steps=2)
        noted = [note for note in trainer.plan(planned).notes if "is not used" in note]
        assert len(noted) == (epochs is not None)
        assert all(note.startswith(f"note: epochs={epochs} is not used") for note in noted)
        trainer.add_curriculum_stage("epochs", corpus)
        assert not any("is not used" in note for note in trainer.plan(planned).notes)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"epochs": 0}, "`epochs` must be at least 1; received 0"),
        ({"epochs_per_stage": 0}, "`epochs_per_stage` must be at least 1; received 0"),
        ({"epochs_per_stage": 10, "epochs": 10}, "name the same number; received 10 and 10, give one"),
        ({"epochs": "3"}, "`epochs` must be a whole number; received '3'"),
        ({"epochs": math.nan}, "`epochs` must be a whole number; received nan"),
        ({"keep_every": 0}, "`keep_every` must be at least 1; received 0"),
        ({"keep_checkpoints": 0}, "`keep_checkpoints` must be at least 1; received 0"),
        ({"log_interval": 0}, "`log_interval` must be at least 1; received 0"),
        ({"eval_interval": True}, "`eval_interval` must be a whole number; received True"),
        ({"checkpoint_interval": 10**30}, "`checkpoint_interval` must be at most"),
        ({"checkpoint_dir": ""}, "`checkpoint_dir` must be a path; received ''"),
        ({"checkpoint_dir": 3}, "`checkpoint_dir` must be a path; received 3"),
        ({"log_dir": ["logs"]}, "`log_dir` must be a path"),
        ({"resume_from": ""}, "`resume_from` must be a path; received ''"),
        ({"resume_from": 0.5}, "`resume_from` must be a path; received 0.5"),
        ({"extend": 1}, "`extend` must be true or false; received 1"),
        ({"callbacks": print}, "`callbacks` must be a list of callbacks"),
    ],
)
def test_an_argument_of_train_out_of_range_is_refused_before_data_is_read(model, arguments, words):
    trainer = hn.Trainer(model)
    trainer.add_curriculum_stage("all", "no-such-data.txt")
    with pytest.raises(ConfigError, match=words):
        trainer.train(**{**QUIET, **arguments})


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"config": {}}, "`config` must be a TrainingConfig; received {}"),
        ({"steps_per_execution": 0}, "`steps_per_execution` must be at least 1"),
        ({"steps_per_execution": 2.5}, "`steps_per_execution` must be a whole number"),
        ({"auto_batch": "yes"}, "`auto_batch` must be true or false"),
        ({"data_dir": ""}, "`data_dir` must be a path"),
        ({"weight_mode": 3}, "`weight_mode` must be one of loss, learning_rate; received 3"),
        ({"adam_epsilon": -1}, "`adam_epsilon` must be above 0; received -1"),
        ({"weight_decay": math.nan}, "`weight_decay` must be at least 0 and finite; received nan"),
    ],
)
def test_an_argument_of_the_constructor_out_of_range_is_refused(model, arguments, words):
    with pytest.raises(ConfigError, match=words):
        hn.Trainer(model, **arguments)


@pytest.mark.slow
def test_epochs_given_to_a_resumed_run_count_whatever_their_number(make_model, corpus):
    trainer = hn.Trainer(make_model(), batch_size=8, max_seq_length=32)
    trainer.add_curriculum_stage("all", corpus)
    trainer.train(epochs=1, checkpoint_dir="checkpoints", log_dir=None, verbose=False)

    def resumed() -> hn.Trainer:
        return hn.Trainer(make_model(), batch_size=8, max_seq_length=32)

    steps = trainer.progress.step
    arguments = {"resume_from": True, "checkpoint_dir": "checkpoints"}
    assert resumed().preflight(**arguments).total_steps == steps
    assert resumed().preflight(10, extend=True, **arguments).total_steps == 10 * steps
    expected = r"epochs is 10 now, 1 in the checkpoint.*extend=True\), on the command line --extend$"
    with pytest.raises(CheckpointError, match=expected):
        resumed().preflight(10, **arguments)


@pytest.mark.parametrize("value", NOT_NUMBERS)
def test_no_optimizer_takes_what_is_not_a_finite_number_in_its_range(value):
    arguments = {
        AdamW: ("weight_decay", "beta_1", "beta_2", "epsilon"),
        Lion: ("weight_decay", "beta_1", "beta_2"),
        Muon: ("weight_decay", "momentum", "epsilon"),
        Adafactor: ("epsilon", "smallest_scale"),
    }
    for optimizer, names in arguments.items():
        for name in names:
            with pytest.raises(ConfigError, match=f"`{name}` must [^\n]*received"):
                optimizer(**{name: value})
        if isinstance(value, (float, str)):
            with pytest.raises(ConfigError, match="`learning_rate` must"):
                optimizer(learning_rate=value)


@pytest.mark.parametrize("value", NOT_NUMBERS)
def test_no_stage_or_scheduler_takes_what_is_not_a_finite_number_in_its_range(model, value):
    trainer = hn.Trainer(model)
    stages = {
        "weight": {"weight": value},
        "max_repeats": {"max_repeats": value},
        "weights": {"datasets": [("a", value), ("b", 0.5)]},
        "learning_rate": {"learning_rate": value},
    }
    for name, arguments in stages.items():
        with pytest.raises(ConfigError, match=f"stage `all`: `?{name}`? must [^\n]*received"):
            trainer.add_curriculum_stage("all", **{"datasets": "a", **arguments})
    with pytest.raises(ValueError, match="`initial_fraction` must"):
        CurriculumScheduler(initial_fraction=value)
    with pytest.raises(ValueError, match="`loss_threshold_for_progression` must"):
        AdaptiveCurriculumScheduler(loss_threshold_for_progression=value)
    assert not trainer.stages


def test_a_step_whose_rows_cannot_fit_is_refused_in_closed_form():
    config = TrainingConfig(batch_size=2**31 - 1, max_seq_length=2**31 - 1)
    with pytest.raises(hn.LimitExceededError, match="the rows of one step, 2,147,483,647 of 2,147,483,647"):
        require_memory_for_rows([TrainingConfig(), config])
    require_memory_for_rows([TrainingConfig()])


@pytest.mark.parametrize("argument", [{"extend": "no"}, {"allow_plan_change": 1}, {"checkpoint_dir": 3.0}])
def test_a_preflight_checks_its_arguments_as_a_run_does(model, argument):
    (name,) = argument
    with pytest.raises(ConfigError, match=f"`{name}` must be"):
        hn.Trainer(model).preflight(**argument)


def test_a_saved_trainer_is_loaded_with_its_model(model, tmp_path):
    hn.Trainer(model, batch_size=3, tokenizer=hn.tokenization.ByteTokenizer()).save(tmp_path / "saved")
    loaded = hn.Trainer.load(tmp_path / "saved")
    assert loaded.config.batch_size == 3 and loaded.tokenizer.vocab_size == 263
    for one, other in zip(loaded.model.weights, model.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
