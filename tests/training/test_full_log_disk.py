"""A disk that is full under the logs ends a run in order: it is saved, and the error names the path."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess

import pytest

import highnoon as hn
from highnoon.callbacks.metrics_file import read_metrics
from highnoon.training.checkpoints import checkpoint
from highnoon.training.runs import skipped_steps
from highnoon.training.runs.skipped_steps import SkippedSteps, TakenStep

RUN = {"verbose": False, "log_interval": 1, "eval_interval": 100, "checkpoint_interval": 100}


def make_trainer(model, corpus, steps: int) -> hn.Trainer:
    trainer = hn.Trainer(model, batch_size=1, jit_compile=False)
    trainer.add_curriculum_stage("only", corpus, steps=steps)
    return trainer


@pytest.fixture
def small_disk(tmp_path):
    """Gives a function that mounts a small file system at `logs`, or resizes it."""
    folder = tmp_path / "logs"
    folder.mkdir()

    def mount(size: int, *options: str) -> None:
        command = ["mount", "-t", "tmpfs", "-o", ",".join([f"size={size}", *options]), "tmpfs", str(folder)]
        if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("only root may mount a small file system")

    yield mount
    if os.path.ismount(folder):
        # Lazily: TensorBoard's reader keeps its file open.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.slow
def test_a_full_disk_under_the_logs_loses_neither_the_run_nor_a_log_point(
    make_model, corpus, tmp_path, small_disk
):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    small_disk(65_536)
    trainer = make_trainer(make_model(), corpus, steps=60)
    with (
        pytest.raises(OSError, match="No space left on device") as raised,
        pytest.warns(UserWarning, match="a callback failed"),
    ):
        trainer.train(checkpoint_dir=tmp_path / "c", log_dir=tmp_path / "logs", **RUN)
    assert str(tmp_path / "logs") in raised.value.filename
    assert "the run is saved in" in raised.value.__notes__[0]
    folder = checkpoint.find_checkpoint(tmp_path / "c" / "interrupted")
    assert folder.name == f"step_{trainer.progress.step:08d}"
    small_disk(8 * 2**20, "remount")
    make_trainer(make_model(), corpus, steps=60).train(
        checkpoint_dir=tmp_path / "c", log_dir=tmp_path / "logs", resume_from=True, **RUN
    )
    (metrics,) = (tmp_path / "logs").rglob("metrics.jsonl")
    steps = list(range(1, 61))
    assert [line["step"] for line in read_metrics(metrics) if line["event"] == "log"] == steps
    events = EventAccumulator(str(metrics.parent), size_guidance={"tensors": 0}).Reload()
    assert [event.step for event in events.Tensors("train/loss")] == steps


def test_a_batch_that_cannot_be_kept_leaves_nothing_half_written_and_names_the_path(tmp_path, monkeypatch):
    def refuse(stream, **_):
        stream.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(skipped_steps.np, "savez_compressed", refuse)
    metrics = {"is_skipped": True, "skipped_in_a_row": 1, "loss": 2.0, "grad_norm": 3.0}
    steps = SkippedSteps(tmp_path / "skipped")
    steps.add([TakenStep(7, metrics, {"stage": 0}, lambda: ({}, []))])
    (skipped,) = steps.examine(includes_last=True)
    assert (skipped.step, skipped.path) == (7, None)
    (error,) = steps.take_errors()
    assert error.filename == str(tmp_path / "skipped" / "step_00000007.npz")
    assert steps.take_errors() == [] and list((tmp_path / "skipped").iterdir()) == []


@pytest.mark.slow
def test_a_full_disk_under_the_skipped_batches_does_not_lose_the_run(
    make_model, corpus, tmp_path, monkeypatch
):
    def refuse(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    trainer = make_trainer(make_model(), corpus, steps=6)
    monkeypatch.setattr(skipped_steps.np, "savez_compressed", refuse)
    read = SkippedSteps.add
    monkeypatch.setattr(
        SkippedSteps,
        "add",
        lambda self, taken: read(
            self,
            [
                TakenStep(
                    step.step, {**step.metrics, "is_skipped": step.step == 3}, step.position, step.batch
                )
                for step in taken
            ],
        ),
    )
    with pytest.raises(OSError, match="skipped_steps"):
        trainer.train(checkpoint_dir=tmp_path / "c", log_dir=tmp_path / "logs", **RUN)
    assert checkpoint.find_checkpoint(tmp_path / "c").name == "step_00000003"
