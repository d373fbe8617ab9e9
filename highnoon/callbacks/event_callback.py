"""A Keras callback that also hears the run's events."""

from __future__ import annotations

from typing import Any

import keras


class EventCallback(keras.callbacks.Callback):
    """Base of callbacks that act on events; every Keras hook works in it too.

    An event is a dict with the key `event`, one of:

    | event | further keys |
    | --- | --- |
    | `train_begin` | `run_id`, `step`, `total_steps`, `num_parameters` |
    | `stage_begin` | `stage`, `step` |
    | `step_end` | `step`, without any metric, so that nothing waits for the device |
    | `log` | `stage`, `step`, `metrics` |
    | `evaluation` | `stage`, `step`, `metrics` |
    | `epoch_end` | `stage`, `epoch` (from 1), `loss`, `val_loss` (None without held-out data), `step` |
    | `early_stop` | `stage`, `epoch`, `val_loss`, `best_val_loss` |
    | `stage_complete` | `stage`, `metrics` (`final_loss`, `epochs`, `steps`, `val_loss`) |
    | `checkpoint_saved` | `path`, `step` |
    | `train_end` | `step`, `summary` |

    Losses are nats a token. `metrics` are floats named `group/name`.
    """

    def on_event(self, event: dict[str, Any]) -> None:
        """Called with every event, in order."""

    def close(self) -> None:
        """Called once when the run ends in any way: by itself, by an error, by Ctrl-C."""
