"""Callbacks of Keras in a run: each works as under `fit`, or is refused when it is added."""

from __future__ import annotations

import csv
import pathlib

import keras
import pytest

import highnoon as hn
from highnoon.config import ConfigError
from highnoon.training.optimizers import AdamW
from highnoon.training.runs.require_callbacks import REFUSED
from tests.training.optimizers.conftest import arrays_of, largest_difference, plain_model, train_as_keras

CALLBACKS, OPTIMIZERS = keras.callbacks, keras.optimizers
QUIET = {"save_checkpoints": False, "log_dir": None, "verbose": False}
CONSTANT = {"learning_rate": 1e-2, "schedule": "constant", "warmup_steps": 0}


def reduce_rate() -> keras.callbacks.Callback:
    return CALLBACKS.ReduceLROnPlateau(factor=0.5, patience=1, min_delta=10.0)


def scheduler() -> keras.callbacks.Callback:
    return CALLBACKS.LearningRateScheduler(lambda epoch, rate: rate * (0.5 if epoch else 1.0))


def train_as_fit(trainer: hn.Trainer, optimizer, callback, losses: list[float]) -> keras.Model:
    """Returns what Keras trains where its callback is called as `fit` does."""
    holder = plain_model()
    holder.optimizer = optimizer
    callback.set_model(holder)
    callback.on_train_begin()
    return train_as_keras(
        optimizer,
        trainer,
        before_epoch=lambda epoch: callback.on_epoch_begin(epoch, {}),
        after_epoch=lambda epoch, model: callback.on_epoch_end(epoch, {"val_loss": losses[epoch]}),
    )


@pytest.mark.parametrize("make_callback", [reduce_rate, pytest.param(scheduler, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "make_optimizer", [lambda: OPTIMIZERS.Adam(1e-2), pytest.param(None, marks=pytest.mark.slow)]
)
def test_a_callback_that_sets_the_learning_rate_gives_the_weights_of_keras(
    make_callback, make_optimizer, make_trainer
):
    options = CONSTANT | {"weight_decay": 0.0, "gradient_clip": None} if make_optimizer is None else {}
    options |= {"optimizer": make_optimizer()} if make_optimizer else {}
    trainer = make_trainer(batch_size=20, **options)
    losses, rates = [], []

    def listen(event):
        losses.extend([event["val_loss"]] if event["event"] == "epoch_end" else [])
        rates.extend([event["metrics"]["train/learning_rate"]] if event["event"] == "log" else [])

    trainer.add_callback(listen)
    trainer.add_callback(make_callback())
    trainer.train(log_interval=1, **QUIET)
    reference = make_optimizer() if make_optimizer else AdamW(1e-2, weight_decay=0.0)
    expected = train_as_fit(trainer, reference, make_callback(), losses)
    assert len(losses) >= 3 and len(set(rates)) >= 2
    assert largest_difference(trainer.model, expected) < 1e-5
    assert rates[-1] == pytest.approx(1e-2 * 0.5 ** (len(set(rates)) - 1), rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("make_callback", [reduce_rate, scheduler])
def test_the_learning_rate_that_a_callback_set_survives_a_kill(make_callback, make_trainer):
    def make(kill_at: int | None = None) -> hn.Trainer:
        trainer = make_trainer(batch_size=20, **CONSTANT)

        def kill(event):
            if event["event"] == "step_end" and event["step"] == kill_at:
                raise RuntimeError("killed")

        trainer.add_callback(make_callback())
        trainer.add_callback(kill)
        return trainer

    straight = make()
    straight.train(**QUIET)
    for kill_at in (9, 17):  # in the middle of an epoch
        with pytest.raises(RuntimeError, match="killed"):
            make(kill_at).train(resume_from=True, log_dir=None, verbose=False)
    resumed = make()
    resumed.train(resume_from=True, log_dir=None, verbose=False)
    assert arrays_of(resumed) == arrays_of(straight)
    assert float(resumed.optimizer.learning_rate) < 0.9e-2


@pytest.mark.parametrize("make_callback", [reduce_rate, scheduler])
def test_two_schedules_at_once_are_refused(make_callback, make_trainer):
    with pytest.raises(ConfigError, match="schedule='constant', warmup_steps=0"):
        make_trainer().add_callback(make_callback())
    schedule = OPTIMIZERS.schedules.ExponentialDecay(1e-2, 4, 0.5)
    with pytest.raises(ConfigError, match="give the optimizer a number"):
        make_trainer(OPTIMIZERS.SGD(schedule)).add_callback(make_callback())
    with pytest.raises(ConfigError, match="a stage overrides `learning_rate`"):
        trainer = make_trainer(stage={"steps": 2, "learning_rate": 1e-3}, **CONSTANT)
        trainer.train(callbacks=[make_callback()], **QUIET)


@pytest.mark.parametrize(
    ("callback", "words"),
    [
        (CALLBACKS.EarlyStopping("val_los"), "did you mean `val_loss`"),
        (CALLBACKS.EarlyStopping("val_accuracy", mode="max"), "there are: loss, val_loss, val_perplexity"),
        (CALLBACKS.EarlyStopping("val_perplexity"), "mode='min'"),
        (CALLBACKS.ReduceLROnPlateau("los"), "did you mean `loss`"),
        (CALLBACKS.ModelCheckpoint("m.keras", "val_acc", save_best_only=True, mode="max"), "val_acc"),
        (CALLBACKS.ModelCheckpoint("m.keras", save_best_only=True, save_freq=5), "within an epoch"),
        (CALLBACKS.ModelCheckpoint("{epoch}-{val_lose:.2f}.keras"), "did you mean `val_loss`"),
    ],
)
def test_a_figure_that_the_run_does_not_have_is_named_when_the_callback_is_added(
    callback, words, make_trainer
):
    with pytest.raises(ConfigError, match=words) as caught:
        make_trainer(OPTIMIZERS.SGD(0.1)).add_callback(callback)
    assert "\n" not in str(caught.value)


def test_a_held_out_figure_needs_held_out_data(make_trainer):
    trainer = make_trainer(validation_split=0.0)
    trainer.add_callback(CALLBACKS.EarlyStopping("val_loss"))
    with pytest.raises(ConfigError, match="no stage holds a document out"):
        trainer.train(**QUIET)
    make_trainer(validation_split=0.0).add_callback(CALLBACKS.EarlyStopping("loss"))


def test_every_callback_of_keras_works_or_is_refused(make_trainer, tmp_path):
    """A callback of a later version of Keras fails here until it is in one of the two lists."""
    epochs: list[int] = []
    working = {
        "CSVLogger": CALLBACKS.CSVLogger("log.csv"),
        "EarlyStopping": CALLBACKS.EarlyStopping(patience=50),
        "History": CALLBACKS.History(),
        "LambdaCallback": CALLBACKS.LambdaCallback(on_epoch_end=lambda epoch, logs: epochs.append(epoch)),
        "LearningRateScheduler": CALLBACKS.LearningRateScheduler(lambda epoch: 0.1 / (epoch + 1)),
        "ModelCheckpoint": CALLBACKS.ModelCheckpoint("best-{epoch}.keras", save_best_only=True),
        "ReduceLROnPlateau": CALLBACKS.ReduceLROnPlateau(patience=50),
        "RemoteMonitor": CALLBACKS.RemoteMonitor(root="http://127.0.0.1:9"),
        "TensorBoard": CALLBACKS.TensorBoard("tensorboard", histogram_freq=1),
        "TerminateOnNaN": CALLBACKS.TerminateOnNaN(),
    }
    every = {
        name for name in dir(CALLBACKS) if isinstance(getattr(CALLBACKS, name), type) and name != "Callback"
    }
    assert every == set(working) | set(REFUSED)
    trainer = make_trainer(OPTIMIZERS.SGD(0.1), batch_size=20, stage={"epochs": 2})
    for callback in working.values():
        trainer.add_callback(callback)
    with pytest.warns(UserWarning, match="Could not reach RemoteMonitor"):
        trainer.train(**QUIET)
    assert epochs == working["History"].epoch == [0, 1]
    assert working["EarlyStopping"].best is not None and working["ReduceLROnPlateau"].best is not None
    rows = list(csv.DictReader(pathlib.Path("log.csv").open()))
    assert [float(row["val_loss"]) for row in rows] == working["History"].history["val_loss"]
    best = keras.saving.load_model("best-1.keras")
    assert largest_difference(best, trainer.model) > 0 and pathlib.Path("best-2.keras").exists()
    assert list(pathlib.Path("tensorboard").rglob("events*"))
    assert float(trainer.optimizer.learning_rate) == pytest.approx(0.05)


REFUSED_OBJECTS = {
    "BackupAndRestore": lambda: CALLBACKS.BackupAndRestore("backup"),
    "CallbackList": lambda: CALLBACKS.CallbackList([]),
    "OrbaxCheckpoint": lambda: object.__new__(CALLBACKS.OrbaxCheckpoint),
    "ProgbarLogger": CALLBACKS.ProgbarLogger,
    "SwapEMAWeights": CALLBACKS.SwapEMAWeights,
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_callback_says_what_to_use_instead(name, make_trainer):
    with pytest.raises(ConfigError, match=f"{name} cannot be used in a run: "):
        make_trainer().add_callback(REFUSED_OBJECTS[name]())


@pytest.mark.slow
def test_the_callbacks_of_keras_tuner_work(make_trainer, tmp_path):
    tuning = pytest.importorskip("keras_tuner")
    from keras_tuner.src.engine import tuner_utils

    path = str(tmp_path / "best.weights.h5")
    trainer = make_trainer(OPTIMIZERS.SGD(0.1), batch_size=20, stage={"epochs": 1})
    trainer.add_callback(tuner_utils.SaveBestEpoch(tuning.Objective("val_loss", "min"), path))
    trainer.train(**QUIET)
    again = plain_model()
    again.load_weights(path)
    assert largest_difference(again, trainer.model) == 0.0


def test_the_log_and_the_history_tell_of_an_optimizer_of_keras(make_trainer, tmp_path):
    trainer = make_trainer(OPTIMIZERS.SGD(0.1, momentum=0.9), batch_size=20, stage={"epochs": 2})
    trainer.add_callback(CALLBACKS.LearningRateScheduler(lambda epoch: 0.1 / (epoch + 1)))
    summary = trainer.train(save_checkpoints=False, log_dir=tmp_path / "logs", verbose=False)
    assert summary["history"]["learning_rate"] == pytest.approx([0.1, 0.05])
    assert list((tmp_path / "logs").rglob("events*"))
