"""Callbacks that watch a run: Keras callbacks that also hear HighNoon's events."""

from highnoon.callbacks.alerts import Alerts
from highnoon.callbacks.callback_group import CallbackGroup
from highnoon.callbacks.event_callback import EventCallback
from highnoon.callbacks.loss_curve import LossCurve
from highnoon.callbacks.metrics_file import MetricsFile
from highnoon.callbacks.progress_bar import ProgressBar
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
    "SampleText",
    "TensorBoardLog",
    "WandbLog",
]
