"""Plots the loss curve of a run."""

from __future__ import annotations

import pathlib
from typing import Any

from highnoon.callbacks.event_callback import EventCallback
from highnoon.files.expand_home import expand_home
from highnoon.files.name_path import name_path
from highnoon.files.printable import printable
from highnoon.monitoring.views.drawable import drawable


class LossCurve(EventCallback):
    """Plots training and validation loss over steps into a PNG when the run ends.

    Args:
        path: The PNG file; folders are created.

    Raises:
        ImportError: If matplotlib is not installed.
    """

    def __init__(self, path: str | pathlib.Path) -> None:
        super().__init__()
        try:
            import matplotlib  # noqa: F401
        except ImportError as error:
            raise ImportError("a loss curve needs matplotlib: pip install 'highnoon[plots]'") from error
        self.path = expand_home(path)
        self._train: list[tuple[int, float]] = []
        self._held_out: list[tuple[int, float]] = []
        self._stages: list[tuple[int, str]] = []

    def state_dict(self) -> dict[str, Any]:
        return {"train": self._train, "held_out": self._held_out, "stages": self._stages}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._train, self._held_out = list(state["train"]), list(state["held_out"])
        self._stages = list(state["stages"])

    def on_event(self, event: dict[str, Any]) -> None:
        if event["event"] == "log":
            if "train/loss" in event["metrics"]:
                self._train.append((event["step"], event["metrics"]["train/loss"]))
        elif event["event"] == "evaluation":
            self._held_out.append((event["step"], event["metrics"]["val/loss"]))
        elif event["event"] == "stage_begin":
            # A resumed run continues a stage that is recorded already.
            if not self._stages or self._stages[-1][1] != event["stage"]:
                self._stages.append((event["step"], event["stage"]))
        elif event["event"] == "fault_answered" and event["answer"] == "go_back":
            self._train = [point for point in self._train if point[0] <= event["step"]]
            self._held_out = [point for point in self._held_out if point[0] <= event["step"]]
        elif event["event"] == "train_end":
            self._draw()

    def _draw(self) -> None:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8, 4.5), layout="constrained")
        axes = figure.add_subplot(xlabel="optimizer step", ylabel="loss (nats per token)")
        if self._train:
            axes.plot(*drawable(self._train), label="training", linewidth=1)
        if self._held_out:
            axes.plot(*drawable(self._held_out), "o-", label="held out", markersize=3)
        for step, stage in self._stages:
            axes.axvline(step, color="grey", linewidth=0.6, linestyle=":")
            # Without math mode: a `$` in a name would start a formula.
            axes.text(
                step,
                axes.get_ylim()[1],
                f" {printable(stage)}",
                va="top",
                fontsize=8,
                color="grey",
                parse_math=False,
            )
        if self._train or self._held_out:
            axes.legend()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with name_path(self.path):
            figure.savefig(self.path, dpi=120)
