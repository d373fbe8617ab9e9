"""Callbacks: Keras callbacks that also receive HighNoon's events, one per file.

- `event_callback`: the base class; `callback_group` calls all callbacks of a run.
- `progress_bar` (with `progress_displays/`), `loss_curve`, `sample_text`: output for people.
- `metrics_file`, `tensorboard_log`, `wandb_log`: logs; `event_files`, `event_records` and `event_summaries`
  write TensorBoard files. `run_text` sends a text to them.
- `alerts`: applies alert rules and acts on alerts.
"""

from highnoon.callbacks.alerts import Alerts
from highnoon.callbacks.callback_group import CallbackGroup
from highnoon.callbacks.event_callback import EventCallback
from highnoon.callbacks.loss_curve import LossCurve
from highnoon.callbacks.metrics_file import MetricsFile
from highnoon.callbacks.progress_bar import ProgressBar
from highnoon.callbacks.run_text import RunText
from highnoon.callbacks.sample_text import SampleText
from highnoon.callbacks.tensorboard_log import TensorBoardLog
from highnoon.callbacks.wandb_log import WandbLog

__all__ = [
    "Alerts",
    "CallbackGroup",
    "EventCallback",
    "LossCurve",
    "MetricsFile",
    "ProgressBar",
    "RunText",
    "SampleText",
    "TensorBoardLog",
    "WandbLog",
]
