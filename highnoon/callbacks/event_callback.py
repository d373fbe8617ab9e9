"""A Keras callback that also hears the run's events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras


class EventCallback(keras.callbacks.Callback):
    """Base of callbacks that act on events; every Keras hook works in it too.

    An event is a dict with the key `event`, one of:

    | event | further keys |
    | --- | --- |
    | `train_begin` | `run_id`, `step`, `total_steps`, `num_parameters` |
    | `stage_begin` | `stage`, `step`, `alerts_off` (alert rules that make no sense for its objective) |
    | `step_end` | `step`, the last of a call, without any metric, so that nothing waits for the device |
    | `log` | `stage`, `step`, `metrics` |
    | `evaluation` | `stage`, `step`, `metrics`; with evaluators `counts`, what their figures are means of |
    | `epoch_end` | `stage`, `epoch` (from 1), `loss`, `val_loss` (None without held-out data), `step` |
    | `early_stop` | `stage`, `epoch`, `val_loss`, `best_val_loss` (None: none was finite), `step` |
    | `stage_complete` | `stage`, `metrics` (`final_loss`, `epochs`, `steps`, `val_loss`) |
    | `checkpoint_saved` | `path`, `step` |
    | `train_end` | `step`, `summary` (what `Trainer.train` returns), `best_checkpoint` (a path or None) |
    | `step_skipped` | `step`, `in_a_row`, `loss`, `grad_norm`, `position`, `path` of the kept batch or None |
    | `fault_answered` | `answer` (one of `on_repeated_faults`), `reason`, `step`, `learning_rate_factor` |
    | `micro_batch_halved` | `step`, `micro_batch_size` |
    | `sample` | `stage`, `step`, `samples` (a list of `prompt`, `text`), from the callback `SampleText` |
    | `alert` | `stage`, `step`, `rule`, `severity`, `value`, `message`, `advice`, `action` (see `Alert`) |

    Losses are nats a token. `metrics` are floats named `group/name`. `alert` comes from the callback
    `Alerts`; a callback may send events of its own with `send`.
    """

    _send: Callable[..., None] | None = None

    def on_event(self, event: dict[str, Any]) -> None:
        """Called with every event, in order."""

    def attach(self, send: Callable[..., None]) -> None:
        """Called by the group that the callback is in, with what sends an event to all in it."""
        self._send = send

    def send(self, name: str, **fields: Any) -> None:
        """Sends an event to all callbacks of the run, this one included, after the one that is being heard.

        Outside a run nobody hears it.
        """
        if self._send is not None:
            self._send(name, **fields)

    def flush(self) -> None:
        """Called before a checkpoint is captured: puts on the disk what the checkpoint may count on.

        An error ends the run as one of `on_event` does, after the checkpoint has been saved.
        """

    def close(self) -> None:
        """Called once when the run ends in any way: by itself, by an error, by Ctrl-C."""
