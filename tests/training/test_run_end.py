"""What a run ends with: which weights, saved under which role, or an error in place of a success."""

from __future__ import annotations

import json
import math
import pathlib

import keras
import numpy as np
import pytest

import highnoon as hn
from highnoon.config import ConfigError
from highnoon.files.folder_manifest import write_manifest
from highnoon.models.arrays import load_arrays
from highnoon.training import CheckpointError
from highnoon.training.checkpoints import checkpoint
from highnoon.training.runs.progress import Progress, is_lower

QUIET = {"log_dir": None, "verbose": False}
FALL_AND_RISE = {0: 3.0, 1: 2.0, 2: 4.0, 3: 5.0}
NAN = float("nan")


def make_trainer(model, corpus, steps=20, **options) -> hn.Trainer:
    trainer = hn.Trainer(model, batch_size=1, **options)
    return trainer.add_curriculum_stage("only", corpus, steps=steps)


def weights_of(trainer) -> list[bytes]:
    return [weight.numpy().tobytes() for weight in trainer.model.weights]


def saved_weights(folder: pathlib.Path) -> list[bytes]:
    return [weight.numpy().tobytes() for weight in hn.load_model(folder).weights]


@pytest.mark.parametrize("momentum", [None, 0.5])
@pytest.mark.parametrize("restore_best", [False, True])
def test_final_the_model_and_the_saved_model_are_the_same_weights(
    make_model, corpus, tmp_path, script, momentum, restore_best
):
    script({}, FALL_AND_RISE)
    trainer = make_trainer(make_model(), corpus, ema_momentum=momentum)
    evaluated = {}

    def watch(event):
        if event["event"] == "step_end" and event["step"] == 10:
            average = trainer.optimizer.averages()
            evaluated["best"] = (average or trainer.model.trainable_variables)[0].numpy().copy()

    trainer.add_callback(watch)
    summary = trainer.train(
        checkpoint_dir=tmp_path / "c", eval_interval=5, restore_best=restore_best, **QUIET
    )
    assert (summary["best_step"], summary["best_val_loss"]) == (10, 2.0)
    assert summary["weights"] == ("best" if restore_best else "last")
    trainer.save(tmp_path / "model")
    final = checkpoint.find_checkpoint(tmp_path / "c" / "final")
    for folder in (final, tmp_path / "model"):
        assert saved_weights(folder) == weights_of(trainer)
    is_best = np.array_equal(trainer.model.trainable_variables[0].numpy(), evaluated["best"])
    assert is_best == restore_best


def test_a_killed_run_restores_the_same_best_and_an_extended_one_continues_from_the_last_step(
    make_model, corpus, tmp_path, script
):
    arguments = {"eval_interval": 5, "restore_best": True, "checkpoint_interval": 4, "keep_checkpoints": 99}
    script({}, FALL_AND_RISE)
    whole = make_trainer(make_model(), corpus, ema_momentum=0.5)
    whole.train(checkpoint_dir=tmp_path / "a", **arguments, **QUIET)
    script({}, {0: 4.0, 1: 5.0})
    again = make_trainer(make_model(1), corpus, ema_momentum=0.5)
    again.train(
        checkpoint_dir=tmp_path / "b", resume_from=tmp_path / "a" / "step_00000012", **arguments, **QUIET
    )
    assert weights_of(again) == weights_of(whole)

    # Extended, it continues from the weights of the last step, which are in its checkpoint too.
    script({}, {0: 9.0})
    extended = make_trainer(make_model(2), corpus, steps=25, ema_momentum=0.5)
    last = whole.optimizer.averages()[0].numpy()
    extended.add_callback(
        lambda event: (
            np.testing.assert_array_equal(extended.optimizer.averages()[0].numpy(), last)
            if event["event"] == "train_begin"
            else None
        )
    )
    begun = []
    extended.add_callback(
        lambda event: (
            begun.append(extended.model.trainable_variables[0].numpy().copy())
            if event["event"] == "train_begin"
            else None
        )
    )
    extended.train(checkpoint_dir=tmp_path / "a", resume_from=True, extend=True, **QUIET)
    kept = load_arrays(tmp_path / "a" / "step_00000020" / "optimizer.safetensors")
    np.testing.assert_array_equal(begun[0], kept["trained/token_embedding/embeddings"])
    assert not np.array_equal(begun[0], whole.model.trainable_variables[0].numpy())


def test_without_checkpoints_the_best_is_kept_in_memory(make_model, corpus, script):
    arrays = {}
    for restore_best in (True, False):
        steps = 20 if restore_best else 10
        trainer = make_trainer(make_model(), corpus, steps, schedule="constant", warmup_steps=2)
        script({}, FALL_AND_RISE)
        trainer.train(save_checkpoints=False, eval_interval=5, restore_best=restore_best, **QUIET)
        arrays[restore_best] = weights_of(trainer)
    assert arrays[True] == arrays[False], "the best of 20 steps is what 10 steps give"


def test_weights_that_a_callback_sets_at_the_end_stay_and_are_saved(make_model, corpus, tmp_path, script):
    def set_zeros(logs):
        trainer.model.trainable_variables[0].assign(trainer.model.trainable_variables[0] * 0.0)

    script()
    trainer = make_trainer(make_model(), corpus, ema_momentum=0.5)
    trainer.add_callback(keras.callbacks.LambdaCallback(on_train_end=set_zeros))
    assert trainer.train(checkpoint_dir=tmp_path / "c", **QUIET)["weights"] == "callback"
    final = checkpoint.find_checkpoint(tmp_path / "c" / "final")
    assert not trainer.model.trainable_variables[0].numpy().any()
    assert saved_weights(final) == weights_of(trainer)


def test_keras_early_stopping_restores_its_best_weights(make_model, corpus, tmp_path, script):
    script({}, {0: 2.0, 1: 3.0, 2: 4.0})
    trainer = hn.Trainer(make_model(), batch_size=8).add_curriculum_stage("only", corpus, epochs=6)
    seen = []
    trainer.add_callback(
        keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: seen.append(trainer.model.trainable_variables[0].numpy().copy())
        )
    )
    trainer.add_callback(keras.callbacks.EarlyStopping(patience=2, restore_best_weights=True))
    trainer.train(checkpoint_dir=tmp_path / "c", **QUIET)
    assert len(seen) == 3
    np.testing.assert_array_equal(trainer.model.trainable_variables[0].numpy(), seen[0])
    final = checkpoint.find_checkpoint(tmp_path / "c" / "final")
    assert saved_weights(final) == weights_of(trainer)


def test_the_last_line_says_whose_the_weights_are_and_how_to_get_the_best(
    make_model, corpus, tmp_path, script, capsys
):
    script({}, FALL_AND_RISE)
    trainer = make_trainer(make_model(), corpus)
    trainer.train(checkpoint_dir=tmp_path / "c", log_dir=None, eval_interval=5)
    line = " ".join(capsys.readouterr().out.split())
    assert "the model now has the weights of step 20, the last; the lowest held-out loss, 2.0000, " in line
    assert "was at step 10" in line and f"checkpoints in {tmp_path / 'c'}" in line
    assert "restore_best=True (--resume --restore-best)" in line
    script({}, {})
    again = make_trainer(make_model(1), corpus)
    again.train(checkpoint_dir=tmp_path / "c", log_dir=None, resume_from=True, restore_best=True)
    line = " ".join(capsys.readouterr().out.split())
    assert "the model now has the weights of step 10 (lowest held-out loss, 2.0000)" in line
    best = checkpoint.find_checkpoint(tmp_path / "c" / "best")
    assert saved_weights(best) == weights_of(again)


@pytest.mark.parametrize("restore_best", [False, True])
def test_a_run_killed_before_it_named_its_best_checkpoint_still_keeps_it(
    make_model, corpus, tmp_path, script, monkeypatch, restore_best
):
    arguments = {
        "checkpoint_dir": tmp_path / "c",
        "eval_interval": 5,
        "checkpoint_interval": 2,
        "keep_checkpoints": 1,
        "restore_best": restore_best,
        **QUIET,
    }
    point_at = checkpoint.point_at

    def fail(folder, role=checkpoint.LATEST):
        if (folder.name, role) == ("step_00000010", checkpoint.BEST):
            raise OSError("killed")
        point_at(folder, role)

    script({}, FALL_AND_RISE)
    with monkeypatch.context() as patch, pytest.raises(OSError, match="killed"):
        patch.setattr(checkpoint, "point_at", fail)
        make_trainer(make_model(), corpus).train(**arguments)
    assert checkpoint.folder_of(tmp_path / "c", "best").name == "step_00000005"
    script({}, {0: 4.0, 1: 5.0})
    summary = make_trainer(make_model(), corpus).train(resume_from=True, **arguments)
    assert summary["weights"] == ("best" if restore_best else "last")
    best = checkpoint.folder_of(tmp_path / "c", "best")
    assert best.name == "step_00000010" and checkpoint.damage(best) is None


@pytest.mark.parametrize("momentum", [None, 0.5])
def test_a_run_that_stopped_early_takes_no_more_steps_unless_it_is_extended(
    make_model, corpus, tmp_path, script, capsys, momentum
):
    def train(losses, **arguments):
        script({}, losses)
        trainer = hn.Trainer(make_model(), batch_size=8, early_stopping_patience=2, ema_momentum=momentum)
        trainer.add_curriculum_stage("only", corpus, epochs=6)
        summary = trainer.train(checkpoint_dir=tmp_path / "c", log_dir=None, restore_best=True, **arguments)
        return summary, weights_of(trainer)

    ended = train({0: 2.0, 1: 3.0, 2: 4.0})
    assert ended[0]["stages_completed"][0]["epochs"] == 3
    capsys.readouterr()
    assert train({}, resume_from=True) == ended
    printed = " ".join(capsys.readouterr().out.split())
    assert "ended early, at step 39 of 78; train(extend=True)" in printed
    assert train({0: 1.0}, resume_from=True, extend=True)[0]["stages_completed"][0]["epochs"] == 6


def test_a_resumed_keras_callback_that_lost_its_arrays_is_warned_about(make_model, corpus, tmp_path, script):
    def make():
        trainer = hn.Trainer(make_model(), batch_size=8).add_curriculum_stage("only", corpus, epochs=4)
        trainer.add_callback(keras.callbacks.EarlyStopping(patience=3, restore_best_weights=True))
        return trainer

    script({}, {0: 2.0, 1: 3.0})
    first = make()

    def fail(event):
        assert not (event["event"] == "epoch_end" and event["epoch"] == 2)

    with pytest.raises(AssertionError):
        first.train(checkpoint_dir=tmp_path / "c", callbacks=[fail], **QUIET)
    script({}, {0: 4.0, 1: 5.0})
    words = "EarlyStopping starts without its `best_weights`.*restore_best=True"
    with pytest.warns(UserWarning, match=words):
        make().train(checkpoint_dir=tmp_path / "c", resume_from=True, **QUIET)


@pytest.mark.parametrize(
    "key, value",
    [
        ("callbacks", {"rules": []}),
        ("callbacks", {"run": {"num_stages": {}}}),
        ("callbacks", {"last_steps": {"log": {}}}),
        ("schedulers", [1]),
        ("schedulers", {"stage_start": 1e999, "best_loss": 1.0, "current_stage": 0}),
    ],
)
def test_a_memory_that_does_not_fit_a_callback_or_scheduler_is_an_error_of_one_line(
    make_model, corpus, tmp_path, script, key, value
):
    def make():
        scheduler = hn.AdaptiveCurriculumScheduler(
            min_epochs_per_stage=1, max_epochs_per_stage=2, num_stages=2, verbose=False
        )
        trainer = hn.Trainer(make_model(), batch_size=8)
        return trainer.add_curriculum_stage("only", corpus, epochs=1, scheduler=scheduler)

    script()
    make().train(checkpoint_dir=tmp_path / "c", keep_checkpoints=1, **QUIET)
    (folder,) = checkpoint.step_folders(tmp_path / "c")
    state = json.loads((folder / "state.json").read_text())
    if key == "callbacks":
        (alerts,) = state["run"]["callbacks"]
        alerts["values"] |= value
    else:
        state["run"]["schedulers"] = [value]
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "manifest.json").unlink()
    write_manifest(folder)
    with pytest.raises(CheckpointError, match="cannot be read.*choose another checkpoint") as caught:
        make().train(checkpoint_dir=tmp_path / "c", resume_from=True, **QUIET)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("momentum", [None, 0.5])
def test_an_ended_run_that_is_started_again_keeps_the_weights_that_a_callback_set(
    make_model, corpus, tmp_path, script, momentum
):
    def train(**arguments):
        trainer = hn.Trainer(make_model(), batch_size=8, ema_momentum=momentum)
        trainer.add_curriculum_stage("only", corpus, epochs=6)
        trainer.add_callback(keras.callbacks.EarlyStopping(patience=2, restore_best_weights=True))
        summary = trainer.train(checkpoint_dir=tmp_path / "c", **arguments, **QUIET)
        final = checkpoint.find_checkpoint(tmp_path / "c" / "final")
        assert saved_weights(final) == weights_of(trainer)
        return summary, weights_of(trainer), load_arrays(final / "optimizer.safetensors")

    script({}, {0: 2.0, 1: 3.0, 2: 4.0})
    ended = train()
    assert ended[0]["weights"] == "callback" and ended[0]["total_steps"] == 39
    for _ in range(2):
        again = train(resume_from=True)
        assert again[:2] == ended[:2]
        assert {k: v.tobytes() for k, v in again[2].items()} == {k: v.tobytes() for k, v in ended[2].items()}
    assert train(resume_from=True, restore_best=True)[0]["weights"] == "best"


def test_a_stage_whose_steps_were_all_skipped_is_warned_about(make_model, corpus, script):
    script(dict.fromkeys(range(5, 9), "skip"))
    trainer = make_trainer(make_model(), corpus, steps=4, max_skipped_steps=99)
    trainer.add_curriculum_stage("later", corpus, steps=4)
    with pytest.warns(UserWarning, match="stage `later` ends without a loss: every step of its last epoch"):
        trainer.train(save_checkpoints=False, **QUIET)


def test_a_best_checkpoint_that_is_gone_is_refused_before_the_first_step(
    make_model, corpus, tmp_path, script
):
    script({}, FALL_AND_RISE)
    make_trainer(make_model(), corpus).train(checkpoint_dir=tmp_path / "c", eval_interval=5, **QUIET)
    checkpoint.find_checkpoint(tmp_path / "c" / "best").rename(tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match="checkpoint of the best step, 10, which cannot be used"):
        make_trainer(make_model(), corpus).train(
            checkpoint_dir=tmp_path / "c", resume_from=True, restore_best=True, **QUIET
        )
    with pytest.raises(ConfigError, match="no stage holds a document out"):
        make_trainer(make_model(), corpus, validation_split=0.0).train(restore_best=True, **QUIET)


def test_the_best_is_not_looked_for_among_losses_on_other_data(
    make_model, corpus, other_corpus, tmp_path, script
):
    script({}, {0: 1.0, 1: 3.0, 2: 2.0, 3: 4.0})
    trainer = make_trainer(make_model(), corpus, steps=4)
    trainer.add_curriculum_stage("harder", other_corpus, steps=12)
    summary = trainer.train(checkpoint_dir=tmp_path / "c", eval_interval=4, **QUIET)
    assert (summary["best_step"], summary["best_val_loss"]) == (12, 2.0)


def test_a_loss_that_is_not_finite_is_never_the_lowest():
    assert is_lower(2.0, None) and is_lower(2.0, NAN) and is_lower(1.0, 2.0)
    assert not any(is_lower(loss, than) for loss in (NAN, math.inf, -math.inf) for than in (None, 2.0, NAN))
    progress = Progress()
    for step, loss in enumerate([NAN, 3.0, NAN, 4.0, -math.inf]):
        progress.step = step
        progress.record_val_loss(loss, 0.0)
        progress.record_lowest(loss, "same")
    assert (progress.best_val_loss, progress.epochs_without_improvement) == (3.0, 3)
    assert (progress.lowest_val_loss, progress.lowest_val_step) == (3.0, 1)


def test_a_first_evaluation_of_nan_spoils_neither_best_nor_early_stopping(
    make_model, corpus, tmp_path, script
):
    script({}, {0: NAN, 1: 3.0, 2: 2.0, 3: 2.5, 4: 2.6})
    trainer = hn.Trainer(make_model(), batch_size=8, early_stopping_patience=2)
    trainer.add_curriculum_stage("only", corpus, epochs=8)
    stopper = keras.callbacks.EarlyStopping(patience=99)
    trainer.add_callback(stopper)
    summary = trainer.train(checkpoint_dir=tmp_path / "c", **QUIET)
    assert summary["best_val_loss"] == stopper.best == 2.0
    assert summary["stages_completed"][0]["epochs"] == 5


def test_a_run_that_never_measures_a_finite_loss_stops_early_with_words(make_model, corpus, script, capsys):
    script({}, dict.fromkeys(range(9), NAN))
    trainer = hn.Trainer(make_model(), batch_size=8, early_stopping_patience=2)
    trainer.add_curriculum_stage("only", corpus, epochs=8)
    summary = trainer.train(save_checkpoints=False, log_dir=None)
    assert summary["best_step"] is None and summary["stages_completed"][0]["epochs"] == 2
    printed = " ".join(capsys.readouterr().out.split())
    assert "was never finite" in printed and "no finite held-out loss was measured" in printed


def test_a_run_of_skipped_steps_alone_is_an_error_and_saves_nothing(make_model, corpus, tmp_path, script):
    script(dict.fromkeys(range(1, 7), "skip"))
    refused = pytest.raises(FloatingPointError, match="changed nothing: all 6 steps were skipped")
    with pytest.warns(UserWarning, match="without a loss"), refused:
        make_trainer(make_model(), corpus, steps=6).train(
            checkpoint_dir=tmp_path / "c", checkpoint_interval=2, **QUIET
        )
    assert checkpoint.folder_of(tmp_path / "c", "final") is None


def test_weights_that_are_not_finite_get_no_role_and_the_sound_checkpoint_is_named(
    make_model, corpus, tmp_path, script
):
    script({8: "inf"}, {0: 3.0, 1: 2.0})
    trainer = make_trainer(make_model(), corpus, steps=9)
    with pytest.raises(FloatingPointError, match="weights are not finite.*checkpoint is .*step_00000004"):
        trainer.train(checkpoint_dir=tmp_path / "c", checkpoint_interval=4, eval_interval=4, **QUIET)
    assert [folder.name for folder in checkpoint.step_folders(tmp_path / "c")] == ["step_00000004"]
    assert checkpoint.folder_of(tmp_path / "c", "final") is None
    assert checkpoint.folder_of(tmp_path / "c", "best").name == "step_00000004"
    script({6: "inf"})
    with pytest.raises(FloatingPointError, match="after the last step, 6, the weights are not finite"):
        make_trainer(make_model(), corpus, steps=6).train(save_checkpoints=False, **QUIET)


def test_a_checkpoint_before_this_version_is_still_read(make_model, corpus, tmp_path, script):
    script()
    make_trainer(make_model(), corpus).train(
        checkpoint_dir=tmp_path / "c", checkpoint_interval=7, keep_checkpoints=99, **QUIET
    )
    folder = tmp_path / "c" / "step_00000007"
    state = json.loads((folder / "state.json").read_text())
    for name in (
        "lowest_val_step",
        "lowest_val_data",
        "evaluated_step",
        "evaluated_loss",
        "logged",
        "mix_rows",
        "is_last_skipped",
        "micro_batch_size",
    ):
        del state["run"]["progress"][name]
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "manifest.json").unlink()
    write_manifest(folder)
    again = make_trainer(make_model(1), corpus)
    summary = again.train(resume_from=folder, checkpoint_dir=tmp_path / "d", restore_best=True, **QUIET)
    assert summary["total_steps"] == 20
    assert (summary["best_step"], summary["weights"]) == (20, "best")


@pytest.mark.slow
def test_a_run_in_a_used_folder_says_where_the_older_checkpoints_and_the_older_model_are(
    corpus, tmp_path, capsys
):
    recipe = hn.Recipe(
        preset="highnoon-nano",
        model={"vocab_size": 263, "embedding_dim": 16, "num_reasoning_blocks": 1, "max_seq_length": 16},
        stages=[{"name": "a", "datasets": corpus, "steps": 1}],
        output=str(tmp_path / "run"),
    )
    recipe.train()
    printed = " ".join(capsys.readouterr().out.split())
    assert "another run" not in printed and "earlier run" not in printed
    recipe.train()
    printed = " ".join(capsys.readouterr().out.split())
    (moved,) = (tmp_path / "run" / "checkpoints").glob("run_*")
    assert f"had checkpoints of another run; they are in {moved} now" in printed
    assert f"on the command line --resume {moved}" in printed
    assert f"{tmp_path / 'run' / 'model'} is of an earlier run; this run replaces it" in printed
    assert "Give --resume to continue that run" in printed
