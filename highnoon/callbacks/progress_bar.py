"""A run's progress in the terminal."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from highnoon.callbacks.event_callback import EventCallback


class ProgressBar(EventCallback):
    """Shows stage, step, loss, tokens a second and time left: a bar in a terminal, lines elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self._console = Console(file=sys.stdout, highlight=False)
        self._bar: Progress | None = None
        self._task: Any = None
        self._total_steps = 0

    def on_event(self, event: dict[str, Any]) -> None:
        handler = getattr(self, f"_on_{event['event']}", None)
        if handler is not None:
            handler(event)

    def _on_train_begin(self, event: dict[str, Any]) -> None:
        self._total_steps = event["total_steps"]
        if not self._console.is_terminal:
            return
        self._bar = Progress(
            TextColumn("{task.fields[stage]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(compact=True),
            console=self._console,
        )
        self._task = self._bar.add_task(
            "train", total=event["total_steps"], completed=event["step"], stage="", figures=""
        )
        self._bar.start()

    def _on_stage_begin(self, event: dict[str, Any]) -> None:
        if self._bar is not None:
            self._bar.update(self._task, stage=event["stage"])
        else:
            self._print(f"stage `{event['stage']}` begins at step {event['step']:,}")

    def _on_step_end(self, event: dict[str, Any]) -> None:
        if self._bar is not None:
            self._bar.update(self._task, completed=event["step"])

    def _on_log(self, event: dict[str, Any]) -> None:
        metrics = event["metrics"]
        figures = f"loss {metrics['train/loss']:.4f}, {metrics['train/tokens_per_second']:,.0f} tokens/s"
        if self._bar is not None:
            self._bar.update(self._task, figures=figures)
        else:
            self._print(f"step {event['step']:,}/{self._total_steps:,}  {figures}")

    def _on_epoch_end(self, event: dict[str, Any]) -> None:
        held_out = "" if event["val_loss"] is None else f", held-out loss {event['val_loss']:.4f}"
        self._print(f"[{event['stage']}] epoch {event['epoch']}: loss {event['loss']:.4f}{held_out}")

    def _on_early_stop(self, event: dict[str, Any]) -> None:
        self._print(
            f"[{event['stage']}] stops early: held-out loss {event['val_loss']:.4f} has not improved on "
            f"{event['best_val_loss']:.4f}"
        )

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _print(self, line: str) -> None:
        (self._bar.console if self._bar is not None else self._console).print(line, markup=False)
