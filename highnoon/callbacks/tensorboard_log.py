"""Scalars for TensorBoard at every log point (TensorFlow only)."""

from __future__ import annotations

import pathlib
from typing import Any

from highnoon.callbacks.event_callback import EventCallback


class TensorBoardLog(EventCallback):
    """Writes the metrics of log points and evaluations as TensorBoard scalars over the optimizer's step.

    `keras.callbacks.TensorBoard` works in a run too; it sees epochs, this one sees steps.

    Args:
        log_dir: Folder of the event files.
    """

    def __init__(self, log_dir: str | pathlib.Path) -> None:
        super().__init__()
        self.log_dir = str(log_dir)
        self._writer: Any = None

    def on_event(self, event: dict[str, Any]) -> None:
        import tensorflow as tf

        if event["event"] not in ("log", "evaluation"):
            return
        if self._writer is None:
            self._writer = tf.summary.create_file_writer(self.log_dir)
        with self._writer.as_default(step=event["step"]):
            for name, value in event["metrics"].items():
                tf.summary.scalar(name, value)
        if event["event"] == "evaluation":
            self._writer.flush()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
