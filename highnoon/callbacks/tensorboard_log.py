"""Writes a run for TensorBoard: scalars, hyperparameters, texts and histograms."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from typing import Any

from highnoon.callbacks.event_callback import EventCallback
from highnoon.callbacks.event_files import EventFiles, is_state
from highnoon.callbacks.event_summaries import (
    histogram_summary,
    sample_text,
    scalar_summary,
    session_end_summary,
    session_start_summary,
    text_summary,
)
from highnoon.files.shown import shown


class TensorBoardLog(EventCallback):
    """Writes the metrics of log points and evaluations as TensorBoard scalars over optimizer steps.

    Besides scalars it writes what TensorBoard's other tabs show: the run's hyperparameters with its final
    metrics (HParams), texts such as the plan and the samples of `SampleText` (Text), and histograms of
    weights and gradients, if the run sends them (`train(histograms=True)`).

    `keras.callbacks.TensorBoard` works in a run too; it writes per epoch, this callback per step. The scalars
    of a log point are one record. The event files are on disk before a checkpoint is complete. A resumed run,
    or one that goes back to a checkpoint by itself, removes the events after the checkpoint, so the files
    have each step once. A new run in the folder of an earlier one moves its event files to a folder
    `run_<id>`; files of other programs do not change.

    Args:
        log_dir: Folder of the event files, on a local file system.
        hparams: The run's configuration for the HParams tab: numbers, bools and texts by name; lists become
            texts, and None is left out.
        texts: Markdown for the Text tab, by tag, written when the run begins.

    Raises:
        ValueError: If `log_dir` is a URL.
    """

    def __init__(
        self,
        log_dir: str | os.PathLike[str],
        hparams: Mapping[str, Any] | None = None,
        texts: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.log_dir = os.path.expanduser(log_dir)
        if re.match(r"\w+://", self.log_dir):
            raise ValueError(
                f"`log_dir` must be a local folder; received {self.log_dir!r}: use a local folder and copy "
                f"it, "
                "or use keras.callbacks.TensorBoard"
            )
        self._hparams, self._texts = dict(hparams or {}), dict(texts or {})
        self._has_hparams = False  # whether a file of the run has them
        self._files = EventFiles(self.log_dir)
        self._loaded: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        return {**self._files.state(), "has_hparams": self._has_hparams}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state.get("run") and not is_state(state):
            raise ValueError(f"this is not a state of event files: {shown(state)}")
        # A checkpoint of an earlier version has no state of the files.
        self._loaded = state if state.get("run") else None

    def on_event(self, event: dict[str, Any]) -> None:
        if event["event"] == "train_begin":
            self._begin(event)
        elif event["event"] == "fault_answered" and event["answer"] == "go_back":
            self._files.drop_beyond(event["step"])
        elif event["event"] in ("log", "evaluation"):
            summaries = [scalar_summary(name, value) for name, value in event["metrics"].items()]
            self._write(event["step"], summaries)
        elif event["event"] == "sample":
            samples = enumerate(event["samples"])
            self._write(
                event["step"], [text_summary(f"sample/{i}", sample_text(sample)) for i, sample in samples]
            )
        elif event["event"] == "text":
            self._write(event["step"], [text_summary(event["tag"], event["text"])])
        elif event["event"] == "histograms":
            histograms = event["histograms"].items()
            self._write(event["step"], [histogram_summary(name, rows) for name, rows in histograms])
        elif event["event"] == "train_end":
            self._end(event)

    def flush(self) -> None:
        self._files.sync()

    def _begin(self, event: dict[str, Any]) -> None:
        self._has_hparams = bool(self._loaded and self._loaded.get("has_hparams"))
        self._files.begin(event["step"], self._loaded)
        self._loaded = None
        if self._hparams and not self._has_hparams:
            self._write(event["step"], [session_start_summary(self._hparams, event["run_id"])])
            self._has_hparams = True
        if self._texts and event["step"] == 0:
            self._write(0, [text_summary(name, text) for name, text in self._texts.items()])

    def _end(self, event: dict[str, Any]) -> None:
        """Writes the lowest held-out loss, as a metric of the HParams tab, and that the run has ended."""
        best = {name: event["summary"][name] for name in ("best_val_loss", "best_bits_per_byte")}
        summaries = [
            scalar_summary(f"best/{name.removeprefix('best_')}", value)
            for name, value in best.items()
            if value is not None
        ]
        if self._has_hparams:
            summaries.append(session_end_summary())
        self._write(event["step"], summaries)

    def _write(self, step: int, summaries: list[Any]) -> None:
        """Writes summaries as one record."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        merged = Summary()
        for summary in summaries:
            merged.MergeFrom(summary)
        if summaries:
            self._files.append(Event(wall_time=time.time(), step=step, summary=merged))
