"""The event files: each step once and no hole, wherever a run was killed and however often."""

from __future__ import annotations

import errno
import json
import os
import shutil
import struct

import keras
import pytest
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

from highnoon.callbacks import CallbackGroup, TensorBoardLog
from highnoon.callbacks.event_records import read_records
from highnoon.files import appended_file

NUM_STEPS, CHECKPOINT_EVERY, EPOCH = 12, 4, 6


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """A clock that stands still: files of one second must be told apart too."""
    monkeypatch.setattr("highnoon.callbacks.event_files.time.time", lambda: 1_700_000_000.0)


class Run:
    """As much of a run as its callbacks see: log points, evaluations also after a checkpoint, checkpoints."""

    def __init__(self, folder, saved: str | None = None, **options) -> None:
        self.saved = saved
        self.group = CallbackGroup([TensorBoardLog(folder, **options)])
        self.group.set_model(keras.Model(), {})
        self.begin, states = (0, []) if saved is None else json.loads(saved)
        self.group.load_state(states)
        fields = {"run_id": "3fa2c1d8", "total_steps": NUM_STEPS, "num_parameters": 1}
        self.group.event("train_begin", step=self.begin, **fields)

    def instants(self):
        """Yields after each thing that the run does; a kill is to take no more."""
        for step in range(self.begin, NUM_STEPS + 1):
            if step > self.begin:
                self.group.event(
                    "log", stage="a", step=step, metrics={"train/loss": 1 / step, "train/n": step}
                )
                yield
                if step % CHECKPOINT_EVERY == 0:
                    self.group.flush()
                    self.saved = json.dumps([step, self.group.state()])
                    yield
            if step % EPOCH == 0 and step:
                self.group.event("evaluation", stage="a", step=step, metrics={"val/loss": 2 / step})
                yield

    def take(self, count: int | None = None) -> str | None:
        for number, _ in enumerate(self.instants(), start=1):
            if number == count:
                break
        return self.saved


def raw(folder) -> list[tuple[str, int]]:
    """Returns what a reader of all files sees that knows nothing of restarts."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    events = [event for path in sorted(folder.glob("events*")) for event in EventFileLoader(str(path)).Load()]
    return [(value.tag, event.step) for event in events for value in event.summary.value]


def by_tensorboard(folder) -> dict[str, list[int]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"tensors": 0}).Reload()
    return {tag: [event.step for event in events.Tensors(tag)] for tag in events.Tags()["tensors"]}


@pytest.fixture
def whole(tmp_path):
    Run(tmp_path / "whole").take()
    return tmp_path / "whole"


def test_a_kill_at_any_instant_leaves_each_step_once_and_no_hole(tmp_path, whole):
    expected, curves = raw(whole), by_tensorboard(whole)
    assert len(expected) == len(set(expected)) == 2 * NUM_STEPS + NUM_STEPS // EPOCH
    num_instants = sum(1 for _ in Run(tmp_path / "counted").instants())
    for instant in range(1, num_instants + 1):
        folder = tmp_path / f"killed_{instant}"
        saved = Run(folder).take(instant)
        Run(folder, saved).take()
        assert (raw(folder), by_tensorboard(folder)) == (expected, curves), instant


def test_several_kills_leave_each_step_once_and_no_hole(tmp_path, whole):
    folder, saved = tmp_path / "killed", Run(tmp_path / "killed").take(7)
    for count in (1, 2, 3, 4, 5, 6, 2, 2):
        saved = Run(folder, saved).take(count)
    Run(folder, saved).take()
    assert (raw(folder), by_tensorboard(folder)) == (raw(whole), by_tensorboard(whole))


@pytest.mark.parametrize(
    "end",
    [b"\x00" * 40, b"\x18", b"\x10\x00\x00\x00\x00\x00\x00\x00", bytes(range(99))],
    ids=["zeros", "a byte", "a length", "noise"],
)
def test_what_is_half_written_after_a_checkpoint_is_cut(tmp_path, whole, end):
    folder, saved = tmp_path / "killed", Run(tmp_path / "killed").take(6)
    (path,) = folder.glob("events*")
    with path.open("ab") as stream:
        stream.write(end)
    Run(folder, saved).take()
    assert (raw(folder), by_tensorboard(folder)) == (raw(whole), by_tensorboard(whole))


def test_a_resume_from_an_earlier_checkpoint_writes_its_steps_once(tmp_path, whole):
    folder, saved = tmp_path / "killed", Run(tmp_path / "killed").take(6)
    Run(folder, saved).take()
    Run(folder, saved).take()
    assert raw(folder) == raw(whole)


def test_events_that_a_full_disk_refused_are_written_by_the_resumed_run(tmp_path, whole, monkeypatch):
    folder, run = tmp_path / "full", Run(tmp_path / "full")
    run.take(2)
    written, real = 0, os.write

    def refuse(descriptor, data):
        nonlocal written
        written += 1
        if written % 2:
            return real(descriptor, data[:20])  # as a disk with 20 bytes left
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(appended_file.os, "write", refuse)
        with pytest.raises(Exception) as raised:
            run.group.event("log", stage="a", step=3, metrics={"train/loss": 1 / 3, "train/n": 3})
        cause = raised.value.__cause__
        assert isinstance(cause, OSError) and str(folder) in cause.filename and "bytes are free" in str(cause)
        run.group.on_error = "warn"
        with pytest.warns(UserWarning, match="No space left"):
            run.group.flush()
        saved = json.dumps([3, run.group.state()])
    Run(folder, saved).take()
    assert raw(folder) == raw(whole)


def test_a_run_that_goes_back_by_itself_writes_the_steps_after_it_once(tmp_path, whole):
    run = Run(tmp_path / "back")
    run.take(6)
    run.group.event("fault_answered", answer="go_back", reason="", step=4, learning_rate_factor=1.0)
    run.begin = 4
    run.take()
    assert raw(tmp_path / "back") == raw(whole)
    assert by_tensorboard(tmp_path / "back") == by_tensorboard(whole)


def test_files_of_others_stay_and_those_of_an_earlier_run_get_a_folder_of_their_own(tmp_path):
    folder = tmp_path / "shared"
    Run(folder).take()
    earlier = raw(folder)
    (folder / "events.out.tfevents.1.host").write_bytes(b"of another program")
    saved = Run(folder).take(6)
    Run(folder, saved).take()
    (moved,) = folder.glob("run_*")
    assert raw(moved) == earlier
    assert (folder / "events.out.tfevents.1.host").read_bytes() == b"of another program"
    (folder / "events.out.tfevents.1.host").unlink()
    assert raw(folder) == earlier


def test_events_that_are_gone_though_a_checkpoint_counts_on_them_are_told(tmp_path):
    folder, saved = tmp_path / "killed", Run(tmp_path / "killed").take(6)
    (path,) = folder.glob("events*")
    os.truncate(path, path.stat().st_size - 500)
    with pytest.warns(UserWarning, match="bytes of TensorBoard events .* are missing"):
        Run(folder, saved).take()
    steps = [step for tag, step in raw(folder) if tag == "train/n"]
    assert steps == sorted(set(steps))
    shutil.rmtree(folder)
    with pytest.warns(UserWarning, match="missing"):
        Run(folder, saved).take()


def test_events_are_on_the_disk_before_the_checkpoint_is_captured(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(
        appended_file.os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_size)
    )
    run = Run(tmp_path / "run")
    run.take(5)
    (path,) = (tmp_path / "run").glob("events*")
    assert path.stat().st_size in synced


def test_a_checkpoint_of_an_earlier_version_is_resumed(tmp_path):
    saved = json.dumps([4, [{"class": "TensorBoardLog", "values": {}}]])
    Run(tmp_path / "old", saved).take()
    steps = [step for tag, step in raw(tmp_path / "old") if tag == "train/n"]
    assert steps == list(range(5, NUM_STEPS + 1))


def test_a_url_is_refused_at_once():
    with pytest.raises(ValueError, match="must be a local folder"):
        TensorBoardLog("gs://bucket/logs")


@pytest.mark.parametrize(
    "change",
    [
        {"run": "../../x"},
        {"run": 3},
        {"sizes": []},
        {"sizes": {"a": None}},
        {"sizes": {"a": -1}},
        {"waiting": None},
        {"waiting": [1]},
        {"waiting": ["A"]},
        {"waiting": [""]},
    ],
)
def test_a_state_of_another_form_is_refused_before_a_file_is_touched(tmp_path, whole, change):
    run = Run(tmp_path / "logs")
    run.take()
    values = json.loads(run.saved)[1][0]["values"]
    TensorBoardLog(tmp_path / "logs").load_state_dict(values)
    before = raw(tmp_path / "logs")
    with pytest.raises(ValueError, match="not a state of event files"):
        TensorBoardLog(tmp_path / "logs").load_state_dict(values | change)
    assert raw(tmp_path / "logs") == before


def test_a_record_that_claims_more_bytes_than_the_file_has_is_not_read(tmp_path):
    length = struct.pack("<Q", 2**62)
    record = length + struct.pack("<I", masked_crc32c(length))
    (tmp_path / "events").write_bytes(record + b"some")
    assert list(read_records(tmp_path / "events")) == []


def test_hyperparameters_and_texts_are_there_once_however_often_a_run_is_killed(tmp_path):
    options = {"hparams": {"rate": 0.1, "name": "a", "on": True, "none": None, "list": [1, 2]}}
    options["texts"] = {"plan": "| a |"}
    folder, saved = tmp_path / "killed", Run(tmp_path / "killed", **options).take(7)
    for count in (3, 5):
        saved = Run(folder, saved, **options).take(count)
    last = Run(folder, saved, **options)
    last.take()
    summary = {"best_val_loss": 1.5, "best_bits_per_byte": None}
    last.group.event("train_end", step=NUM_STEPS, summary=summary)
    tags = [tag for tag, _ in raw(folder)]
    for tag in ("_hparams_/session_start_info", "plan", "best/val_loss", "_hparams_/session_end_info"):
        assert tags.count(tag) == 1, tag
    assert "best/bits_per_byte" not in tags


def test_a_run_of_an_earlier_version_gets_its_hyperparameters_when_it_is_resumed(tmp_path):
    folder = tmp_path / "old"
    saved = json.loads(Run(folder).take(6))
    del saved[1][0]["values"]["has_hparams"]
    Run(folder, json.dumps(saved), hparams={"rate": 0.1}).take()
    assert ("_hparams_/session_start_info", 4) in raw(folder)
