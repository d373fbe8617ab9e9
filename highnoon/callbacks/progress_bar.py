"""Shows the progress of a run in the terminal, in a notebook, or as lines."""

from __future__ import annotations

import datetime
import math
import sys
import time
from collections.abc import Callable
from typing import Any

from highnoon.callbacks.event_callback import EventCallback
from highnoon.callbacks.progress_displays.end_of_run import describe_end
from highnoon.callbacks.progress_displays.notebook_bar import NotebookBar
from highnoon.callbacks.progress_displays.pace import Pace
from highnoon.callbacks.progress_displays.plain_lines import PlainLines
from highnoon.callbacks.progress_displays.progress_display import ProgressDisplay, Shown
from highnoon.callbacks.progress_displays.terminal_bar import TerminalBar
from highnoon.callbacks.progress_displays.terminal_logs import TerminalLogs
from highnoon.files.notebook import in_notebook
from highnoon.files.terminal_console import TerminalConsole
from highnoon.monitoring.metrics.metric_names import METRICS, format_metric

_SECONDS_BETWEEN_LOG_LINES = 1.0
_MOST_FIGURES = 6


class ProgressBar(EventCallback):
    """Shows stage, step, running loss, tokens per second and remaining time.

    In a terminal and in a notebook it is one bar that moves in place. Elsewhere, as in a file, it is lines:
    at log points, at most one a second, and one each minute where log points are further apart.

    Args:
        read: Returns loss and tokens per second of the latest steps, or None; see `RunningFigures.read`.
            Without it the figures are those of log points.
    """

    def __init__(self, read: Callable[[], tuple[float | None, float] | None] | None = None) -> None:
        super().__init__()
        self._read = read
        self._display: ProgressDisplay = PlainLines()
        self._logs = TerminalLogs()
        self._begin(0, 0)

    def on_event(self, event: dict[str, Any]) -> None:
        handler = getattr(self, f"_on_{event['event']}", None)
        if handler is not None:
            handler(event)

    def _begin(self, step: int, total_steps: int) -> None:
        self._step, self._total_steps = step, total_steps
        self._stage = self._figures = ""
        self._pace = Pace()
        self._shown_at = time.perf_counter()
        self._logged_at = -math.inf

    def _on_train_begin(self, event: dict[str, Any]) -> None:
        self._begin(event["step"], event["total_steps"])
        self._logs.hide_events()
        self._display = _choose_display()
        if self._display.moves:
            self._show()

    def _on_stage_begin(self, event: dict[str, Any]) -> None:
        self._stage = event["stage"]
        if self._display.moves:
            self._show()
        else:
            self._display.print(f"stage `{event['stage']}` begins at step {event['step']:,}")

    def _on_step_end(self, event: dict[str, Any]) -> None:
        self._step, now = event["step"], time.perf_counter()
        seconds = self._pace.add(self._step, now)
        if seconds is not None and not self._display.moves:
            left = datetime.timedelta(seconds=round(seconds * (self._total_steps - self._step)))
            self._display.print(f"{seconds:.3g} s per step, about {left} left")
        if now - self._shown_at >= self._display.seconds_between:
            running = None if self._read is None else self._read()
            if running is not None:
                self._set_figures(*running)
            if running is not None or self._display.moves:
                self._show()

    def _on_log(self, event: dict[str, Any]) -> None:
        metrics = event["metrics"]
        self._set_figures(metrics.get("train/loss"), metrics["train/tokens_per_second"])
        now = time.perf_counter()
        is_last = event["step"] == self._total_steps
        is_due = is_last or now - self._logged_at >= _SECONDS_BETWEEN_LOG_LINES
        if not self._display.moves and is_due:
            self._step, self._logged_at = event["step"], now
            self._show()

    def _on_alert(self, event: dict[str, Any]) -> None:
        self._display.print(
            f"{event['severity']} at step {event['step']:,}: {event['message']}; {event['advice']}"
        )

    def _on_step_skipped(self, event: dict[str, Any]) -> None:
        kept = f"; its batch is saved in {event['path']}" if event["path"] else ""
        self._display.print(
            f"step {event['step']:,} skipped: loss {event['loss']:.4g}, gradient norm "
            f"{event['grad_norm']:.4g}{kept}"
        )

    def _on_fault_answered(self, event: dict[str, Any]) -> None:
        answer = event["answer"].replace("_", " ")
        self._display.print(f"{answer}, now at step {event['step']:,}: {event['reason']}")

    def _on_micro_batch_halved(self, event: dict[str, Any]) -> None:
        self._display.print(
            f"step {event['step']:,} did not fit into memory; micro-batches now have "
            f"{event['micro_batch_size']} rows, and the global batch does not change"
        )

    def _on_sample(self, event: dict[str, Any]) -> None:
        for sample in event["samples"]:
            self._display.print(f"sample at step {event['step']:,}: {sample['text']!r}")

    def _on_epoch_end(self, event: dict[str, Any]) -> None:
        held_out = "" if event["val_loss"] is None else f", held-out loss {event['val_loss']:.4f}"
        figures = _held_out_figures(event.get("metrics", {}))
        self._display.print(
            f"[{event['stage']}] epoch {event['epoch']}: loss {event['loss']:.4f}{held_out}{figures}"
        )
        if self._display.moves:
            self._show()

    def _on_early_stop(self, event: dict[str, Any]) -> None:
        best = event["best_val_loss"]
        known = "was never finite" if best is None else f"has not improved on {best:.4f}"
        self._display.print(f"[{event['stage']}] stops early: held-out loss {event['val_loss']:.4f} {known}")

    def _on_train_end(self, event: dict[str, Any]) -> None:
        self._step = event["step"]
        if self._display.moves:
            self._show()
        for line in describe_end(event):
            self._display.print(line)

    def close(self) -> None:
        self._display.close()
        self._logs.show_events()
        self._display = PlainLines()

    def _set_figures(self, loss: float | None, tokens_per_second: float) -> None:
        shown = "no supervised token" if loss is None else f"loss {loss:.4f}"
        self._figures = f"{shown}, {tokens_per_second:,.0f} tokens/s"

    def _show(self) -> None:
        self._shown_at = time.perf_counter()
        num_left = self._total_steps - self._step
        left = self._pace.seconds_left(num_left) if num_left > 0 else None
        self._display.show(Shown(self._stage, self._step, self._total_steps, self._figures, left))


def _choose_display() -> ProgressDisplay:
    if in_notebook():
        return NotebookBar()
    console = TerminalConsole(file=sys.stdout)
    return TerminalBar(console) if console.is_terminal else PlainLines()


def _held_out_figures(metrics: dict[str, float]) -> str:
    """Returns the figures of an evaluation besides the loss: `, perplexity 81.20, accuracy 0.3100`."""
    names = [name for name in metrics if name.startswith("val/") and name != "val/loss"]
    texts = [f", {_label(name)} {format_metric(name, metrics[name])}" for name in names[:_MOST_FIGURES]]
    return "".join(texts) + (f", and {len(names) - _MOST_FIGURES} more" if len(names) > _MOST_FIGURES else "")


def _label(name: str) -> str:
    if name in METRICS:
        return METRICS[name].label
    return name.removeprefix("val/").replace("loss/", "loss of ")
