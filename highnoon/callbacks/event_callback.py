"""The base class of callbacks that receive events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras


class EventCallback(keras.callbacks.Callback):
    """Base class of callbacks that handle events; all Keras hooks work too.

    An event is a dict. Its key `event` is one of:

    | event | other keys |
    | --- | --- |
    | `train_begin` | `run_id`, `run_name` (or None), `step`, `total_steps`, `num_parameters` |
    | `stage_begin` | `stage`, `step`, `alerts_off` (alert rules that make no sense for its objective) |
    | `step_end` | `step`, the last of a call; no metrics, so that nothing waits for the device |
    | `log` | `stage`, `step`, `metrics` |
    | `evaluation` | `stage`, `step`, `metrics`; with evaluators `counts`, what their figures are means of |
    | `epoch_end` | `stage`, `epoch` (from 1), `loss`, `val_loss` (None without held-out data), `step`,
    | | `metrics` (the learning rate and the figures of the evaluation at the epoch's end) |
    | `early_stop` | `stage`, `epoch`, `val_loss`, `best_val_loss` (None: none was finite), `step` |
    | `stage_complete` | `stage`, `metrics` (`final_loss`, `epochs`, `steps`, `val_loss`) |
    | `checkpoint_saved` | `path`, `step` |
    | `train_end` | `step`, `summary` (what `Trainer.train` returns), `best_checkpoint` (a path or None),
    | | `has_held_out` (whether any stage holds documents out), `seconds` (of this process),
    | | `checkpoint_dir`, `log_dir` (of the run; None for none) |
    | `step_skipped` | `step`, `in_a_row`, `loss`, `grad_norm`, `position`, `path` of the saved batch or None
    | | `fault_answered` | `answer` (one of `on_repeated_faults`), `reason`, `step`, `learning_rate_factor` |
    | `micro_batch_halved` | `step`, `micro_batch_size` |
    | `sample` | `stage`, `step`, `samples` (a list of `prompt`, `text`), from the callback `SampleText` |
    | `text` | `step`, `tag`, `text` (Markdown), for TensorBoard, from the callback `RunText` |
    | `histograms` | `stage`, `step`, `histograms`: for each name an array of (left, right, count) rows |
    | `alert` | `stage`, `step`, `rule`, `severity`, `value`, `message`, `advice`, `action` (see `Alert`) |

    Losses are in nats per token. `metrics` are floats named `group/name`. `alert` is sent by the callback
    `Alerts`; a callback may send its own events with `send`.
    """

    _send: Callable[..., None] | None = None

    def on_event(self, event: dict[str, Any]) -> None:
        """Called with every event, in order."""

    def attach(self, send: Callable[..., None]) -> None:
        """Called by the callback group with the function that sends an event to all its callbacks."""
        self._send = send

    def send(self, name: str, **fields: Any) -> None:
        """Sends an event to all callbacks of the run, including this one, after the current event.

        Outside of a run it has no effect.
        """
        if self._send is not None:
            self._send(name, **fields)

    def flush(self) -> None:
        """Called before a checkpoint is captured: writes to disk what the checkpoint relies on.

        An error ends the run like one of `on_event`, after the checkpoint has been saved.
        """

    def close(self) -> None:
        """Called once when the run ends in any way: normally, with an error, or by Ctrl-C."""
