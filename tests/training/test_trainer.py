"""The Trainer as its users meet it: stages, events, summary, overrides, early stopping, errors."""

from __future__ import annotations

import inspect
import json
import pathlib
import types

import keras
import numpy as np
import pytest

import highnoon as hn
from highnoon.callbacks.metrics_file import read_metrics
from highnoon.config import ConfigError, TrainingConfig
from highnoon.models.arrays import load_arrays
from highnoon.tokenization import ByteTokenizer
from highnoon.training import AdaptiveCurriculumScheduler, CurriculumScheduler
from highnoon.training.checkpoints.checkpoint import find_checkpoint, read_state
from highnoon.training.checkpoints.snapshot import OPTIMIZER_FILE
from highnoon.training.plans.choose_tokenizer import choose_tokenizer

QUIET = {"log_dir": None, "verbose": False, "save_checkpoints": False}


def test_documented_defaults():
    constructor = inspect.signature(hn.Trainer).parameters
    assert {
        name: constructor[name].default
        for name in ("learning_rate", "batch_size", "max_seq_length", "gradient_accumulation_steps")
    } == {"learning_rate": 1e-4, "batch_size": 8, "max_seq_length": 2048, "gradient_accumulation_steps": 1}
    train = inspect.signature(hn.Trainer.train).parameters
    assert {
        name: train[name].default
        for name in (
            "epochs_per_stage",
            "save_checkpoints",
            "checkpoint_dir",
            "checkpoint_interval",
            "log_interval",
            "eval_interval",
            "resume_from",
        )
    } == {
        "epochs_per_stage": 10,
        "save_checkpoints": True,
        "checkpoint_dir": None,
        "checkpoint_interval": 1000,
        "log_interval": 100,
        "eval_interval": 500,
        "resume_from": None,
    }


@pytest.mark.slow
def test_calls_of_several_steps_change_nothing_but_their_number(make_model, corpus, tmp_path):
    arrays, events = {}, {1: [], 7: []}
    for several in events:
        trainer = hn.Trainer(
            make_model(dropout=0.1),
            jit_compile=False,
            learning_rate=1e-3,
            batch_size=2,
            ema_momentum=0.9,
            gradient_accumulation_steps=2,
            steps_per_execution=several,
        )
        scheduler = CurriculumScheduler(num_stages=2, warmup_epochs=9, stage_increment_epochs=9, unit="step")
        trainer.add_curriculum_stage("sorted", corpus, steps=29, scheduler=scheduler)
        trainer.add_curriculum_stage("all", corpus, epochs=2, max_seq_length=16)
        trainer.add_callback(events[several].append)
        folder = tmp_path / str(several)
        trainer.train(
            checkpoint_dir=folder,
            checkpoint_interval=12,
            log_interval=5,
            eval_interval=8,
            log_dir=None,
            verbose=False,
        )
        final = find_checkpoint(folder / "final")
        arrays[several] = load_arrays(final / "model.safetensors") | load_arrays(final / OPTIMIZER_FILE)
    assert arrays[1].keys() == arrays[7].keys()
    assert not [name for name in arrays[1] if arrays[1][name].tobytes() != arrays[7][name].tobytes()]
    # When a checkpoint is whole the clock decides.
    ours, theirs = (
        [
            what_stays(event)
            for event in events[several]
            if event["event"] not in ("step_end", "checkpoint_saved")
        ]
        for several in events
    )
    assert ours == theirs
    ends = [event["step"] for event in events[7] if event["event"] == "step_end"]
    assert {5, 8, 10, 12, 15, 16, 20, 24, 25, 29} <= set(ends) and len(ends) < 0.7 * ends[-1]


def what_stays(event):
    """An event without what the clock decides."""
    metrics = {
        name: value
        for name, value in event.get("metrics", {}).items()
        if "second" not in name and "wait" not in name and "memory" not in name and "flop" not in name
    }
    folder = event.get("best_checkpoint")
    return {
        **event,
        "run_id": None,
        "metrics": metrics,
        "best_checkpoint": folder and pathlib.Path(folder).name,
        "seconds": None,
        "checkpoint_dir": None,
    }


def test_steps_of_a_call_are_at_least_one(make_model):
    with pytest.raises(ConfigError, match="`steps_per_execution` must be at least 1; received 0"):
        hn.Trainer(make_model(), steps_per_execution=0)


def test_events_and_summary_carry_the_documented_keys(make_model, corpus, other_corpus, tmp_path):
    events = []
    trainer = hn.Trainer(make_model(), jit_compile=False, learning_rate=1e-3)
    trainer.add_curriculum_stage("first", datasets=corpus, epochs=2).add_curriculum_stage(
        "second", [other_corpus]
    )
    trainer.add_callback(events.append)
    summary = trainer.train(
        epochs_per_stage=1,
        checkpoint_dir=tmp_path / "ckpt",
        checkpoint_interval=5,
        log_dir=None,
        verbose=False,
    )

    begun = next(event for event in events if event["event"] == "train_begin")
    assert set(begun) == {"event", "run_id", "run_name", "step", "total_steps", "num_parameters"}
    assert begun["run_id"] == read_state(find_checkpoint(tmp_path / "ckpt" / "final"))["run_id"]
    epochs = [event for event in events if event["event"] == "epoch_end"]
    assert [(event["stage"], event["epoch"]) for event in epochs] == [
        ("first", 1),
        ("first", 2),
        ("second", 1),
    ]
    assert all(isinstance(event["loss"], float) and isinstance(event["val_loss"], float) for event in epochs)
    complete = [event for event in events if event["event"] == "stage_complete"]
    assert [event["stage"] for event in complete] == ["first", "second"]
    assert complete[0]["metrics"]["final_loss"] == epochs[1]["loss"]
    saved = [event for event in events if event["event"] == "checkpoint_saved"]
    assert saved and all(pathlib.Path(event["path"]).parent == tmp_path / "ckpt" for event in saved)
    assert saved[-1]["step"] == summary["total_steps"]
    assert [(stage["name"], stage["epochs"]) for stage in summary["stages_completed"]] == [
        ("first", 2),
        ("second", 1),
    ]
    assert summary["stages_completed"][1]["final_loss"] == epochs[2]["loss"]
    assert sum(stage["steps"] for stage in summary["stages_completed"]) == summary["total_steps"]
    assert summary["history"]["loss"] == [event["loss"] for event in epochs]
    assert summary["history"] == trainer.history
    json.dumps(summary)


@pytest.mark.slow
def test_training_lowers_the_held_out_loss(make_model, corpus):
    losses = []
    trainer = hn.Trainer(make_model(), jit_compile=False, learning_rate=1e-2)
    trainer.add_curriculum_stage("only", corpus, epochs=4)
    trainer.add_callback(
        lambda event: losses.append(event["val_loss"]) if event["event"] == "epoch_end" else None
    )
    trainer.train(**QUIET)
    assert losses[-1] < losses[0] - 0.3


def test_one_batch_overfits(make_model, tmp_path):
    text = "the sun stood still at noon and no shadow fell on any stone of the field below"
    (tmp_path / "one.txt").write_text(text)
    trainer = hn.Trainer(
        make_model(),
        jit_compile=False,
        learning_rate=1e-2,
        warmup_steps=10,
        weight_decay=0.0,
        schedule="constant",
        validation_split=0.0,
    )
    trainer.add_curriculum_stage("only", str(tmp_path / "one.txt"), steps=150)
    summary = trainer.train(**QUIET)
    assert summary["stages_completed"][0]["final_loss"] < 0.05


@pytest.mark.slow
def test_a_stage_in_steps_takes_exactly_those(make_model, corpus):
    trainer = hn.Trainer(make_model(), jit_compile=False)
    trainer.add_curriculum_stage("short", corpus, steps=3).add_curriculum_stage("long", corpus, steps=17)
    summary = trainer.train(**QUIET)
    assert [stage["steps"] for stage in summary["stages_completed"]] == [3, 17]


@pytest.mark.slow
def test_stage_overrides_reach_the_step(make_model, corpus):
    logs = []
    trainer = hn.Trainer(
        make_model(), jit_compile=False, learning_rate=1e-3, schedule="constant", warmup_steps=0
    )
    trainer.add_curriculum_stage("one", corpus, steps=2).add_curriculum_stage(
        "two", corpus, steps=2, lr=5e-4, batch_size=2
    )
    trainer.add_callback(lambda event: logs.append(event) if event["event"] == "log" else None)
    trainer.train(log_interval=1, **QUIET)
    rates = [log["metrics"]["train/learning_rate"] for log in logs]
    assert rates == pytest.approx([1e-3, 1e-3, 5e-4, 5e-4])
    assert [stage.rows_per_step for stage in trainer.plan().stages] == [8, 2]


def test_weight_scales_the_loss_or_the_learning_rate(make_model, corpus):
    def plan_of(mode):
        trainer = hn.Trainer(make_model(), jit_compile=False, learning_rate=1e-3, weight_mode=mode)
        trainer.add_curriculum_stage("heavy", corpus, steps=2, weight=2.0)
        return trainer.plan()

    by_loss, by_rate = plan_of("loss"), plan_of("learning_rate")
    assert (by_loss.stages[0].loss_weight, by_loss.stages[0].learning_rate) == (2.0, 1e-3)
    assert (by_rate.stages[0].loss_weight, by_rate.stages[0].learning_rate) == (1.0, 2e-3)
    assert any("AdamW nearly cancels" in note for note in by_loss.notes)


@pytest.mark.slow
def test_early_stopping_ends_a_stage_on_held_out_loss(make_model, corpus):
    events = []
    trainer = hn.Trainer(
        make_model(),
        jit_compile=False,
        learning_rate=1e-5,
        early_stopping_patience=2,
        early_stopping_min_delta=50.0,
    )
    trainer.add_curriculum_stage("stuck", corpus, epochs=9).add_curriculum_stage("next", corpus, epochs=1)
    trainer.add_callback(events.append)
    summary = trainer.train(**QUIET)
    assert [stage["epochs"] for stage in summary["stages_completed"]] == [3, 1]
    assert [event["stage"] for event in events if event["event"] == "early_stop"] == ["stuck"]


@pytest.mark.slow
def test_a_scheduler_chooses_the_documents_of_each_epoch(make_model, corpus):
    steps = []
    scheduler = CurriculumScheduler(
        num_stages=2, warmup_epochs=1, stage_increment_epochs=1, initial_fraction=0.3, verbose=False
    )
    trainer = hn.Trainer(make_model(), jit_compile=False, batch_size=1)
    trainer.add_curriculum_stage("easy first", corpus, epochs=2, scheduler=scheduler)
    trainer.add_callback(lambda event: steps.append(event["step"]) if event["event"] == "epoch_end" else None)
    planned = trainer.plan().total_steps
    summary = trainer.train(**QUIET)
    assert summary["total_steps"] == planned == steps[1]
    assert steps[0] < 0.5 * (steps[1] - steps[0])


@pytest.mark.slow
def test_an_adaptive_scheduler_moves_with_the_loss(make_model, corpus):
    scheduler = AdaptiveCurriculumScheduler(
        loss_threshold_for_progression=100.0,
        min_epochs_per_stage=2,
        max_epochs_per_stage=3,
        num_stages=2,
        initial_fraction=0.3,
        verbose=False,
    )
    steps = []
    trainer = hn.Trainer(make_model(), jit_compile=False, batch_size=1)
    trainer.add_curriculum_stage("paced", corpus, epochs=4, scheduler=scheduler)
    trainer.add_callback(lambda event: steps.append(event["step"]) if event["event"] == "epoch_end" else None)
    assert trainer.plan().stages[0].is_upper_bound
    trainer.train(**QUIET)
    lengths = np.diff([0, *steps])
    assert lengths[0] == lengths[1] < lengths[2] == lengths[3]


@pytest.mark.slow
def test_a_scheduler_can_count_steps(make_model, corpus):
    scheduler = CurriculumScheduler(
        num_stages=2,
        warmup_epochs=5,
        stage_increment_epochs=1,
        initial_fraction=0.2,
        verbose=False,
        unit="step",
    )
    epochs = []
    trainer = hn.Trainer(make_model(), jit_compile=False, batch_size=1)
    trainer.add_curriculum_stage("by steps", corpus, steps=12, scheduler=scheduler)
    trainer.add_callback(
        lambda event: epochs.append(event["step"]) if event["event"] == "epoch_end" else None
    )
    assert trainer.train(**QUIET)["total_steps"] == 12
    assert 5 in epochs  # the epoch over the easy documents ends where the scheduler moves on


@pytest.mark.slow
def test_keras_callbacks_watch_and_end_a_run(make_model, corpus, tmp_path):
    stopper = keras.callbacks.EarlyStopping(monitor="val_loss", patience=1, min_delta=50.0)
    batches = []
    recorder = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: batches.append(logs["loss"])
    )
    trainer = hn.Trainer(make_model(), jit_compile=False)
    trainer.add_curriculum_stage("only", corpus, epochs=8)
    trainer.add_callback(stopper)
    trainer.add_callback(keras.callbacks.TensorBoard(log_dir=str(tmp_path / "tb")))
    summary = trainer.train(callbacks=[recorder], **QUIET)
    assert summary["stages_completed"][0]["epochs"] == 2
    assert len(batches) == summary["total_steps"]
    assert list((tmp_path / "tb").rglob("events.out.tfevents.*"))


@pytest.mark.slow
def test_logs_hold_metrics_file_and_tensorboard_events(make_model, corpus, tmp_path):
    trainer = hn.Trainer(make_model(), jit_compile=False)
    trainer.add_curriculum_stage("only", corpus, steps=6)
    trainer.train(log_interval=2, log_dir=tmp_path / "logs", verbose=False, save_checkpoints=False)
    (metrics,) = (tmp_path / "logs").rglob("metrics.jsonl")
    lines = read_metrics(metrics)
    assert [line["step"] for line in lines if line["event"] == "log"] == [1, 2, 4, 6]
    assert {
        "train/loss",
        "train/grad_norm",
        "train/learning_rate",
        "train/tokens_per_second",
        "router/load_entropy",
    } <= set(lines[0])
    assert list((tmp_path / "logs").rglob("events.out.tfevents.*"))


def test_configuration_of_the_model_is_not_lost(make_model):
    config = hn.Config(
        model=hn.get_preset_config("highnoon-nano").model,
        training=TrainingConfig(warmup_steps=7, gradient_clip=0.5, learning_rate=3e-4),
    )
    trainer = hn.Trainer(hn.create_model(config), batch_size=4, jit_compile=False)
    assert (trainer.config.warmup_steps, trainer.config.gradient_clip) == (7, 0.5)
    assert (trainer.config.learning_rate, trainer.config.batch_size) == (3e-4, 4)


def test_a_tokenizer_of_bytes_is_not_called_trained(make_model, corpus):
    model = make_model(vocab_size=263)
    model.tokenizer = None
    trainer = hn.Trainer(model, jit_compile=False)
    trainer.add_curriculum_stage("only", corpus, steps=1)
    notes = trainer.plan().notes
    assert any("text is read as bytes, with 263 ids" in note for note in notes)
    assert not any("trained a tokenizer" in note for note in notes)


def test_a_tokenizer_is_trained_said_and_kept_where_none_is_given(make_model, corpus):
    model = make_model(vocab_size=300)
    model.tokenizer = None
    trainer = hn.Trainer(model, jit_compile=False)
    trainer.add_curriculum_stage("only", corpus, steps=1)
    assert any("trained a tokenizer of 300 ids" in note for note in trainer.plan().notes)
    assert model.tokenizer is trainer.tokenizer and model.tokenizer.vocab_size == 300


@pytest.mark.slow
def test_any_keras_model_trains(corpus):
    import keras_hub

    backbone = keras_hub.models.GPT2Backbone(
        vocabulary_size=263,
        num_layers=1,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=32,
        max_sequence_length=32,
    )
    model = keras_hub.models.GPT2CausalLM(backbone)
    losses = []
    trainer = hn.Trainer(model, learning_rate=1e-2, max_seq_length=32, tokenizer=ByteTokenizer())
    trainer.add_curriculum_stage("only", corpus, epochs=2)
    trainer.add_callback(
        lambda event: losses.append(event["loss"]) if event["event"] == "epoch_end" else None
    )
    trainer.train(**QUIET)
    assert losses[1] < losses[0] - 0.2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning_rat": 1}, "did you mean `learning_rate`"),
        ({"weight_mode": "sampling"}, "`weight_mode` must be one of"),
        ({"batch_size": 0}, "`batch_size` must be at least 1"),
    ],
)
def test_bad_options_are_refused(make_model, options, message):
    with pytest.raises(ConfigError, match=message):
        hn.Trainer(make_model(), **options)


def test_a_run_without_stages_says_what_to_call(make_model):
    with pytest.raises(ConfigError, match="add_curriculum_stage"):
        hn.Trainer(make_model()).train(**QUIET)


def test_a_stage_name_is_taken_once(make_model):
    trainer = hn.Trainer(make_model()).add_curriculum_stage("a", "x")
    with pytest.raises(ConfigError, match="already is a stage `a`"):
        trainer.add_curriculum_stage("a", "y")


def test_a_tokenizer_larger_than_the_model_is_refused(make_model, corpus):
    model = make_model()
    model.tokenizer = None
    hn.Trainer(model, tokenizer=ByteTokenizer()).add_curriculum_stage("a", corpus).plan()
    with pytest.raises(ConfigError, match="263 ids and the model's vocab_size is 100"):
        choose_tokenizer(types.SimpleNamespace(vocab_size=100), ByteTokenizer(), [], 0.1)


def test_a_callback_must_be_callable(make_model):
    with pytest.raises(TypeError, match="keras.callbacks.Callback or a function"):
        hn.Trainer(make_model()).add_callback("not a function")


def test_evaluate_reports_bits_per_byte(make_model, corpus):
    trainer = hn.Trainer(make_model(), jit_compile=False).add_curriculum_stage("a", corpus, steps=1)
    figures = trainer.evaluate()
    # Byte tokens and one end token a document: bits a byte are a little above nats a token over ln 2.
    assert figures["bits_per_byte"] == pytest.approx(figures["loss"] / np.log(2), rel=0.05)
    assert figures["perplexity"] == pytest.approx(np.exp(figures["loss"]))
