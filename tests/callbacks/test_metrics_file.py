"""The metrics file: one line a log point, readable while it is written and after a crash."""

from __future__ import annotations

import errno
import json
import os
import types

import pytest

from highnoon.callbacks import MetricsFile
from highnoon.callbacks.metrics_file import read_metrics
from highnoon.files import appended_file


def log(step: int, loss: float) -> dict:
    return {"event": "log", "stage": "a", "step": step, "metrics": {"train/loss": loss}}


def test_lines_come_back_with_their_metrics(tmp_path):
    writer = MetricsFile(tmp_path / "deep" / "metrics.jsonl")
    writer.on_event(log(1, 2.5))
    writer.on_event({"event": "step_end", "step": 1})
    (line,) = read_metrics(writer.path)
    assert (line["step"], line["stage"], line["train/loss"]) == (1, "a", 2.5)


def test_a_torn_line_is_left_out_and_spoils_no_other(tmp_path):
    writer = MetricsFile(tmp_path / "metrics.jsonl")
    writer.on_event(log(1, 2.5))
    with writer.path.open("a") as stream:
        stream.write('{"event": "log", "step": 2, "train')
    assert [line["step"] for line in read_metrics(writer.path)] == [1]
    writer.on_event(log(3, 2.0))
    assert [line["step"] for line in read_metrics(writer.path)] == [1, 3]


def test_steps_that_a_resumed_run_took_again_count_once(tmp_path):
    path = tmp_path / "metrics.jsonl"
    for step in (1, 2, 3):
        MetricsFile(path).on_event(log(step, 9.0))
    for step in (2, 3, 4):
        MetricsFile(path).on_event(log(step, 1.0))
    assert [(line["step"], line["train/loss"]) for line in read_metrics(path)] == [
        (1, 9.0),
        (2, 1.0),
        (3, 1.0),
        (4, 1.0),
    ]


def begin(step: int) -> dict:
    return {"event": "train_begin", "step": step, "total_steps": 9, "num_parameters": 5}


def test_steps_that_were_lost_are_gone_though_the_resumed_run_never_takes_them_again(tmp_path):
    path = tmp_path / "metrics.jsonl"
    for event in (begin(0), log(1, 9.0), log(2, 9.0), log(3, 9.0)):
        MetricsFile(path).on_event(event)
    for event in (begin(2), log(4, 1.0)):
        MetricsFile(path).on_event(event)
    assert [(line["step"], line["train/loss"]) for line in read_metrics(path)] == [
        (1, 9.0),
        (2, 9.0),
        (4, 1.0),
    ]


def test_beginnings_and_ends_are_written_with_what_a_reader_needs(tmp_path):
    writer = MetricsFile(tmp_path / "metrics.jsonl")
    writer.set_model(types.SimpleNamespace(vocab_size=77))
    for event in (begin(0), begin(5), {"event": "train_end", "step": 9, "summary": {"total_steps": 9}}):
        writer.on_event(event)
    first, second, last = map(json.loads, writer.path.read_text().splitlines())
    assert (first["event"], second["event"], last["event"]) == ("train_begin", "resume", "train_end")
    assert (second["step"], second["total_steps"], second["vocab_size"]) == (5, 9, 77)
    assert read_metrics(writer.path) == []


def test_the_file_only_ever_grows(tmp_path):
    writer, before = MetricsFile(tmp_path / "metrics.jsonl"), b""
    for event in (begin(0), log(1, 1.0), log(2, 1.0), begin(1), log(2, 2.0)):
        writer.on_event(event)
        now = writer.path.read_bytes()
        assert now.startswith(before) and len(now) > len(before)
        before = now


def test_lines_that_a_full_disk_refused_are_written_by_the_resumed_run(tmp_path, monkeypatch):
    path = tmp_path / "metrics.jsonl"
    first, real = MetricsFile(path), os.write
    first.on_event(begin(0))
    first.on_event(log(1, 9.0))
    before, calls = path.read_bytes(), []

    def refuse(descriptor, data):
        calls.append(data)
        if len(calls) % 2:
            return real(descriptor, data[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(appended_file.os, "write", refuse)
        for event in (log(2, 8.0), log(3, 7.0)):
            with pytest.raises(OSError, match=r"No space left on device \([\d,]+ bytes are free\)") as raised:
                first.on_event(event)
            assert raised.value.filename == str(path)
        assert path.read_bytes() == before
        state = json.dumps(first.state_dict())
    resumed = MetricsFile(path)
    resumed.load_state_dict(json.loads(state))
    for event in (begin(3), log(4, 6.0)):
        resumed.on_event(event)
    assert [line["step"] for line in read_metrics(path)] == [1, 2, 3, 4]


def test_lines_are_on_the_disk_before_a_checkpoint_is_captured(tmp_path, monkeypatch):
    writer, synced = MetricsFile(tmp_path / "metrics.jsonl"), []
    writer.on_event(log(1, 9.0))
    monkeypatch.setattr(
        appended_file.os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_size)
    )
    writer.flush()
    assert synced == [writer.path.stat().st_size]
