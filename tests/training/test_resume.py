"""A run that is stopped anywhere and continued ends with the bits of one that never stopped."""

from __future__ import annotations

import os
import pathlib
import shutil
import signal
import subprocess

import numpy as np
import pytest

import highnoon as hn
from highnoon.models.arrays import load_arrays
from highnoon.training import CheckpointError, CurriculumScheduler
from highnoon.training.checkpoints import checkpoint, snapshot

QUIET = {"log_dir": None, "verbose": False}


def make_trainer(model, corpus, other_corpus, **options) -> hn.Trainer:
    trainer = hn.Trainer(
        model, learning_rate=3e-3, batch_size=2, gradient_accumulation_steps=2, jit_compile=False, **options
    )
    scheduler = CurriculumScheduler(
        num_stages=2, warmup_epochs=1, stage_increment_epochs=1, initial_fraction=0.5, verbose=False
    )
    trainer.add_curriculum_stage("easy", corpus, epochs=2, scheduler=scheduler)
    trainer.add_curriculum_stage("more", [other_corpus, corpus], steps=6, learning_rate=1e-3)
    return trainer


def final_arrays(directory: pathlib.Path) -> dict[str, np.ndarray]:
    folder = checkpoint.find_checkpoint(directory)
    return load_arrays(folder / "model.safetensors") | load_arrays(folder / snapshot.OPTIMIZER_FILE)


def assert_same_bits(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert one.keys() == other.keys()
    different = [name for name in one if one[name].tobytes() != other[name].tobytes()]
    assert not different


@pytest.mark.slow
def test_nine_kill_points_over_two_stages_end_with_the_same_bits(make_model, corpus, other_corpus, tmp_path):
    whole = tmp_path / "whole"
    trainer = make_trainer(make_model(dropout=0.1), corpus, other_corpus)
    summary = trainer.train(
        checkpoint_dir=whole, checkpoint_interval=1, keep_checkpoints=99, eval_interval=4, **QUIET
    )
    expected, steps = final_arrays(whole), checkpoint.step_folders(whole)
    assert len(steps) == summary["total_steps"] >= 14
    for index, folder in enumerate(steps[:: len(steps) // 9][:9]):
        resumed = make_trainer(make_model(seed=index + 1, dropout=0.1), corpus, other_corpus)
        again = resumed.train(
            resume_from=folder, checkpoint_dir=tmp_path / f"again-{index}", eval_interval=4, **QUIET
        )
        assert again == summary
        assert_same_bits(final_arrays(tmp_path / f"again-{index}"), expected)


@pytest.mark.slow
def test_early_stopping_remembers_across_a_resume(make_model, corpus, tmp_path):
    def trainer_on(model):
        options = {"early_stopping_patience": 3, "early_stopping_min_delta": 50.0}
        trainer = hn.Trainer(model, batch_size=32, jit_compile=False, **options)
        return trainer.add_curriculum_stage("stuck", corpus, epochs=9)

    first = trainer_on(make_model()).train(
        checkpoint_dir=tmp_path / "a", checkpoint_interval=1, keep_checkpoints=99, **QUIET
    )
    middle = checkpoint.step_folders(tmp_path / "a")[2]
    second = trainer_on(make_model(1)).train(resume_from=middle, checkpoint_dir=tmp_path / "b", **QUIET)
    assert first == second and first["stages_completed"][0]["epochs"] == 4


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM])  # Ctrl-C: tests/cli/test_verbs.py
def test_a_signal_saves_and_says_how_to_resume(make_model, corpus, other_corpus, tmp_path, number):
    def interrupt(event):
        if event["event"] == "step_end" and event["step"] == 5:
            os.kill(os.getpid(), number)

    trainer = make_trainer(make_model(), corpus, other_corpus)
    trainer.add_callback(interrupt)
    with pytest.raises((KeyboardInterrupt, SystemExit), match="stopped after step 5.*resume_from"):
        trainer.train(checkpoint_dir=tmp_path / "stopped", **QUIET)
    assert checkpoint.find_checkpoint(tmp_path / "stopped" / "latest").name == "step_00000005"
    resumed = make_trainer(make_model(1), corpus, other_corpus)
    resumed.train(resume_from=tmp_path / "stopped" / "latest", checkpoint_dir=tmp_path / "stopped", **QUIET)
    make_trainer(make_model(), corpus, other_corpus).train(checkpoint_dir=tmp_path / "whole", **QUIET)
    assert_same_bits(final_arrays(tmp_path / "stopped"), final_arrays(tmp_path / "whole"))


@pytest.mark.slow
def test_a_callback_that_raises_ends_the_run_saved(make_model, corpus, other_corpus, tmp_path):
    def fail(event):
        if event["event"] == "epoch_end":
            raise RuntimeError("my own mistake")

    trainer = make_trainer(make_model(), corpus, other_corpus)
    trainer.add_callback(fail)
    with pytest.raises(RuntimeError, match="my own mistake") as caught:
        trainer.train(checkpoint_dir=tmp_path / "failed", **QUIET)
    assert any("resume_from" in note for note in caught.value.__notes__)
    resumed = make_trainer(make_model(1), corpus, other_corpus)
    resumed.train(resume_from=tmp_path / "failed", checkpoint_dir=tmp_path / "failed", **QUIET)
    make_trainer(make_model(), corpus, other_corpus).train(checkpoint_dir=tmp_path / "whole", **QUIET)
    assert_same_bits(final_arrays(tmp_path / "failed"), final_arrays(tmp_path / "whole"))


@pytest.mark.slow
def test_a_failing_callback_can_be_skipped(make_model, corpus):
    def fail(event):
        raise RuntimeError("my own mistake")

    trainer = hn.Trainer(make_model(), jit_compile=False, on_callback_error="warn")
    trainer.add_curriculum_stage("a", corpus, steps=1)
    trainer.add_callback(fail)
    with pytest.warns(UserWarning, match="my own mistake"):
        assert trainer.train(save_checkpoints=False, **QUIET)["total_steps"] == 1


@pytest.mark.slow
def test_save_and_load_resume_where_the_run_was(make_model, corpus, other_corpus, tmp_path):
    trainer = make_trainer(make_model(), corpus, other_corpus)
    summary = trainer.train(save_checkpoints=False, **QUIET)
    trainer.save(tmp_path / "final")
    model = make_model(seed=5)
    loaded = hn.Trainer.load(tmp_path / "final", model)
    for one, other in zip(model.weights, trainer.model.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
    assert [stage.name for stage in loaded.stages] == ["easy", "more"]
    assert loaded.train(save_checkpoints=False, **QUIET) == summary
    assert hn.load_model(tmp_path / "final").config == model.config


@pytest.mark.slow
def test_a_trainer_without_stages_takes_those_of_the_checkpoint(make_model, corpus, other_corpus, tmp_path):
    trainer = make_trainer(make_model(), corpus, other_corpus)
    trainer.train(checkpoint_dir=tmp_path / "a", checkpoint_interval=4, keep_checkpoints=99, **QUIET)
    bare = hn.Trainer(
        make_model(1), learning_rate=3e-3, batch_size=2, gradient_accumulation_steps=2, jit_compile=False
    )
    bare.train(resume_from=tmp_path / "a" / "step_00000004", checkpoint_dir=tmp_path / "b", **QUIET)
    assert_same_bits(final_arrays(tmp_path / "b"), final_arrays(tmp_path / "a"))


@pytest.mark.slow
def test_another_model_or_plan_is_refused_and_changes_nothing(make_model, corpus, other_corpus, tmp_path):
    make_trainer(make_model(), corpus, other_corpus).train(checkpoint_dir=tmp_path / "a", **QUIET)
    wider = make_model(expert_dim=48)
    before = [weight.numpy() for weight in wider.weights]
    with pytest.raises(CheckpointError, match="holds another model"):
        make_trainer(wider, corpus, other_corpus).train(resume_from=tmp_path / "a", **QUIET)
    for weight, value in zip(wider.weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), value)
    changed = hn.Trainer(make_model(), batch_size=2).add_curriculum_stage("easy", corpus, epochs=3)
    with pytest.raises(CheckpointError, match="another plan.*2 in the checkpoint.*--allow-plan-change$"):
        changed.train(resume_from=tmp_path / "a", **QUIET)
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        changed.train(resume_from=tmp_path / "nowhere", **QUIET)


@pytest.fixture
def small_disk(tmp_path):
    """Gives a function that mounts a file system of so many bytes, or resizes it."""
    folder = tmp_path / "small"
    folder.mkdir()

    def resize(num_bytes: int, *how: str) -> pathlib.Path:
        options = ",".join([*how, f"size={num_bytes}"])
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("only root may mount a small file system")
        return folder

    yield resize
    if os.path.ismount(folder):
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.slow
def test_a_disk_that_is_full_keeps_what_it_has_and_the_run_resumes_with_more_room(
    make_model, corpus, other_corpus, tmp_path, small_disk
):
    whole = make_trainer(make_model(dropout=0.1), corpus, other_corpus)
    whole.train(checkpoint_dir=tmp_path / "whole", checkpoint_interval=4, keep_checkpoints=1, **QUIET)
    final = checkpoint.find_checkpoint(tmp_path / "whole" / "final")
    size = sum(path.stat().st_size for path in final.iterdir())
    disk = small_disk(int(1.6 * size))
    with pytest.raises(CheckpointError, match="No space left on device"):
        make_trainer(make_model(dropout=0.1), corpus, other_corpus).train(
            checkpoint_dir=disk, checkpoint_interval=4, **QUIET
        )
    kept = checkpoint.find_checkpoint(disk / "latest")
    assert [folder.name for folder in checkpoint.step_folders(disk)] == [kept.name]
    small_disk(8 * size, "remount")
    make_trainer(make_model(1, dropout=0.1), corpus, other_corpus).train(
        resume_from=disk / "latest", checkpoint_dir=disk, checkpoint_interval=4, **QUIET
    )
    assert_same_bits(final_arrays(disk), final_arrays(tmp_path / "whole"))


def test_a_full_disk_loses_no_earlier_checkpoint(make_model, corpus, tmp_path, monkeypatch):
    save_arrays = snapshot.save_arrays

    def full_after_the_first(path, arrays):
        # By name, not by time: a thread writes the checkpoint of step 2 while further steps are taken.
        if "step_00000002" not in str(path):
            raise OSError(28, "No space left on device", str(path))
        save_arrays(path, arrays)

    monkeypatch.setattr(snapshot, "save_arrays", full_after_the_first)
    trainer = hn.Trainer(make_model(), jit_compile=False).add_curriculum_stage("a", corpus, steps=6)
    with pytest.raises(CheckpointError, match="No space left on device"):
        trainer.train(checkpoint_dir=tmp_path / "a", checkpoint_interval=2, **QUIET)
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["latest", "step_00000002"]
    assert checkpoint.find_checkpoint(tmp_path / "a" / "latest").name == "step_00000002"
